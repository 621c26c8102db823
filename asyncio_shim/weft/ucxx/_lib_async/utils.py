# SPDX-License-Identifier: BSD-3-Clause
from weft.faces._net import get_event_loop, hash64bits

__all__ = ["get_event_loop", "hash64bits"]
