# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of Dask over weft share: a coroutine with a limit, two ends of a comm, descriptors counted."""
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from multiprocessing import resource_tracker

import pytest

pytest.importorskip("distributed", reason="Dask is not installed (tools/setup dask)")

import dask
from distributed.comm.core import CommClosedError, connect, listen

import weft
from weft.dask._frames import HEADER, MAGIC, table_header

LIMIT = 60  # seconds that anything may take
HERE = "weft://127.0.0.1:0"


def open_files():
    """{descriptor: what it is}"""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):   # that of the listing itself
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


@pytest.fixture
def descriptors():
    """No descriptor more after the test than before; what threads of Dask's still close is waited for."""
    resource_tracker.ensure_running()        # multiprocessing's, which stays
    gc.collect()
    before, until = open_files(), time.monotonic() + 5
    yield
    gc.collect()
    while (left := {fd: what for fd, what in open_files().items() if before.get(fd) != what}) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left


@pytest.fixture
def run(descriptors):
    """run(coro): as asyncio.run(), with a limit, and no descriptor more than before."""
    def go(coro, limit=LIMIT):
        async def limited():
            try:
                return await asyncio.wait_for(coro, limit)
            finally:
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()

        try:
            return asyncio.run(limited())
        finally:
            gc.collect()

    return go


@contextlib.asynccontextmanager
async def comm_pair(address=HERE, **kwargs):
    """Both ends of a comm in this loop: that which connected and that which was accepted, handshakes done."""
    accepted = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    async def handle(comm):
        accepted.set_result(comm)
        await ended.wait()

    listener = await listen(address, handle, **kwargs)
    try:
        a = await connect(listener.contact_address, timeout=10, **kwargs)
        b = await asyncio.wait_for(accepted, 10)
        try:
            yield a, b
        finally:
            ended.set()
            await asyncio.wait_for(asyncio.gather(a.close(), b.close()), LIMIT)
    finally:
        listener.stop()


@contextlib.contextmanager
def config(**values):
    with dask.config.set({k.replace("__", "."): v for k, v in values.items()}):
        yield


def kill_dead(pid):
    """Kills a child of ours. When it was dead: what its own end takes is no part of how soon that is noticed."""
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):   # who started it was faster
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return time.monotonic()


def python(code, *args, **kwargs):
    """The argv of a Python that runs @code."""
    return [sys.executable, "-c", code, *map(str, args)]


@pytest.fixture(autouse=True)
def quiet():
    """Dask logs what tests provoke."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


# ---- peers that lie ----


def row(length, kind):
    return (length << 2 | kind).to_bytes(8, "little")


def announce(length, kind):
    """The header of a message of one frame."""
    return HEADER.pack(MAGIC, 1, length) + row(length, kind)


LIES = [
    lambda ep: [ep.am_send(b"nonsense")],
    lambda ep: [ep.am_send(HEADER.pack(MAGIC, 3, 5), b"short")],
    lambda ep: [ep.am_send(announce(1000, 0))],
    lambda ep: [ep.am_send(announce(100_000, 1), bytes(99_999))],
    lambda ep: [ep.am_send(announce(100_000, 1), bytes(100_001))],
    lambda ep: [ep.am_send(announce(1 << 60, 1))],
    lambda ep: [ep.am_send(announce(5, 0), b"\xc1\xc1\xc1\xc1\xc1")],
    lambda ep: [ep.am_send(table_header(row(5, 0)), row(5, 0)), ep.am_send(table_header(row(5, 0)), row(5, 0))],
]


async def lie_to_a_listener(lie):
    """Its comm is closed, with a reason, and others are served."""
    ended = asyncio.get_running_loop().create_future()

    async def handle(comm):
        result = await asyncio.gather(comm.read(), return_exceptions=True)
        comm.abort()
        if not ended.done():
            ended.set_result(result[0])

    listener = await listen(HERE, handle)
    c = await connect(listener.contact_address)
    for op in lie(c._ep):
        with contextlib.suppress(weft.Error):
            await op
    assert isinstance(await asyncio.wait_for(ended, 10), Exception)
    with pytest.raises(CommClosedError):
        await c.read()
    c.abort()
    d = await connect(listener.contact_address)
    await d.close()
    listener.stop()
