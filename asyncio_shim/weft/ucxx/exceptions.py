# SPDX-License-Identifier: BSD-3-Clause
"""The exceptions of `ucxx`: one for each status of UCX, all of them UCXError."""
from weft.faces import _lacks


class UCXError(Exception):
    """What weft.ucxx reports."""


def _make(name: str) -> type[UCXError]:
    return type(name, (UCXError,), {"__module__": __name__})


_NAMES = """AlreadyExists BufferTooSmall Busy Canceled Close Config ConnectionReset EndpointTimeout ExceedsLimit
FirstEndpointFailure FirstLinkFailure InvalidAddr InvalidParam IO LastEndpointFailure LastLinkFailure MessageTruncated NoDevice
NoElem NoMemory NoMessage NoProgress NoResource NotConnected NotImplemented OutOfRange Rejected ShmemSegment SomeConnectsFailed
TimedOut Unreachable Unsupported""".split()

globals().update({f"UCX{_n}Error": _make(f"UCX{_n}Error") for _n in _NAMES})

UCXCanceled = globals()["UCXCanceledError"]          # their older names
UCXMsgTruncated = globals()["UCXMessageTruncatedError"]

__all__ = ["UCXCanceled", "UCXError", "UCXMsgTruncated"] + [f"UCX{_n}Error" for _n in _NAMES]

_lacks.said_by(__name__)
