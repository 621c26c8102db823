# SPDX-License-Identifier: BSD-3-Clause
"""Two processes: idle costs nothing, a killed peer is noticed, no wake-up is lost, memory is shared."""
import asyncio
import json
import os
import random
import time

import pytest

import weft
from conftest import LONG, cpu_seconds

SERVER = """
    async def main():
        over = asyncio.Event()

        async def handler(ep):
            buf = bytearray(1 << 21)
            try:
                while True:
                    n, tag = await ep.recv_tagged(buf, mask=weft.ANY)
                    await ep.send(memoryview(buf)[:n], tag)
            except ConnectionError:
                over.set()
        async with await weft.listen(handler, "weft://127.0.0.1:0", transports=args[0]) as listener:
            print(listener.url, flush=True)
            await over.wait()
    asyncio.run(main())
"""
REMOTE = ["shm", "tcp"]


@pytest.mark.parametrize("transport", REMOTE)
def test_echo_between_processes(run, peer, transport):
    async def main():
        p = peer(SERVER, transport)
        async with await weft.connect(await p.line(), transports=transport) as ep:
            rng = random.Random(8)
            into = bytearray(1 << 21)
            for i in range(300):
                data = rng.randbytes(rng.choice([0, 1, 8, 100, 8193, 70000, 1 << 20]))
                n, _ = await asyncio.gather(ep.recv(into, i), ep.send(data, i))
                assert into[:n] == data
        assert p.end() == 0
    run(main(), 60)


@pytest.mark.parametrize("transport", REMOTE)
def test_an_idle_pair_uses_no_cpu(run, peer, transport):
    async def main():
        p = peer(SERVER, transport)
        async with await weft.connect(await p.line(), transports=transport) as ep:
            for _ in range(100):
                await asyncio.gather(ep.send(b"x"), ep.recv(bytearray(1)))
            op = ep.recv(bytearray(1))
            await asyncio.sleep(0.2)
            seconds = 5
            start = time.process_time(), cpu_seconds(p.process.pid)
            await asyncio.sleep(seconds)
            used = time.process_time() - start[0], cpu_seconds(p.process.pid) - start[1]
            assert all(u / seconds < 0.005 for u in used), used
            await ep.send(b"y")
            assert await op == 1
    run(main())


@pytest.mark.parametrize("transport", REMOTE)
def test_a_killed_peer_fails_everything_at_once(run, peer, transport):
    async def main():
        p = peer(SERVER, transport)
        ep = await weft.connect(await p.line(), transports=transport)
        await asyncio.gather(ep.send(b"x"), ep.recv(bytearray(1)))
        into = bytearray(100)
        ops = [ep.recv(into), ep.recv_obj(), ep.am_recv(), ep.read(5), ep.readexactly(10),
               *[ep.recv(bytearray(8), 1000 + i) for i in range(100)], ep.send(bytes(100), 5, sync=True)]
        await asyncio.sleep(0.1)
        start = time.monotonic()
        p.kill()
        got = await asyncio.gather(*ops, return_exceptions=True)
        took = time.monotonic() - start
        answered = got.pop()                     # it may have been matched before
        assert answered is None or isinstance(answered, weft.ResetError)
        assert all(isinstance(e, weft.ResetError) for e in got), got[:8]
        assert isinstance(got[0], ConnectionResetError) and got[0].scope == "endpoint"
        assert got[0].cause == f"process {p.process.pid} died" if transport == "shm" else got[0].cause
        assert took < 0.1, took
        assert ep.closed and isinstance(ep.error, weft.ResetError)
        into.extend(b"free")
        with pytest.raises(weft.ResetError):
            await ep.send(b"x")
        await asyncio.wait_for(ep.close(), 1)
    run(main())


@pytest.mark.parametrize("transport", REMOTE)
def test_a_peer_killed_in_the_middle_of_large_copies(run1, peer, transport):
    async def main():
        for at in range(5):
            p = peer(SERVER, transport)
            ep = await weft.connect(await p.line(), transports=transport)
            data, into = bytes(1 << 20), bytearray(1 << 20)

            async def traffic():
                while True:
                    await asyncio.gather(ep.send(data), ep.recv(into))
            task = asyncio.create_task(traffic())
            await asyncio.sleep(0.05 + 0.003 * at)
            start = time.monotonic()
            p.kill()
            with pytest.raises(ConnectionError, match=f"process {p.process.pid} died" if transport == "shm" else "peer"):
                await asyncio.wait_for(task, 5)
            assert time.monotonic() - start < 0.5
            await asyncio.wait_for(ep.close(), 1)
            into.extend(b"free") if len(into) == 1 << 20 else None
    run1(main())


