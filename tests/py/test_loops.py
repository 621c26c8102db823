# SPDX-License-Identifier: BSD-3-Clause
"""One worker for each event loop: made on first use, closed with the loop; no thread; forks."""
import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import weakref

import pytest

import weft
from conftest import LONG, new_loop, pair, run_on


def workers():
    return json.loads(weft.stats()).get("workers", 0)


def fds():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_the_worker_is_closed_with_its_loop(kind):
    if kind == "uvloop":
        pytest.importorskip("uvloop")
    gc.collect()

    async def main():
        assert workers() == before + 1
        async with pair() as (a, b):
            await asyncio.gather(a.send(b"x"), b.recv(bytearray(1)))
            assert workers() == before + 1
    before = 0

    async def first():
        await weft.listen(lambda ep: None, "weft://127.0.0.1:0")

    run_on(kind, first())
    before = workers()
    n_fds = fds()

    async def both():
        await first()
        await main()
    for _ in range(5):
        run_on(kind, both())
        assert workers() == before
    assert fds() == n_fds


def test_what_is_left_when_the_loop_is_closed(run1):
    """Operations that are pending and endpoints that are open end quietly with it."""
    left = {}

    async def main():
        got = asyncio.get_running_loop().create_future()
        listener = await weft.listen(got.set_result, "weft://127.0.0.1:0")
        a = await weft.connect(listener.url)
        b = await got
        into = bytearray(10)
        left.update(a=a, b=b, into=into, ops=[b.recv(into), b.recv_obj(), b.am_recv(), a.send(b"x" * 300000, 1)],
                    remote=a.remote(weft.alloc(10).grant(b)), listener=listener)
    run1(main())
    left["into"].extend(b"free")
    assert all(op.done() for op in left["ops"])
    with pytest.raises(weft.ClosedError, match="loop was closed"):
        left["ops"][0].result()
    assert left["a"].closed and left["listener"].closed
    with pytest.raises((weft.Error, RuntimeError)):
        left["a"].send(b"x")
    assert left["a"].close().done()
    left["a"].abort()
    left["listener"].close()
    with pytest.raises(weft.Error):
        left["remote"].put(b"x")
    refs = [weakref.ref(left["a"])]
    left.clear()
    gc.collect()
    assert refs[0]() is None


def test_a_loop_that_is_dropped_without_close_is_collected():
    async def main():
        got = asyncio.get_running_loop().create_future()
        listener = await weft.listen(got.set_result, "weft://127.0.0.1:0")
        a = await weft.connect(listener.url)
        (await got).recv(bytearray(10))
        a.recv_obj()
    before = workers()
    loop = new_loop("asyncio")
    loop.run_until_complete(main())
    ref = weakref.ref(loop)
    with pytest.warns(ResourceWarning):
        del loop
        gc.collect()
    assert ref() is None and workers() == before


