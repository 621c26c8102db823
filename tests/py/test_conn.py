# SPDX-License-Identifier: BSD-3-Clause
"""Listening, connecting, closing; who holds an endpoint."""
import asyncio
import contextvars
import gc
import json
import os
import socket
import subprocess
import sys
import warnings

import pytest

import weft
from conftest import LIMIT, pair


async def until(condition):
    end = asyncio.get_running_loop().time() + LIMIT
    while not condition():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.001)


def test_endpoint_and_listener(run, transport):
    async def main():
        seen = asyncio.get_running_loop().create_future()

        async def handler(ep):
            seen.set_result(ep)
        listener = await weft.listen(handler, "weft://127.0.0.1:0", transports=transport)
        assert listener.url.startswith("weft://127.0.0.1:") and not listener.url.endswith(":0")
        assert not listener.closed and listener.url in repr(listener)
        async with await weft.connect(listener.url, transports=transport) as a:
            b = await seen
            assert a.peer == listener.url[len("weft://"):] and b.peer
            assert not a.closed and not b.closed and a.error is None and "open" in repr(a)
            assert a.loop is asyncio.get_running_loop()
            assert transport in a.explain() and isinstance(json.loads(a.explain(json=True)), dict)
            await asyncio.sleep(0)
            assert b in listener.endpoints           # the handler's return left it open
        assert a.closed
        await until(lambda: b.closed)
        await until(lambda: not listener.endpoints)
        listener.close()
        listener.close()
        assert listener.closed
        with pytest.raises(weft.Error):
            await weft.connect(listener.url, transports=transport, timeout=5)
    run(main())


def test_handlers_may_be_plain_functions_and_may_fail(run1):
    async def main():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

        async def failing(ep):
            raise KeyError("in the handler")
        for handler in (failing, lambda ep: {}["in the handler"]):
            async with await weft.listen(handler, "weft://127.0.0.1:0") as listener:
                ep = await weft.connect(listener.url)
                with pytest.raises(ConnectionError):
                    await ep.recv(bytearray(1))
                await ep.close()
        assert [type(c["exception"]) for c in told] == [KeyError, KeyError]
    run1(main())


def test_handlers_have_the_context_of_listen(run, transport):
    """Not that of the task in which the connection happened to be taken: a span, a request's number or Dask's metrics would be another's."""
    async def main():
        var, seen = contextvars.ContextVar("var"), []

        async def handler(ep):
            seen.append(var.get())
            var.set("in a handler")

        async def client(listener, i):
            var.set(f"in client {i}")
            async with await weft.connect(listener.url, transports=transport):
                await until(lambda: len(seen) > i)

        var.set("at listen")
        listener = await weft.listen(handler, "weft://127.0.0.1:0", transports=transport)
        plain = await weft.listen(lambda ep: seen.append(var.get()), "weft://127.0.0.1:0", transports=transport)
        var.set("later")
        for i in range(4):
            await asyncio.create_task(client((listener, plain)[i % 2], i))
        assert seen == ["at listen"] * 4
        assert var.get() == "later"
        for here in (listener, plain):
            here.close()
    run(main())


def test_async_with_by_an_exception(run, transport):
    async def main():
        async with await weft.listen(lambda ep: None, "weft://127.0.0.1:0", transports=transport) as listener:
            with pytest.raises(ZeroDivisionError):
                async with await weft.connect(listener.url, transports=transport) as ep:
                    ep.recv(bytearray(1))
                    1 / 0
            assert ep.closed
    run(main())


def test_names_are_resolved(run):
    async def main():
        async with await weft.listen(lambda ep: None, "weft://localhost:0") as listener:
            port = listener.url.rpartition(":")[2]
            ep = await weft.connect(f"weft://localhost:{port}")
            await ep.close()
            with pytest.raises(weft.RefusedError) as info:
                with socket.socket() as s:
                    s.bind(("127.0.0.1", 0))
                    free = s.getsockname()[1]
                await weft.connect(f"weft://localhost:{free}")
            assert "127.0.0.1" in str(info.value)
    run(main())


class Resolver(asyncio.SelectorEventLoop):
    """A loop with a resolver of its own, as programs have that ask a service for addresses."""

    async def getaddrinfo(self, host, port, **kw):
        assert host == "peer.test", host
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", port, 0, 1)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def test_names_are_resolved_by_the_loop():
    async def main():
        async with await weft.listen(lambda ep: None, "weft://127.0.0.1:0") as listener:
            port = listener.url.rpartition(":")[2]
            async with await weft.connect(f"weft://peer.test:{port}") as ep:     # the second address answers
                assert ep.peer == f"127.0.0.1:{port}"
        with pytest.raises(weft.Error) as info:
            await weft.connect(f"weft://peer.test:{port}", timeout=5)
        assert str(info.value).count(f"[fe80::1%1]:{port}") == str(info.value).count(f"127.0.0.1:{port}") == 1
    loop = Resolver()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), LIMIT))
    finally:
        loop.close()


