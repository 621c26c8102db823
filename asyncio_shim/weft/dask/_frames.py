# SPDX-License-Identifier: BSD-3-Clause
"""How Dask's frames become weft messages, and frames again. No I/O here.

A Dask message is a list of frames: bytes that describe, and buffers. It travels as one active message, which holds the
table of lengths and all short frames, and one tagged message for each long buffer, which the receiver takes straight
into memory of its own. Parts of one buffer (Dask cuts what is longer than 64 MiB) are one message and arrive in one
piece of memory, so that putting them together again costs nothing.

    header   16 bytes: MAGIC, number of frames, bytes of the table
    payload  the table, 8 bytes for each frame: its length << 2 | kind; then all SHARED and OWN frames in order
"""
from __future__ import annotations

import struct
import sys
from collections.abc import Sequence

from distributed.protocol.utils import address_of_memoryview, host_array
from distributed.utils import ensure_memoryview, nbytes

MAGIC = 0x6B736144                           # "Dask"
HEADER = struct.Struct("<IIQ")

SHARED = 0                                   # read where it lies: it is used up by deserialising
OWN = 1                                      # a short buffer that an object will keep: memory of its own
APART = 2                                    # a message of its own
AGAIN = 3                                    # the same message goes on

# From here on a buffer is a message of its own: below, copying it twice costs less than a message (docs/DASK.md).
APART_MIN = 32 << 10


class MalformedError(ValueError):
    """The peer's table cannot be true."""


def _goes_on(before: bytes | memoryview | None, frame: bytes | memoryview) -> bool:
    """Does @frame begin where @before ends, in one buffer? The same buffer twice is two objects at the receiver."""
    if not isinstance(before, memoryview) or not isinstance(frame, memoryview) or before.obj is not frame.obj:
        return False
    try:
        return address_of_memoryview(frame) == address_of_memoryview(before) + before.nbytes
    except ValueError:                       # bytes, and NumPy is not there
        return False


def _kinds(frames: Sequence[bytes | memoryview]) -> list[int]:
    kinds = []
    before = None                            # what the message of its own ends with that may go on
    for frame in frames:
        n = nbytes(frame)
        if n and before is not None and _goes_on(before, frame):
            kinds.append(AGAIN)
        elif n >= APART_MIN:
            kinds.append(APART)
        else:
            kinds.append(SHARED if isinstance(frame.obj if isinstance(frame, memoryview) else frame, bytes) else OWN)
        before = frame if kinds[-1] >= APART else None
    return kinds


def pack(frames: Sequence[bytes | memoryview]) -> tuple[bytes, bytes, list[list[memoryview]], int]:
    """header and payload of the active message, the parts of each tagged message, and the bytes of all together."""
    kinds = _kinds(frames)
    table = struct.pack(f"<{len(frames)}Q", *[nbytes(f) << 2 | k for f, k in zip(frames, kinds)])
    short, apart = [table], []
    for frame, kind in zip(frames, kinds):
        if kind == APART:
            apart.append([ensure_memoryview(frame)])
        elif kind == AGAIN:
            apart[-1].append(ensure_memoryview(frame))
        else:
            short.append(frame)
    payload = b"".join(short)
    header = HEADER.pack(MAGIC, len(frames), len(table))
    return header, payload, apart, len(header) + len(payload) + sum(p.nbytes for parts in apart for p in parts)


def unpack(header: bytes, payload: bytearray) -> tuple[list[memoryview], list[memoryview]]:
    """The frames, and the buffers that are to be received, in order; frames of them are views of these."""
    magic, count, table = HEADER.unpack(header) if len(header) == HEADER.size else (0, 0, 0)
    if magic != MAGIC or table != 8 * count or table > len(payload):
        raise MalformedError("this is no message of Dask's")
    rows = [(row >> 2, row & 3) for row in struct.unpack_from(f"<{count}Q", payload)]
    view = memoryview(payload)
    if table + sum(n for n, kind in rows if kind < APART) != len(payload):
        raise MalformedError("the lengths of the frames and the message's do not agree")
    if AGAIN in [kind for i, (_, kind) in enumerate(rows) if not i or rows[i - 1][1] < APART]:
        raise MalformedError("a frame goes on that did not begin")
    sizes: list[int] = []
    for n, kind in rows:
        if kind == APART:
            sizes.append(n)
        elif kind == AGAIN:
            sizes[-1] += n
    if any(n > sys.maxsize for n in sizes):
        raise MalformedError("no memory is as large as a frame")
    apart = [host_array(n) for n in sizes]
    frames, at, which, within = [], table, -1, 0
    for n, kind in rows:
        if kind == APART:
            which, within = which + 1, 0
        if kind >= APART:
            frames.append(apart[which][within:within + n])
            within += n
            continue
        frame = view[at:at + n]
        at += n
        if kind == OWN and n:
            frame = host_array(n)
            frame[:] = view[at - n:at]
        frames.append(frame)
    return frames, apart
