# SPDX-License-Identifier: BSD-3-Clause
from weft.faces import _lacks
from weft.faces._net import get_event_loop, hash64bits

__all__ = ["get_event_loop", "hash64bits"]

_lacks.said_by(__name__)
