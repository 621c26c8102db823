# SPDX-License-Identifier: BSD-3-Clause
"""The exceptions of `ucp`."""
import contextlib
import logging
from collections.abc import Iterator

from weft.faces import _lacks

logger = logging.getLogger("ucx")


class UCXBaseException(Exception):
    """What weft.ucp reports."""


class UCXError(UCXBaseException):
    """What has no class of its own."""


class UCXConfigError(UCXError):
    """An option has a value that it cannot have."""


class UCXCloseError(UCXBaseException):
    """The endpoint is closed."""


class UCXCanceled(UCXBaseException):
    """The endpoint ended before the transfer."""


class UCXConnectionReset(UCXBaseException):
    """The peer is gone."""


class UCXMsgTruncated(UCXBaseException):
    """The message has another length than the buffer."""


class UCXNotConnected(UCXBaseException):
    """The endpoint is not connected."""


class UCXUnreachable(UCXBaseException):
    """Nobody is there."""


class UCXWarning(UserWarning):
    """Warnings of weft.ucp."""


@contextlib.contextmanager
def log_errors(reraise_exception: bool = False) -> Iterator[None]:
    """Logs what is raised within, except UCXBaseException, and swallows it unless told otherwise."""
    try:
        yield
    except UCXBaseException:
        raise
    except Exception as exc:
        logger.exception(exc)
        if reraise_exception:
            raise

_lacks.said_by(__name__)
