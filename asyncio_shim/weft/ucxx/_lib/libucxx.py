# SPDX-License-Identifier: BSD-3-Clause
"""What can be had here of ucxx's low level: exceptions, tags, addresses. Its workers, endpoints and requests live in C++ threads
of UCX's; making one is refused."""
from __future__ import annotations

import enum
from typing import Any

from weft.faces import _settings
from weft.faces._link import FULL, Face, Probed, UCXAddress, Worker

from .. import exceptions as _e
from ..exceptions import *  # noqa: F401,F403
from ..exceptions import UCXError

FACE = Face("ucxx", UCXError, _e.UCXCloseError, _e.UCXCanceledError, _e.UCXConnectionResetError, _e.UCXMessageTruncatedError,
            _e.UCXUnreachableError, _e.UCXEndpointTimeoutError, _e.UCXBusyError, _e.UCXInvalidParamError)

VERSION = (1, 19, 0)                     # of the UCX whose interface this follows


class _Number:
    """64 bits with a type."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        value = int(getattr(value, "value", value))
        if not 0 <= value <= FULL:
            raise OverflowError(f"{type(self).__name__}: 64 bits, got {value}")
        self.value = value

    def __int__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value:#x})"


class UCXXTag(_Number):
    __slots__ = ()


class UCXXTagMask(_Number):
    __slots__ = ()


UCXXTagMaskFull = UCXXTagMask(FULL)
TagProbeResult = Probed


class UCXWorker(Worker):
    """The worker of a context; it cannot be made by itself."""

    tag_type = UCXXTag
    enable_python_future = False
    enable_delayed_submission = False


class Feature(enum.Enum):
    TAG, RMA, AMO32, AMO64, WAKEUP, STREAM, AM = 1, 2, 4, 8, 16, 32, 64


def get_ucx_version() -> tuple[int, int, int]:
    return VERSION


def get_current_options() -> dict[str, str]:
    return _settings.current()


def _missing(name: str) -> type:
    def refuse(self: object, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"weft.ucxx has no {name}: use the asyncio interface, ucxx.create_endpoint() and "
                                  "ucxx.create_listener(), or weft itself (docs/FACES.md)")

    return type(name, (), {"__init__": refuse, "create": classmethod(refuse), "__module__": __name__})


UCXBufferRequest = _missing("UCXBufferRequest")
UCXBufferRequests = _missing("UCXBufferRequests")
UCXConfig = _missing("UCXConfig")
UCXContext = _missing("UCXContext")
UCXEndpoint = _missing("UCXEndpoint")
UCXListener = _missing("UCXListener")
UCXRequest = _missing("UCXRequest")

__all__ = [n for n in globals() if n.startswith("UCX")] + ["Feature", "TagProbeResult", "get_current_options", "get_ucx_version"]