SLEEPER = """
    import random
    import time

    def compute(us):                                          # timers of a loop are too coarse: 1 ms
        until = time.perf_counter_ns() + 1000 * us
        while time.perf_counter_ns() < until:
            pass

    async def main():
        over = asyncio.Event()

        async def handler(ep):
            buf = bytearray(4)
            try:
                while True:
                    await ep.recv(buf)
                    compute(int.from_bytes(buf, "little"))
                    await ep.send(buf)
            except ConnectionError:
                over.set()
        async with await weft.listen(handler, "weft://127.0.0.1:0", transports=args[0]) as listener:
            print(listener.url, flush=True)
            await over.wait()
    if args[1] == "uvloop":
        import uvloop
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main())
"""


def times_asleep():
    counts = json.loads(weft.stats())
    return counts["arms"] - counts["arms_refused"]


@pytest.mark.parametrize("transport", REMOTE)
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_no_wake_up_is_lost(peer, transport, kind):
    """Both sides let the other wait for random times about as long as a spin lasts, so that every order of arming,
    ringing and looking comes up, until this side has slept often enough."""
    if kind == "uvloop":
        pytest.importorskip("uvloop")
    from conftest import run_on
    sleeps = int(os.environ.get("WEFT_TEST_SLEEPS", 1_000_000 if LONG else 4000))
    waits = [0, 2, 5, 10, 15, 20, 25, 30, 40, 60, 120]

    async def main():
        p = peer(SLEEPER, transport, kind)
        async with await weft.connect(await p.line(), transports=transport) as ep:
            rng = random.Random(9)
            into = bytearray(4)
            start, rounds = times_asleep(), 0
            while times_asleep() - start < sleeps:
                assert rounds < 20 * sleeps, f"only {times_asleep() - start} sleeps in {rounds} rounds"
                for _ in range(1000):
                    await ep.send(rng.choice(waits).to_bytes(4, "little"))
                    await asyncio.wait_for(ep.recv(into), 10)
                    until = time.perf_counter_ns() + 1000 * rng.choice(waits)
                    while time.perf_counter_ns() < until:
                        pass
                rounds += 1000
            print(f"{times_asleep() - start} sleeps in {rounds} rounds")
        assert p.end() == 0
    run_on(kind, main(), 60 + sleeps / 500)


@pytest.mark.parametrize("transport", REMOTE)
def test_remote_memory_between_processes(run1, peer, transport):
    async def main():
        p = peer("""
            async def main():
                over = asyncio.Event()
                async def handler(ep):
                    mem = weft.alloc(1 << 20)
                    token = mem.grant(ep, "rwa")
                    await ep.send_obj(token)
                    assert await mem.signalled(token, 3) == 3
                    assert bytes(memoryview(mem)[100:105]) == b"there"
                    memoryview(mem)[200:204] = b"back"
                    await ep.send(b"go")
                    await ep.recv(bytearray(2))
                    assert memoryview(mem).cast("Q")[0] == 1000
                    await mem.revoke(token)
                    await ep.send(b"revoked")
                    try:
                        await ep.recv(bytearray(1))
                    except weft.ClosedError:
                        over.set()
                async with await weft.listen(handler, "weft://127.0.0.1:0", transports=args[0]) as listener:
                    print(listener.url, flush=True)
                    await over.wait()
            asyncio.run(main())
        """, transport)
        async with await weft.connect(await p.line(), transports=transport) as ep:
            remote = ep.remote(await ep.recv_obj())
            await remote.put(b"there", 100)
            await remote.put_signal(b"signal", 300, 3)
            await ep.recv(bytearray(2))
            into = bytearray(4)
            await remote.get(into, 200)
            assert into == b"back"
            old = await asyncio.gather(*[remote.fetch_add(0, 1) for _ in range(1000)])
            assert sorted(old) == list(range(1000))
            await ep.send(b"ok")
            await ep.recv(bytearray(7))
            with pytest.raises((weft.RevokedError, weft.AccessError)):
                await remote.get(into)
        assert p.end() == 0
    run1(main())


def test_numpy_arrays_and_objects_between_processes(run1, peer):
    np = pytest.importorskip("numpy")

    async def main():
        p = peer("""
            async def main():
                over = asyncio.Event()
                async def handler(ep):
                    try:
                        while True:
                            await ep.send_obj(await ep.recv_obj())
                    except weft.ClosedError:
                        over.set()
                async with await weft.listen(handler, "weft://127.0.0.1:0") as listener:
                    print(listener.url, flush=True)
                    await over.wait()
            asyncio.run(main())
        """)
        async with await weft.connect(await p.line()) as ep:
            rng = np.random.default_rng(3)
            for n in (0, 1, 1000, 300000):
                obj = {"n": n, "a": rng.random(n), "b": [rng.integers(0, 9, (n, 2)) for _ in range(3)]}
                await ep.send_obj(obj)
                got = await ep.recv_obj()
                assert got["n"] == n and np.array_equal(got["a"], obj["a"])
                assert all(np.array_equal(x, y) for x, y in zip(got["b"], obj["b"]))
        assert p.end() == 0
    run1(main())
