# SPDX-License-Identifier: BSD-3-Clause
"""Nothing is left of comms and clusters that are gone: descriptors (every test of comms and clusters counts them), memory of C and of
Python; and weft starts no thread."""
import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import re
import statistics
import threading
import tracemalloc

import numpy
import pytest
from conftest import HERE, LIES, LIMIT, comm_pair, lie_to_a_listener, open_files
from distributed import Client, Scheduler, Worker
from distributed.comm.core import CommClosedError, connect, listen
from distributed.protocol import to_serialize

import weft

LARGE = numpy.zeros(1 << 17)                 # 1 MiB


class Mallinfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h"""
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
                                                     "keepcost")]


def in_use():
    """Bytes that malloc has handed out; what pages of them the kernel has counted says less."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        pytest.skip("this libc has no mallinfo2()")
    mallinfo2.restype = Mallinfo
    gc.collect()
    info = mallinfo2()
    return info.uordblks + info.hblkhd


def of_weft_s():
    """Bytes of Python's objects that lines of the package weft made."""
    gc.collect()
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, os.path.dirname(weft.__file__) + "/*")])
    return sum(trace.size for trace in snapshot.traces)


async def comms(n):
    for _ in range(n):
        async with comm_pair() as (a, b):
            for msg in ({"op": "x"}, {"x": to_serialize(LARGE)}):
                for x, y in ((a, b), (b, a)):
                    await x.write(msg)
                    await y.read()


async def cluster(scheme):
    """The names of the threads of a scheduler, two workers, between which an array has gone, and a client; numbers left out."""
    async with Scheduler(protocol=scheme, host="127.0.0.1", port=0, dashboard=False) as s:
        here = dict(nthreads=1, dashboard=False, host="127.0.0.1")
        async with Worker(s.address, **here) as one, Worker(s.address, **here) as two, Client(s.address, asynchronous=True) as c:
            x = c.submit(numpy.ones, LARGE.shape, workers=[one.address])
            assert await c.submit(numpy.sum, x, workers=[two.address]) == LARGE.size
            return sorted(re.sub(r"\d+", "N", t.name) for t in threading.enumerate()), len(os.listdir("/proc/self/task"))


def test_comms_leave_no_memory_behind(run):
    """A hundred bytes for each comm would be seen."""
    async def body():
        await comms(60)
        before = in_use(), len(gc.get_objects())
        await comms(300)
        return in_use() - before[0], len(gc.get_objects()) - before[1]

    nbytes, objects = run(body())
    assert nbytes < 30_000 and objects < 100


def test_comms_leave_no_objects_of_weft_s_behind(run):
    async def body():
        await comms(10)
        tracemalloc.start()
        try:
            await comms(5)
            before = of_weft_s()
            await comms(50)
            return of_weft_s() - before
        finally:
            tracemalloc.stop()

    assert run(body()) < 2_000


async def bad(n):
    """Peers that lie, that speak another protocol or go at once, and reads that are given up halfway."""
    async def answer(comm):
        with contextlib.suppress(CommClosedError):
            await comm.write({"x": to_serialize(LARGE)})
            await comm.read()

    for _ in range(n):
        for lie in LIES:
            await lie_to_a_listener(lie)
        listener = await listen(HERE, answer)
        host, port = listener.contact_address.removeprefix("weft://").split(":")
        for said in (b"", b"GET / HTTP/1.0\r\n\r\n", bytes(1000)):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(said)
            writer.close()
            with contextlib.suppress(OSError):
                await reader.read()
        c = await connect(listener.contact_address)
        with contextlib.suppress(asyncio.TimeoutError, CommClosedError):
            await asyncio.wait_for(c.read(), 0.0001)
        c.abort()
        with pytest.raises(OSError):
            await connect(listener.contact_address.replace("weft", "tcp"), timeout=LIMIT)
        listener.stop()


def test_bad_peers_leave_no_memory_behind(run, monkeypatch):
    """Fifteen comms or strangers a round; a hundred bytes for each would be seen."""
    async def body():
        await bad(10)
        before = in_use()
        await bad(40)
        return in_use() - before

    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)   # pytest keeps what is logged
    assert run(body()) < 60_000


def test_clusters_leave_no_more_behind_than_over_tcp(descriptors):
    """Dask itself keeps some 75 kB of each, and of a later one more than of an earlier one: they take turns. Tables that grow once count
    for nothing in the median."""
    async def growth(scheme):
        before, files = in_use(), sorted(open_files().values())
        await cluster(scheme)
        gc.collect()
        assert sorted(open_files().values()) == files
        return in_use() - before

    async def growths():
        for scheme in ("tcp", "weft") * 2:
            await cluster(scheme)
        gc.collect()
        return [(await growth("tcp"), await growth("weft")) for _ in range(7)]

    over = asyncio.run(asyncio.wait_for(growths(), LIMIT))
    assert statistics.median(weft_s - tcp_s for tcp_s, weft_s in over) < 8_000, over


def test_a_comm_starts_no_thread(run):
    async def body():
        before = set(threading.enumerate()), set(os.listdir("/proc/self/task"))
        await comms(1)
        async with comm_pair() as (a, b):
            read = asyncio.ensure_future(b.read())
            await asyncio.sleep(0.01)
            assert (set(threading.enumerate()), set(os.listdir("/proc/self/task"))) == before
            await a.write(1)
            assert await read == 1

    run(body())


def test_a_cluster_has_the_threads_that_it_has_over_tcp(descriptors):
    def threads(scheme):
        return asyncio.run(asyncio.wait_for(cluster(scheme), LIMIT))

    threads("tcp")                           # pools that live on
    assert threads("weft") == threads("tcp")