def test_ipv6(run1):
    if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6") or not open("/proc/net/if_inet6").read().strip():
        pytest.skip("no IPv6 on this host")

    async def main():
        async with await weft.listen(lambda ep: None, "weft://[::1]:0") as listener:
            ep = await weft.connect(listener.url)
            assert "::1" in ep.peer
            await ep.close()
    run1(main())


def test_several_addresses_are_tried_in_order(run1):
    async def main():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            dead = s.getsockname()[1]
        async with await weft.listen(lambda ep: None, "weft://127.0.0.1:0") as listener:
            place = listener.url[len("weft://"):]
            ep = await weft.connect(f"weft://127.0.0.1:{dead},{place}")
            await ep.close()
            ep = await weft.connect(f"weft://127.0.0.1:{dead},localhost:{place.rpartition(':')[2]}")
            await ep.close()
    run1(main())


def test_many_connects_at_once(run, transport):
    async def main():
        async with await weft.listen(lambda ep: None, "weft://127.0.0.1:0", transports=transport) as listener:
            eps = await asyncio.gather(*[weft.connect(listener.url, transports=transport) for _ in range(100)])
            await until(lambda: len(listener.endpoints) == 100)
            await asyncio.gather(*[ep.close() for ep in eps])
            await until(lambda: not listener.endpoints)
    run(main())


def test_a_dropped_endpoint_is_closed_with_a_warning(run, transport):
    async def main():
        seen = asyncio.get_running_loop().create_future()
        async with await weft.listen(seen.set_result, "weft://127.0.0.1:0", transports=transport) as listener:
            a = await weft.connect(listener.url, transports=transport)
            b = await seen
            await a.send(b"last")
            with pytest.warns(ResourceWarning, match="unclosed weft.Endpoint to 127.0.0.1"):
                del a
                gc.collect()
            assert await b.recv(into := bytearray(4)) == 4 and into == b"last"
            await until(lambda: b.closed)
            with warnings.catch_warnings():
                warnings.simplefilter("error")       # the peer went first: nothing to warn of
                await b.close()
                del b
                gc.collect()
    run(main())


def test_pending_operations_hold_their_endpoint(run1):
    async def main():
        seen = asyncio.get_running_loop().create_future()
        async with await weft.listen(seen.set_result, "weft://127.0.0.1:0") as listener:
            a = await weft.connect(listener.url)
            b = await seen
            ops = [a.recv(bytearray(3)), a.recv_obj()]
            del a
            gc.collect()
            await b.send(b"abc")
            await b.send_obj("obj")
            with pytest.warns(ResourceWarning):      # the last of them lets go of it
                assert await asyncio.gather(*ops) == [3, "obj"]
                await until(lambda: b.closed)
            await b.close()
    run1(main())


def test_a_listener_that_nobody_holds_goes_on(run1):
    async def main():
        async def handler(ep):
            await ep.send(b"hi")
        url = (await weft.listen(handler, "weft://127.0.0.1:0")).url
        gc.collect()
        async with await weft.connect(url) as ep:
            assert await ep.recv(bytearray(2)) == 2
    run1(main())


