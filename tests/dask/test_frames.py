# SPDX-License-Identifier: BSD-3-Clause
"""Frames become messages and frames again, whatever they are; tables that lie are found before anything is allocated for them."""
import struct

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.dask._frames import AGAIN, APART, APART_MIN, HEADER, MAGIC, OWN, SHARED, MalformedError, pack, unpack

KINDS = [bytes, bytearray, lambda b: memoryview(bytearray(b)), lambda b: numpy.frombuffer(bytearray(b), "u1").data]
FRAMES = st.lists(st.tuples(st.integers(0, 3), st.one_of(st.integers(0, 40), st.integers(APART_MIN - 2, APART_MIN + 9))), max_size=12)


def carry(frames):
    """What the receiver has of @frames: what apart messages bring is put into the buffers that it made for them."""
    header, payload, apart, total = pack(frames)
    got, buffers = unpack(header, bytearray(payload))
    assert [sum(p.nbytes for p in parts) for parts in apart] == [b.nbytes for b in buffers]
    assert total == len(header) + len(payload) + sum(b.nbytes for b in buffers)
    for parts, buffer in zip(apart, buffers):
        buffer[:] = b"".join(parts)
    return got, buffers


@settings(deadline=None)
@given(FRAMES)
def test_what_is_packed_is_unpacked(shape):
    frames = [KINDS[kind](bytes([i + 1]) * size) for i, (kind, size) in enumerate(shape)]
    got, _ = carry(frames)
    assert [bytes(f) for f in got] == [bytes(f) for f in frames]


def test_every_buffer_has_memory_of_its_own():
    frames = [b"head", bytearray(10), b"more", bytearray(APART_MIN), bytearray(APART_MIN), memoryview(bytearray(5))]
    got, buffers = carry(frames)
    owners = [f.obj for f in got]
    assert len(buffers) == 2 and all(not f.readonly for f in got)
    assert len({id(o) for o in (owners[1], owners[3], owners[4], owners[5])}) == 4      # and none is that of the rest
    assert owners[0] is owners[2] and all(owners[0] is not owners[k] for k in (1, 3, 4, 5))


def test_a_buffer_that_was_cut_arrives_in_one_piece():
    whole = numpy.arange(3 * APART_MIN + 100, dtype="u1")
    parts = [whole.data[i:i + APART_MIN] for i in range(0, whole.nbytes, APART_MIN)]
    got, buffers = carry([b"h", *parts, b"t"])
    assert len(buffers) == 1 and bytes(buffers[0]) == whole.tobytes() and [f.nbytes for f in got[1:-1]] == [p.nbytes for p in parts]


def test_the_same_buffer_twice_is_two():
    one = numpy.zeros(APART_MIN, "u1")
    _, buffers = carry([one.data, one.data])
    assert len(buffers) == 2


def test_more_frames_than_anybody_else_takes():
    frames = [bytearray([i % 251]) * (i % 7) for i in range(5000)]
    got, _ = carry(frames)
    assert [bytes(f) for f in got] == [bytes(f) for f in frames]


def table(*rows, tail=b"", magic=MAGIC, count=None, length=None):
    packed = b"".join(struct.pack("<Q", n << 2 | kind) for n, kind in rows)
    header = HEADER.pack(magic, len(rows) if count is None else count, len(packed) if length is None else length)
    return header, bytearray(packed + tail)


@pytest.mark.parametrize("header, payload", [
    (b"", bytearray()), (b"x" * 15, bytearray(8)), (b"x" * 17, bytearray(8)),
    table(magic=1), table((1, SHARED)), table((1, SHARED), tail=b"ab"), table((2, OWN), tail=b"a"),
    table((0, SHARED), count=2), table((0, SHARED), length=16), table(count=1 << 31, length=8 << 31),
    table((5, AGAIN)), table((1, SHARED), (5, AGAIN), tail=b"a"), table((1 << 61, SHARED)), table((1 << 61, OWN), (1 << 61, OWN)),
])
def test_tables_that_lie(header, payload):
    with pytest.raises(MalformedError):
        unpack(header, payload)


def test_a_length_that_nobody_has():
    with pytest.raises((MalformedError, MemoryError, ValueError)):
        unpack(*table(((1 << 62) - 1, APART)))
