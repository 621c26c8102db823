# SPDX-License-Identifier: BSD-3-Clause
"""The low level of `ucp`: contexts, workers, endpoints and requests with callbacks. What it does: weft/faces/_low.py."""
from __future__ import annotations

import enum

from weft.faces import _lacks, _low, _settings
from weft.faces._link import UCXAddress
from weft.faces._low import (
    PackedRemoteKey,
    RemoteMemory,
    UCXEndpoint,
    UCXIO,
    UCXListener,
    UCXMemoryHandle,
    UCXObject,
    UCXRequest,
    UCXRkey,
    UCXWorker,
    am_recv_nb,
    am_send_nbx,
    get_nb,
    get_nbi,
    put_nb,
    put_nbi,
    stream_recv_nb,
    stream_send_nb,
    tag_recv_nb,
    tag_send_nb,
)
from weft.faces._net import get_address

from ..core import FACE, get_ucx_version


class Feature(enum.Enum):
    TAG, RMA, AMO32, AMO64, WAKEUP, STREAM, AM = 1, 2, 4, 8, 16, 32, 64


class AllocatorType(enum.Enum):
    HOST, CUDA, UNSUPPORTED = 0, 1, 2


class UCXContext(_low.UCXContext):
    face, features = FACE, (Feature.TAG, Feature.WAKEUP, Feature.STREAM, Feature.AM, Feature.RMA)


def get_current_options() -> dict[str, str]:
    return _settings.current()


def is_am_supported() -> bool:
    return True


__all__ = ["AllocatorType", "Feature", "PackedRemoteKey", "RemoteMemory", "UCXAddress", "UCXContext", "UCXEndpoint", "UCXIO",
           "UCXListener", "UCXMemoryHandle", "UCXObject", "UCXRequest", "UCXRkey", "UCXWorker", "am_recv_nb", "am_send_nbx",
           "get_address", "get_current_options", "get_nb", "get_nbi", "get_ucx_version", "is_am_supported", "put_nb", "put_nbi",
           "stream_recv_nb", "stream_send_nb", "tag_recv_nb", "tag_send_nb"]

_lacks.said_by(__name__)
