# SPDX-License-Identifier: BSD-3-Clause
"""Comms to other processes, which stop, are busy, die while they are answered, or announce what they never send."""
import asyncio
import contextlib
import gc
import mmap
import os
import re
import subprocess
import time
import weakref
from pathlib import Path

import numpy
import pytest
from conftest import LIMIT, announce, comm_pair, python
from distributed.comm.core import CommClosedError, connect
from distributed.protocol import to_serialize

import weft
from weft.dask._frames import HEADER, MAGIC, MAGIC_TABLE
from weft.dask.comm import CLOSE_S

LARGE = 64 << 20
SOON_S = 10                                  # no 30 s, which Dask's timeout is

# Does what it is told, a comm at a time: {"give": bytes, "stop": bool} or {"busy": seconds}; what it is told it prints, of bytes their number.
PEER = """\
import asyncio, os, signal, sys, time
import numpy
from distributed.comm.core import CommClosedError, listen
from distributed.protocol import to_serialize

async def serve(comm):
    try:
        while True:
            told = await comm.read()
            print({what: len(v) if isinstance(v, bytes) else v for what, v in told.items()}, flush=True)
            if told.get("give"):
                await comm.write({"x": to_serialize(numpy.ones(told["give"], "u1"))})
            if told.get("stop"):
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(told.get("busy", 0))
    except CommClosedError:
        print("closed", flush=True)

async def main():
    listener = await listen("weft://127.0.0.1:0", serve)
    print(listener.contact_address, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def peer(**env):
    """A process, and a comm to it."""
    child = subprocess.Popen(python(PEER), stdout=subprocess.PIPE, text=True, env={**os.environ, **env})
    try:
        comm = await connect(child.stdout.readline().strip(), timeout=LIMIT)
        yield child, comm
        comm.abort()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


async def stopped(child):
    while "\nState:\tT" not in Path(f"/proc/{child.pid}/status").read_text():
        await asyncio.sleep(0.01)


# Where the payload cannot come without the peer. Between processes that reach each other's memory the reader may have copied it alone by
# then, but mostly waits for the part that the peer had begun.
@pytest.mark.parametrize("env", [{"WEFT_TRANSPORTS": "tcp"}, {"WEFT_CMA": "no"}, {}], ids=["tcp", "ring", "both copy"])
def test_a_cancelled_read_does_not_wait_for_a_peer_that_has_stopped(run, env):
    async def body():
        async with peer(**env) as (child, comm):
            await comm.write({"give": LARGE, "stop": True})
            read = asyncio.ensure_future(comm.read())
            await stopped(child)
            while comm._incoming is None and not read.done():    # the payload is on its way
                await asyncio.sleep(0.01)
            start = time.monotonic()
            if read.cancel("enough") or env:
                with pytest.raises(asyncio.CancelledError):
                    await read
                assert time.monotonic() - start < SOON_S and comm.closed() and not comm._incoming

    run(body())


@pytest.mark.parametrize("env", [{"WEFT_TRANSPORTS": "tcp"}, {"WEFT_CMA": "no"}], ids=["tcp", "ring"])
def test_a_read_that_is_cancelled_while_close_waits_cuts_nothing_short(run, env):
    async def body():
        async with peer(**env) as (child, comm):
            await comm.write({"give": LARGE, "busy": 2})
            read = asyncio.ensure_future(comm.read())
            while comm._incoming is None:
                await asyncio.sleep(0.001)
            await comm.write({"last": bytes(1_000_000)})
            close = asyncio.ensure_future(comm.close())
            await asyncio.sleep(0)
            read.cancel()
            with pytest.raises(asyncio.CancelledError):
                await read
            await close
            assert child.stdout.readline().startswith("{'give'") and child.stdout.readline() == "{'last': 1000000}\n"

    run(body())


@pytest.mark.parametrize("late", [False, True])
def test_a_cancelled_close_aborts(run, late):
    async def body():
        async with peer() as (child, comm):
            await comm.write({"stop": True})
            await stopped(child)
            await comm.write({"x": to_serialize(numpy.zeros(LARGE, "u1"))})
            close = asyncio.ensure_future(comm.close())
            await asyncio.wait([close], timeout=1.5 * CLOSE_S if late else 0)
            close.cancel()
            with pytest.raises(asyncio.CancelledError):
                await close
            assert comm._ep.closed and not comm._sends

    run(body())


def test_a_close_does_not_wait_long_for_a_peer_that_has_stopped(run):
    async def body():
        async with peer() as (child, comm):
            await comm.write({"stop": True})
            await stopped(child)
            start = time.monotonic()
            await comm.close()
            assert CLOSE_S / 2 < time.monotonic() - start < SOON_S

    run(body())


@pytest.mark.parametrize("n", [10, 10_000, 1_000_000])
def test_a_busy_peer_gets_what_was_written_before_a_close(run, n):
    """Also from a process that is gone by then."""
    code = """\
