# SPDX-License-Identifier: BSD-3-Clause
"""Memory that large buffers are received into. The first touch of a page costs more than a copy of what it holds, so the memory of
buffers that are gone is kept for the next ones: a bounded part of it, and only while messages go on using it."""
from __future__ import annotations

import time
import weakref
from typing import Any

from distributed.protocol.utils import host_array

try:
    import numpy
except ImportError:                          # Dask does without
    numpy = None  # type: ignore[assignment]

KEEP_MIN = 128 << 10                         # malloc reuses what is shorter by itself: it is M_MMAP_THRESHOLD, see mallopt(3)
KEEP_BYTES = 128 << 20
KEEP_N = 32
KEEP_S = 2.0


class Memory:
    """Its methods may meet themselves: blocks end in whatever thread, and wherever the garbage collector runs."""

    def __init__(self) -> None:
        self._free: dict[int, Any] = {}      # id(base): base; single operations on a dict are not interrupted
        self._refs: dict[int, weakref.ref[Any]] = {}
        self._used = 0.0

    def take(self, n: int) -> memoryview:
        """@n bytes, whatever is in them; the memory comes back by itself when nobody has a view of it any more."""
        if numpy is None or n < KEEP_MIN:
            return host_array(n)
        base = self._fitting(n)
        if base is None:
            base = numpy.empty(n, dtype="u1")
        # NumPy takes the base of an array's base for its base, as long as those are arrays: a memoryview between them ends that,
        # so that whatever is made of the block holds the block
        block = numpy.frombuffer(base.data[:n], dtype="u1")
        key = id(block)
        self._refs[key] = weakref.ref(block, lambda _: self._back(key, base))
        return block.data

    def _fitting(self, n: int) -> Any:
        """The shortest that is long enough, and by no more than an eighth: what lies unused behind a block counts as its owner's."""
        fitting = [base for base in list(self._free.values()) if n <= base.nbytes <= n + n // 8]
        for base in sorted(fitting, key=len):
            if self._free.pop(id(base), None) is not None:   # another thread has not taken it
                return base
        return None

    def _back(self, key: int, base: Any) -> None:
        self._refs.pop(key, None)
        self._used = time.monotonic()
        if len(self._free) < KEEP_N and self.kept() + base.nbytes <= KEEP_BYTES:
            self._free[id(base)] = base

    def kept(self) -> int:
        return sum(base.nbytes for base in list(self._free.values()))

    def trim(self) -> None:
        """Now and then: what nobody used for a while goes back."""
        if self._free and time.monotonic() - self._used > KEEP_S:
            self._free.clear()


memory = Memory()
