# SPDX-License-Identifier: BSD-3-Clause
"""Memory of received buffers: used again when the last view of it is gone, never before; bounded, and given back."""
import gc
import pickle
import threading

import numpy
import pytest

from weft.dask import _memory
from weft.dask._memory import KEEP_BYTES, KEEP_MIN, KEEP_N, Memory


def place(view):
    return numpy.frombuffer(view, "u1").ctypes.data


def test_short_ones_are_malloc_s():
    memory = Memory()
    for n in (0, 1, KEEP_MIN - 1):
        assert memory.take(n).nbytes == n
    assert memory.kept() == 0


@pytest.mark.parametrize("use", [
    lambda v: numpy.ndarray((10,), "f8", buffer=v), lambda v: numpy.ndarray((10,), "f8", buffer=v)[2:4],
    lambda v: numpy.ndarray((2, 5), "f8", buffer=v).T[3:], lambda v: numpy.frombuffer(v, "u4")[::2],
    lambda v: numpy.asarray(v), lambda v: numpy.asarray(v.obj)[1:], lambda v: numpy.ma.MaskedArray(numpy.asarray(v)), lambda v: v[5:6],
    lambda v: memoryview(v.obj), lambda v: pickle.loads(pickle.dumps(numpy.zeros(16), protocol=5, buffer_callback=lambda b: False),
                                                        buffers=[v[:128]]),
    lambda v: numpy.asarray(v).astype("u1", copy=False).view(numpy.recarray),
])
def test_whatever_is_made_of_it_holds_it(use):
    memory = Memory()
    view = memory.take(KEEP_MIN)
    made = use(view)
    view.release()
    del view
    gc.collect()
    assert memory.kept() == 0
    del made
    gc.collect()
    assert memory.kept() == KEEP_MIN


def test_it_comes_back_with_the_last_view():
    memory = Memory()
    view = memory.take(KEEP_MIN + 5)
    at, array = place(view), numpy.frombuffer(view[1:3], "u1")
    assert view.nbytes == KEEP_MIN + 5 and not view.readonly
    view.release()
    assert memory.kept() == 0 and place(memory.take(KEEP_MIN)) != at      # array is a part of it
    del array
    gc.collect()
    assert memory.kept() >= KEEP_MIN + 5
    again = [memory.take(KEEP_MIN + 5), memory.take(KEEP_MIN + 5)]
    assert at in (place(again[0]), place(again[1])) and place(again[0]) != place(again[1])


def test_a_small_one_does_not_take_a_large_one_s_place():
    memory = Memory()
    at = place(memory.take(10 * KEEP_MIN))
    small = memory.take(KEEP_MIN)
    assert place(small) != at and place(memory.take(9 * KEEP_MIN)) == at


def test_little_lies_unused_behind_a_block():
    memory = Memory()
    at = [place(view) for view in [memory.take(9 * KEEP_MIN), memory.take(10 * KEEP_MIN), memory.take(20 * KEEP_MIN)]]
    gc.collect()
    assert place(memory.take(8 * KEEP_MIN)) == at[0]     # of two that fit the shorter
    small = memory.take(8 * KEEP_MIN - 8)
    assert place(small) not in at                        # 9 would be more than an eighth too much
    assert place(memory.take(9 * KEEP_MIN + 5)) == at[1]


def test_it_is_bounded():
    memory = Memory()
    many = [memory.take(KEEP_MIN) for _ in range(2 * KEEP_N)]
    many += [memory.take(KEEP_BYTES // 3) for _ in range(5)]
    del many
    gc.collect()
    assert 0 < memory.kept() <= KEEP_BYTES and len(memory._free) <= KEEP_N and not memory._refs


def test_what_nobody_uses_goes_back(monkeypatch):
    memory = Memory()
    now = [100.0]
    monkeypatch.setattr(_memory.time, "monotonic", lambda: now[0])
    memory.take(KEEP_MIN)
    memory.trim()
    assert memory.kept() == KEEP_MIN
    now[0] += _memory.KEEP_S + 1
    memory.trim()
    assert memory.kept() == 0


def test_views_end_in_other_threads():
    memory, errors = Memory(), []

    def use():
        try:
            for i in range(300):
                view = memory.take(KEEP_MIN + i)
                view[:8] = view[-8:] = bytes([i % 256]) * 8
                assert bytes(view[:8]) == bytes([i % 256]) * 8
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    gc.collect()
    assert not errors and not memory._refs and memory.kept() <= KEEP_BYTES


def test_without_numpy(monkeypatch):
    monkeypatch.setattr(_memory, "numpy", None)
    memory = Memory()
    assert memory.take(KEEP_MIN).nbytes == KEEP_MIN and memory.kept() == 0


@pytest.mark.parametrize("n", [(1 << 62), (1 << 63) - 1])
def test_more_than_there_is(n):
    with pytest.raises((MemoryError, ValueError)):
        Memory().take(n)