def test_close_flushes(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            sends = [a.send(bytes(200000), i) for i in range(5)]
            close = a.close()
            for i in range(5):
                assert await b.recv(bytearray(200000), i) == 200000
            await close
            await asyncio.gather(*sends)
    run(main())


def test_an_abort_ends_a_close_that_waits(run, transport):
    async def once():
        async with pair(transport) as (a, b):
            send = a.send(bytes(1 << 20), sync=True)          # nobody receives it
            close = a.close()
            for _ in range(20):
                await asyncio.sleep(0)
            assert not close.done() and a.closed
            a.abort()
            a.abort()
            assert await asyncio.wait_for(close, 5) is None
            with pytest.raises(weft.AbortedError):
                await send
            while not b.closed:
                await asyncio.sleep(0)
            assert isinstance(b.error, weft.ResetError | weft.ClosedError)

    async def main():
        counts = []
        for _ in range(4):
            await once()
            counts.append(len(os.listdir("/proc/self/fd")))
        assert counts[1] == counts[-1], counts
    run(main())


def test_an_abort_amid_a_batch_that_has_the_end_of_the_close(run1, transport):
    """Finalizers run while a batch of completions is taken in. One that aborts an endpoint whose close is further on in it must not
    touch what is gone."""
    async def main():
        class Buffer(bytearray):
            def __del__(self):
                for ep in going:
                    ep.abort()

        accepted = asyncio.Queue()
        async with await weft.listen(accepted.put_nowait, "weft://127.0.0.1:0", transports=transport) as listener:
            a = await weft.connect(listener.url, transports=transport)
            b = await accepted.get()
            for _ in range(10):
                going = []
                eps = [await weft.connect(listener.url, transports=transport) for _ in range(8)]
                theirs = [await accepted.get() for _ in eps]
                got = [b.recv(Buffer(8), i) for i in range(len(eps))]
                closes = []
                for i, ep in enumerate(eps):
                    closes.append(ep.close())
                    a.send(bytes(8), i)
                going += eps
                assert await asyncio.gather(*closes) == [None] * len(eps)
                await asyncio.gather(*got, *[ep.close() for ep in theirs])
            going.clear()
            await asyncio.gather(a.close(), b.close())
    run1(main())


def test_a_refusal_says_once_what_the_system_said(run1):
    async def main():
        with socket.socket() as s:                            # a port that is ours, and at which nobody listens
            s.bind(("127.0.0.1", 0))
            with pytest.raises(weft.RefusedError) as info:
                await weft.connect(f"weft://127.0.0.1:{s.getsockname()[1]}")
            assert str(info.value).count("Connection refused") == 1, info.value
    run1(main())


def test_refused_transports_say_why(run1):
    async def main():
        async with await weft.listen(lambda ep: None, "weft://127.0.0.1:0", transports="tcp") as listener:
            ep = await weft.connect(listener.url, transports=["shm", "tcp"])
            text = ep.explain()
            assert "tcp: one socket" in text and "shm: the peer does not offer it" in text, text
            await ep.close()
    run1(main())


def test_where_shared_memory_cannot_be_had_tcp_carries_and_says_why():
    code = """
import asyncio, weft
weft.configure(transports="shm,tcp", shm_ring="4M", limit_shm="1M")
async def main():
    got = asyncio.get_running_loop().create_future()
    async with await weft.listen(got.set_result, "weft://127.0.0.1:0") as listener:
        async with await weft.connect(listener.url) as a:
            b = await got
            data, into = bytes(range(256)) * 4000, bytearray(256 * 4000)
            await asyncio.gather(a.send(data), b.recv(into))
            assert into == data
            for ep in (a, b):
                assert "tcp: one socket" in ep.explain() and "shm: limit_shm is reached" in ep.explain(), ep.explain()
asyncio.run(main())
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr


@pytest.mark.parametrize("when", ["before weft opens", "later"])
def test_a_limit_on_files_ends_no_program(when):
    code = """
import asyncio, resource, signal, sys, weft
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)             # the interpreter ignores it, a C program does not
def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
async def main():
    got = asyncio.get_running_loop().create_future()
    if sys.argv[1] != "later":
        limit()
    weft.configure(transports="shm,tcp")
    async with await weft.listen(got.set_result, "weft://127.0.0.1:0") as listener:
        limit()
        async with await weft.connect(listener.url) as a:
            b, into = await got, bytearray(100)
            await asyncio.gather(a.send(b"x" * 100), b.recv(into))
            assert into == b"x" * 100
            for ep in (a, b):
                assert "tcp: one socket" in ep.explain() and "ulimit -f" in ep.explain(), ep.explain()
    weft.alloc(50000)
    try:
        weft.alloc(200000)
    except weft.LimitError as e:
        assert "ulimit -f" in str(e), e
asyncio.run(main())
"""
    out = subprocess.run([sys.executable, "-c", code, when], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr


def test_a_limit_on_files_makes_rings_shorter():
    code = """
import asyncio, resource, weft
resource.setrlimit(resource.RLIMIT_FSIZE, (700 << 10, 700 << 10))
weft.configure(transports="shm,tcp")
async def main():
    got = asyncio.get_running_loop().create_future()
    async with await weft.listen(got.set_result, "weft://127.0.0.1:0") as listener:
        async with await weft.connect(listener.url) as a:
            b, data = await got, bytes(range(256)) * 200
            into = bytearray(len(data))
            await asyncio.gather(a.send(data), b.recv(into))
            assert into == data and "ring 512 KiB" in a.explain(), a.explain()
asyncio.run(main())
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr


def test_explain_settings_stats(run1):
    assert "tcp" in weft.explain() and "tcp" in weft.explain("weft://127.0.0.1:5000")
    assert isinstance(json.loads(weft.explain(json=True)), dict)
    assert isinstance(json.loads(weft.stats()), dict)
    assert 1 < len(weft.settings()) <= 20
    with pytest.raises(weft.URLError):
        weft.explain("nonsense")