import asyncio, sys
from distributed.comm.core import connect

async def main():
    comm = await connect(sys.argv[1])
    await comm.write({"busy": 3})
    await comm.write({"last": bytes(int(sys.argv[2]))})
    await comm.close()

asyncio.run(main())
"""

    async def body():
        async with peer() as (child, comm):
            subprocess.run(python(code, comm.peer_address, n), check=True, timeout=LIMIT)
            said = [child.stdout.readline() for _ in range(3)]
            assert said == ["{'busy': 3}\n", f"{{'last': {n}}}\n", "closed\n"]

    run(body())


def test_a_failed_write_lets_go_of_what_was_written(run):
    """At once, without the garbage collector."""
    async def body():
        async with comm_pair() as (a, b):
            x = numpy.zeros(LARGE // 8)
            gone = weakref.ref(x)
            await a.write(to_serialize(x))
            b.abort()
            while not a._sends[0].done():
                await asyncio.sleep(0.001)
            with pytest.raises(CommClosedError):
                await a.write(to_serialize(x))
            del x
            until = time.monotonic() + SOON_S
            while gone() is not None and time.monotonic() < until:    # Dask serialised it in a thread, which lets go last
                await asyncio.sleep(0.001)
            assert gone() is None

    gc.collect()
    gc.disable()
    try:
        run(body())
    finally:
        gc.enable()


def test_who_answers_one_that_has_died_lives_on():
    """What Dask makes of an array of numbers, kept by an error, crashed CPython's garbage collector."""
    code = """\
import asyncio, gc, subprocess, sys
import numpy
from distributed.comm.core import CommClosedError, connect
from distributed.protocol import to_serialize

async def main():
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
    comm = await connect(child.stdout.readline().strip())
    child.kill()
    child.wait()
    while not comm.closed():
        await asyncio.sleep(0.01)
    for _ in range(3):
        try:
            await comm.write({"x": to_serialize(numpy.ones(1000))})
        except CommClosedError:
            pass
    comm.abort()
    gc.collect()
    print("alive")

asyncio.run(main())
"""
    done = subprocess.run(python(code, PEER), capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def peak_kib(child):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{child.pid}/status").read_text())[1])


@pytest.mark.parametrize("header", [lambda n: announce(n, 0), lambda n: announce(n, 1), lambda n: HEADER.pack(MAGIC, 0, n),
                                    lambda n: HEADER.pack(MAGIC_TABLE, n // 8, n)],
                         ids=["describing", "buffer", "nothing", "table"])
def test_what_is_announced_and_never_sent_takes_no_memory(run, header):
    """But for the part that is here by the time the sender ends it. It has no memory behind it either."""
    n = 1 << 30

    async def body():
        async with peer() as (child, comm):
            before = peak_kib(child)
            with mmap.mmap(-1, n, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as nothing:
                op = comm._ep.am_send(header(n), memoryview(nothing))
                other = await connect(comm.peer_address, timeout=LIMIT)
                comm._ep.abort()
                with contextlib.suppress(weft.Error):
                    await op
                del op
            await other.write({})
            while child.stdout.readline() != "{}\n":    # it has seen the announcement before that
                pass
            other.abort()
            assert peak_kib(child) - before < 256 << 10

    run(body())
