# SPDX-License-Identifier: BSD-3-Clause
"""How Dask's frames become a weft message, and frames again. No I/O here.

A Dask message is a list of frames: bytes that describe, and buffers. It travels as one active message; the receiver takes each
buffer straight into memory of its own, and what describes into one piece, all in one transfer. Parts of one buffer (Dask cuts what
is longer than 64 MiB) arrive in one piece of memory, so that putting them together again costs nothing.

    header   16 bytes: MAGIC, number of frames, bytes of the payload; then the table, 8 bytes for each frame: its length << 2 | kind
    payload  all SHARED frames, then the others, in order

A table that is too long for the header is the payload of a message before this one, whose header says MAGIC_TABLE.
"""
from __future__ import annotations

import struct
import sys
from collections.abc import Sequence

from distributed.protocol.utils import address_of_memoryview
from distributed.utils import ensure_memoryview

from ._memory import memory

MAGIC = 0x6B736144                           # "Dask"
MAGIC_TABLE = 0x62617444                     # "Dtab"
HEADER = struct.Struct("<IIQ")
HEADER_MAX = 1024                            # of an active message of weft's

SHARED = 0                                   # read where it lies: it is used up by deserialising
OWN = 1                                      # a buffer that an object may keep: memory of its own
AGAIN = 2                                    # the same buffer goes on
SHARED_MAX = 32 << 10                        # bytes from this length on have memory of their own, too: they are not copied together
TABLE_MAX = 64 << 20                         # 8 million frames


class MalformedError(ValueError):
    """The peer's table cannot be true."""


def _goes_on(before: memoryview, frame: memoryview) -> bool:
    """Does @frame begin where @before ends, in one buffer? The same buffer twice is two objects at the receiver."""
    if before.obj is not frame.obj:
        return False
    try:
        return address_of_memoryview(frame) == address_of_memoryview(before) + before.nbytes
    except ValueError:                       # bytes, and NumPy is not there
        return False


def _bytes_of(view: memoryview) -> memoryview:
    """Dask's ensure_memoryview() exports @view for it, and CPython's garbage collector may crash where it meets both (G119)."""
    try:
        return view.cast("B")
    except TypeError:                        # neither contiguous nor of a format of C's
        return ensure_memoryview(view)


def _room(n: int) -> memoryview:
    """@n bytes to be received, of which a page is touched when its bytes come: a peer may announce what it never sends."""
    return memoryview(bytearray(n)) if n < SHARED_MAX else memory.take(n)


def pack(frames: Sequence[bytes | memoryview]) -> tuple[bytes, bytes, list[bytes | memoryview], int]:
    """header; the table, where it is too long for that, else b""; the payload's pieces; and the bytes of all together."""
    rows: list[int] = []
    shared: list[bytes | memoryview] = []
    own: list[bytes | memoryview] = []
    total = 0
    before: memoryview | None = None         # a buffer that may go on
    for frame in frames:
        if isinstance(frame, bytes) and len(frame) < SHARED_MAX:   # the likeliest
            n, kind, before = len(frame), SHARED, None
            shared.append(frame)
        else:
            view = frame if isinstance(frame, memoryview) else memoryview(frame)
            n = view.nbytes
            kind = AGAIN if before is not None and n and _goes_on(before, view) else OWN if n else SHARED
            before = view if n else None
            if n:
                own.append(_bytes_of(view))
        rows.append(n << 2 | kind)
        total += n
    if 8 * len(rows) > TABLE_MAX:
        raise ValueError(f"a message of {len(rows)} frames: weft:// takes {TABLE_MAX // 8} at most; send it as several")
    table = struct.pack(f"<{len(rows)}Q", *rows)
    header = HEADER.pack(MAGIC, len(rows), total)
    pieces = [b"".join(shared) if len(shared) > 1 else shared[0], *own] if shared else own
    if len(header) + len(table) <= HEADER_MAX:
        return header + table, b"", pieces, len(header) + len(table) + total
    return header, table, pieces, len(header) + len(table) + total


def table_header(table: bytes) -> bytes:
    return HEADER.pack(MAGIC_TABLE, len(table) // 8, len(table))


def unpack(header: bytes, length: int, table: memoryview | None) -> tuple[list[memoryview] | None, list[memoryview]]:
    """For a message with this header, of @length bytes: its frames, and the buffers that these bytes are received into, in order, of
    which the frames are views. Frames None: it is the table of the next one."""
    magic, count, total = HEADER.unpack_from(header) if len(header) >= HEADER.size else (0, 0, 0)
    if total != length or magic not in (MAGIC, MAGIC_TABLE):
        raise MalformedError("this is no message of Dask's")
    if magic == MAGIC_TABLE:
        if table is not None or length != 8 * count or len(header) != HEADER.size or length > TABLE_MAX:
            raise MalformedError("a table of another length than it says, or of more frames than there may be")
        return None, [_room(length)]
    inline = header[HEADER.size:]
    if len(inline) + len(table or b"") != 8 * count or (inline and table):
        raise MalformedError("a message without its table")
    return _frames_of(struct.unpack(f"<{count}Q", table or inline), length)


def _sizes(rows: Sequence[int]) -> tuple[int, list[int]]:
    """The bytes of all SHARED frames, and of each buffer."""
    n_shared, sizes = 0, []
    goes_on = False
    for row in rows:
        kind = row & 3
        if kind == SHARED:
            if row >> 2 >= SHARED_MAX:
                raise MalformedError("a frame without memory of its own is longer than those are")
            n_shared += row >> 2
        elif kind == OWN:
            sizes.append(row >> 2)
        elif kind == AGAIN and goes_on:
            sizes[-1] += row >> 2
        else:
            raise MalformedError("a frame of no kind" if kind > AGAIN else "a frame goes on that did not begin")
        goes_on = kind != SHARED
    return n_shared, sizes


def _frames_of(rows: Sequence[int], length: int) -> tuple[list[memoryview], list[memoryview]]:
    n_shared, sizes = _sizes(rows)
    if n_shared + sum(sizes) != length:
        raise MalformedError("the lengths of the frames and the message's do not agree")
    if length > sys.maxsize:
        raise MalformedError("no memory is as large as a frame")
    try:
        shared = _room(n_shared)
        own = [memory.take(n) for n in sizes]
    except ValueError as exc:                # NumPy's, of a length that no array has
        raise MalformedError(str(exc)) from exc
    memory.trim()
    frames, at, which, within = [], 0, -1, 0
    for row in rows:
        n, kind = row >> 2, row & 3
        if kind == SHARED:
            frames.append(shared[at:at + n])
            at += n
            continue
        if kind == OWN:
            which, within = which + 1, 0
        frames.append(own[which] if n == sizes[which] else own[which][within:within + n])
        within += n
    return frames, [shared, *own] if n_shared else own
