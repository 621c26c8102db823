# SPDX-License-Identifier: BSD-3-Clause
import multiprocessing

from weft.faces import _lacks
from weft.faces._net import get_event_loop, get_ucxpy_logger, hash64bits

mp = multiprocessing.get_context("spawn")

__all__ = ["get_event_loop", "get_ucxpy_logger", "hash64bits", "mp"]

_lacks.said_by(__name__)
