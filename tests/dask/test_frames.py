# SPDX-License-Identifier: BSD-3-Clause
"""Frames become messages and frames again, whatever they are; tables that lie are found before anything is allocated for them."""
import struct

import numpy
import pytest
from distributed.protocol.utils import frame_split_size, merge_memoryviews
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.dask import _frames
from weft.dask._frames import AGAIN, HEADER, MAGIC, MAGIC_TABLE, OWN, SHARED, SHARED_MAX, MalformedError, pack, table_header, unpack

KINDS = [bytes, bytearray, lambda b: memoryview(bytearray(b)), lambda b: numpy.frombuffer(bytearray(b), "u1").data]
FRAMES = st.lists(st.tuples(st.integers(0, 3), st.one_of(st.integers(0, 40), st.integers(SHARED_MAX - 2, SHARED_MAX + 9))), max_size=12)


def carry(frames):
    """What the receiver has of @frames: the payload's bytes are put into the buffers that it made for them."""
    header, table, pieces, total = pack(frames)
    if table:
        none, (buffer,) = unpack(table_header(table), len(table), None)
        assert none is None and buffer.nbytes == len(table)
    payload = b"".join(pieces)
    got, buffers = unpack(header, len(payload), table or None)
    assert total == len(header) + len(table) + len(payload) and len(header) <= 1024
    assert sum(b.nbytes for b in buffers) == len(payload)
    at = 0
    for buffer in buffers:
        buffer[:] = payload[at:at + buffer.nbytes]
        at += buffer.nbytes
    return got, buffers


@settings(deadline=None)
@given(FRAMES)
def test_what_is_packed_is_unpacked(shape):
    frames = [KINDS[kind](bytes([i + 1]) * size) for i, (kind, size) in enumerate(shape)]
    got, _ = carry(frames)
    assert [bytes(f) for f in got] == [bytes(f) for f in frames]


def test_every_buffer_has_memory_of_its_own():
    frames = [b"head", bytearray(10), b"more", bytearray(SHARED_MAX), bytes(SHARED_MAX), memoryview(bytearray(5))]
    got, buffers = carry(frames)
    owners = [f.obj for f in got]
    assert len(buffers) == 5 and all(not f.readonly for f in got)
    assert len({id(o) for o in (owners[1], owners[3], owners[4], owners[5])}) == 4      # and none is that of the rest
    assert owners[0] is owners[2] and all(owners[0] is not owners[k] for k in (1, 3, 4, 5))


@pytest.mark.parametrize("items", ["u1", "f8"])
def test_an_array_that_dask_cuts_arrives_in_one_piece(items):
    whole = numpy.arange(4 * SHARED_MAX, dtype="u1").view(items)
    parts = frame_split_size(whole.data, SHARED_MAX)
    got, buffers = carry([b"h", *parts])
    assert len(parts) == 4 and len(buffers) == 2 and bytes(buffers[1]) == whole.tobytes()
    assert merge_memoryviews(got[1:]).nbytes == whole.nbytes


@pytest.mark.parametrize("kind", [bytes, lambda a: a.data])
def test_a_buffer_that_was_cut_arrives_in_one_piece(kind):
    whole = memoryview(kind(numpy.arange(3 * SHARED_MAX + 100, dtype="u1")))
    parts = [whole[i:i + SHARED_MAX] for i in range(0, whole.nbytes, SHARED_MAX)]
    got, buffers = carry([b"h", *parts, b"t"])
    assert len(buffers) == 2 and bytes(buffers[1]) == whole.tobytes() and [f.nbytes for f in got[1:-1]] == [p.nbytes for p in parts]


def test_packing_exports_nothing():
    """CPython's garbage collector may crash over a view of a view (G119): one that is exported cannot be released."""
    for items in (numpy.ones(1000), numpy.ones((10, 10), "c16"), numpy.ones(7, "?")):
        view = memoryview(items)
        pieces = pack([view])[2]
        view.release()
        assert bytes(pieces[0]) == items.tobytes()


def test_more_frames_than_a_table_may_have(monkeypatch):
    monkeypatch.setattr(_frames, "TABLE_MAX", 8 * 1000)
    assert len(pack([b""] * 1000)[1]) == 8 * 1000
    with pytest.raises(ValueError, match="1001 frames: weft:// takes 1000 at most"):
        pack([b""] * 1001)


def test_the_same_buffer_twice_is_two():
    one = numpy.zeros(SHARED_MAX, "u1")
    _, buffers = carry([one.data, one.data])
    assert len(buffers) == 2


def test_more_frames_than_anybody_else_takes():
    frames = [bytearray([i % 251]) * (i % 7) for i in range(5000)]
    got, _ = carry(frames)
    assert [bytes(f) for f in got] == [bytes(f) for f in frames]


def table(*rows, magic=MAGIC, count=None, length=None, room=None):
    packed = b"".join(struct.pack("<Q", n << 2 | kind) for n, kind in rows)
    length = sum(n for n, _ in rows) if length is None else length
    return HEADER.pack(magic, len(rows) if count is None else count, length) + packed, length if room is None else room, None


LATE = struct.pack("<Q", 1 << 2)              # a table of one frame


@pytest.mark.parametrize("message", [
    (b"", 0, None), (b"x" * 15, 8, None), (b"x" * 17, 8, None), (HEADER.pack(MAGIC, 0, 0) + b"x", 0, None),
    table(magic=1), table((1, SHARED), room=2), table((1, SHARED), length=2), table((2, OWN), length=1),
    table((0, SHARED), count=2), table(count=(1 << 32) - 1), table((5, AGAIN)), table((1, SHARED), (5, AGAIN)), table((1, 3)),
    table((1, OWN), (1, SHARED), (1, AGAIN)), table((1 << 61, SHARED), length=1), table((1 << 61, OWN), (1 << 61, OWN), length=0),
    table(magic=MAGIC_TABLE, count=2, length=8), (table_header(LATE) + b"x", 8, None), (table_header(LATE), 8, LATE),
    (*table((1, SHARED))[:2], LATE), (HEADER.pack(MAGIC, 2, 1), 1, LATE),
])
def test_tables_that_lie(message):
    with pytest.raises(MalformedError):
        unpack(*message)


def test_a_length_that_nobody_has():
    with pytest.raises((MalformedError, MemoryError, ValueError)):
        unpack(*table(((1 << 62) - 1, OWN)))