def test_several_loops_in_several_threads():
    """Each thread has its loop and its worker; they talk to each other."""
    count, rounds = 4, 300
    urls, errors, ready, done = [None] * count, [], threading.Barrier(count), threading.Barrier(count)

    async def main(at):
        async def echo(ep):
            buf = bytearray(70000)
            try:
                while True:
                    n = await ep.recv(buf)
                    await ep.send(memoryview(buf)[:n])
            except weft.ClosedError:
                pass
        loop = asyncio.get_running_loop()
        async with await weft.listen(echo, "weft://127.0.0.1:0") as listener:
            urls[at] = listener.url
            await loop.run_in_executor(None, ready.wait, 20)
            async with await weft.connect(urls[(at + 1) % count]) as ep:
                into = bytearray(70000)
                for i in range(rounds):
                    data = bytes([at, i % 256]) * (4 if i % 10 else 35000)
                    n, _ = await asyncio.gather(ep.recv(into), ep.send(data))
                    assert into[:n] == data
            await loop.run_in_executor(None, done.wait, 60)

    def thread(at):
        try:
            run_on("uvloop" if at % 2 and have_uvloop else "asyncio", main(at), 60)
        except BaseException as exc:
            errors.append(exc)
            ready.abort()
            done.abort()
    try:
        import uvloop  # noqa: F401
        have_uvloop = True
    except ImportError:
        have_uvloop = False
    threads = [threading.Thread(target=thread, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(90)
    assert not errors, errors


def test_endpoints_dropped_on_another_thread(run1):
    async def main():
        got = asyncio.get_running_loop().create_future()
        async with await weft.listen(got.set_result, "weft://127.0.0.1:0") as listener:
            box = [await weft.connect(listener.url)]
            b = await got
            remote = [box[0].remote(weft.alloc(8).grant(b))]
            with pytest.warns(ResourceWarning):
                await asyncio.get_running_loop().run_in_executor(None, remote.clear)
                await asyncio.get_running_loop().run_in_executor(None, box.clear)
                with pytest.raises(weft.ClosedError):
                    await asyncio.wait_for(b.recv(bytearray(1)), 10)
            await b.close()
    run1(main())


def test_no_thread_is_made():
    code = """
import asyncio, os, threading, weft
async def main():
    got = asyncio.get_running_loop().create_future()
    async with await weft.listen(got.set_result, "weft://127.0.0.1:0") as listener:
        async with await weft.connect(listener.url) as a:
            b = await got
            await asyncio.gather(a.send(bytes(1 << 20)), b.recv(bytearray(1 << 20)))
            assert threading.active_count() == 1
            assert len(os.listdir("/proc/self/task")) == 1
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], timeout=60).returncode == 0


def test_debug_mode_and_warnings_as_errors():
    code = """
import asyncio, weft
async def main():
    got = asyncio.get_running_loop().create_future()
    async with await weft.listen(got.set_result, "weft://127.0.0.1:0") as listener:
        async with await weft.connect(listener.url) as a:
            b = await got
            async def child():
                return await b.recv(bytearray(9))
            t = asyncio.create_task(child())
            await asyncio.sleep(0)
            await a.send(b"123456789")
            assert await t == 9
            await b.close()
asyncio.run(main(), debug=True)
"""
    out = subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", code], timeout=60, capture_output=True, text=True)
    assert out.returncode == 0 and not out.stderr, out.stderr


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_fork_in_mid_traffic(run1, transport):
    """The parent goes on unharmed; the child gets a clear error, and may start anew."""
    async def main():
        async with pair(transport) as (a, b):
            mem = weft.alloc(4096)
            view = memoryview(mem)
            view[:2] = b"hi"
            pending = b.recv(bytearray(400000), 5)
            big = a.send(bytes(300000), 6)
            r, w = os.pipe()
            pid = os.fork()
            if not pid:
                os._exit(child(a, b, pending, view, mem, w))
            os.close(w)
            for i in range(300):
                n, _ = await asyncio.gather(b.recv(bytearray(70000)), a.send(bytes(70000 if i % 9 == 0 else 10)))
            assert await b.recv(bytearray(300000), 6) == 300000
            await big
            await a.send(b"five", 5)
            assert await pending == 4
            assert bytes(view[:2]) == b"hi"
            said = await asyncio.get_running_loop().run_in_executor(None, lambda: open(r).read())
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0, said
            assert said == "fine", said

    def child(a, b, pending, view, mem, w):
        try:
            for call in (lambda: a.send(b"x"), lambda: b.recv(bytearray(1)), lambda: a.flush(), lambda: pending.cancel(),
                         lambda: a.explain()):
                try:
                    call()
                    raise AssertionError("was accepted")
                except weft.ForkedError as e:
                    assert "fork" in str(e) and isinstance(e, RuntimeError)
            view[0] = 5                      # no crash, and not the parent's
            assert mem.closed
            asyncio._set_running_loop(None)

            async def anew():
                async with pair(transport) as (c, d):
                    n, _ = await asyncio.gather(d.recv(bytearray(9)), c.send(b"child"))
                    assert n == 5
            run_on("asyncio", anew(), 20)
            os.write(w, b"fine")
            return 0
        except BaseException as e:
            os.write(w, repr(e).encode())
            return 1
    run1(main(), 60)


def test_two_threads_on_one_worker(run1):
    """A second thread gets an error, whatever the first is doing."""
    async def main():
        async with pair("tcp") as (a, b):
            stop, errors, refused = threading.Event(), [], [0]

            def other():
                while not stop.is_set():
                    for call in (lambda: a.send(b"x"), lambda: b.recv(bytearray(1)), a.flush):
                        try:
                            call()
                            errors.append("accepted")
                        except weft.ThreadError:
                            refused[0] += 1
                        except BaseException as e:
                            errors.append(e)
            t = threading.Thread(target=other)
            t.start()
            try:
                for i in range(200):
                    size = 1 << 20 if i % 4 == 0 else 10
                    n, _ = await asyncio.gather(b.recv(bytearray(size)), a.send(bytes(size)))
                    assert n == size
            finally:
                stop.set()
                t.join()
            assert not errors and refused[0] > 0, errors[:3]
    run1(main(), 60)


@pytest.mark.skipif(not LONG, reason="WEFT_TEST_LONG is not set")
def test_many_loops_leak_nothing():
    import resource

    async def main():
        async with pair() as (a, b):
            await asyncio.gather(a.send_obj([1]), b.recv_obj())
    for i in range(3000):
        run_on("asyncio", main())
        if i == 500:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20000
