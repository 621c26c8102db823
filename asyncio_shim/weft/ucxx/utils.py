# SPDX-License-Identifier: BSD-3-Clause
"""Addresses and the logger; and what `ucxx.benchmarks`, which run on this, print with."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from weft.faces import _lacks
from weft.faces._net import get_address, get_ucxpy_logger


def _scaled(x: float, units: Sequence[tuple[str, float]], digits: int) -> str:
    unit, scale = next((u for u in units if x >= u[1]), units[-1])
    return f"{x / scale:.{digits}f} {unit}"


def format_bytes(n: float) -> str:
    """1536: "1.50 kiB", as Dask writes it."""
    return f"{n} B" if n < 1 << 10 else _scaled(n, [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20),
                                                    ("kiB", 1 << 10)], 2)


def format_time(n: float) -> str:
    """0.0015: "1.500 ms"."""
    return _scaled(n, [("s", 1), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)], 3)


def parse_bytes(s: float | str) -> int:
    """"100 MB": 100000000. Dask's; who imports ucxx does not wait for that."""
    from dask.utils import parse_bytes as parse

    return parse(s)


try:
    from nvtx import annotate as nvtx_annotate
except ImportError:
    @contextlib.contextmanager
    def nvtx_annotate(message: str | None = None, color: str | None = None, domain: str | None = None) -> Iterator[None]:
        """Names a stretch of time for a profiler; there is none."""
        yield


def hmean(a: Sequence[float]) -> float:
    """The harmonic mean; 0 of nothing."""
    return len(a) / sum(1 / x for x in a) if len(a) else 0


def print_separator(separator: str = "-", length: int = 80) -> None:
    """Prints a line."""
    print(separator * length)


def print_key_value(key: str, value: object, key_length: int = 25) -> None:
    """Prints a row of a table with two columns."""
    print(f"{key: <{key_length}} | {value}")


def print_multi(values: Sequence[str], key_length: int = 25) -> None:
    """Prints a row of a table with many."""
    *before, last = values
    print("".join(f"{v: <{key_length}} | " for v in before) + last)


__all__ = ["format_bytes", "format_time", "get_address", "get_ucxpy_logger", "hmean", "nvtx_annotate", "parse_bytes", "print_key_value",
           "print_multi", "print_separator"]

_lacks.said_by(__name__)
