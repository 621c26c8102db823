# SPDX-License-Identifier: BSD-3-Clause
"""What is wrong is said in words, at once, and hurts nothing."""
import asyncio
import os
import socket
import subprocess
import sys

import pytest

import weft
from conftest import pair

CALLS = [
    (lambda ep: ep.recv(b"read-only"), BufferError, "read-only"),
    (lambda ep: ep.recv(memoryview(bytearray(8)).toreadonly()), BufferError, "read-only"),
    (lambda ep: ep.recv(memoryview(bytearray(8))[::2]), BufferError, "contiguous"),
    (lambda ep: ep.send(memoryview(bytearray(8))[::2]), BufferError, "contiguous"),
    (lambda ep: ep.recv([bytearray(2), b"xx"]), BufferError, "read-only"),
    (lambda ep: ep.send("text"), TypeError, "bytes-like.*str"),
    (lambda ep: ep.send(None), TypeError, "bytes-like.*NoneType"),
    (lambda ep: ep.send([b"a", 3]), TypeError, "bytes-like.*int"),
    (lambda ep: ep.send(12), TypeError, "bytes-like.*int"),
    (lambda ep: ep.send(b"x", "tag"), TypeError, "tag must be an int, not str"),
    (lambda ep: ep.send(b"x", 1.5), TypeError, "tag must be an int, not float"),
    (lambda ep: ep.send(b"x", None), TypeError, "tag must be an int"),
    (lambda ep: ep.send(b"x", -1), ValueError, "tag must not be negative, got -1"),
    (lambda ep: ep.send(b"x", 2**64), OverflowError, r"tag must be less than 2\*\*64"),
    (lambda ep: ep.send(b"x", -2**70), ValueError, "negative"),
    (lambda ep: ep.recv(bytearray(1), 0, -5), ValueError, "mask must not be negative"),
    (lambda ep: ep.recv(bytearray(1), mask="all"), TypeError, "mask must be an int, not str"),
    (lambda ep: ep.send(), TypeError, "misses its argument 'buf'"),
    (lambda ep: ep.send(b"x", 1, True), TypeError, "at most 2 positional"),
    (lambda ep: ep.send(b"x", buf=b"y"), TypeError, "'buf' twice"),
    (lambda ep: ep.send(b"x", colour=3), TypeError, "unexpected keyword argument 'colour'"),
    (lambda ep: ep.read(-1), ValueError, "n must not be negative"),
    (lambda ep: ep.readexactly(2**63), OverflowError, "address space"),
    (lambda ep: ep.read("n"), TypeError, "n must be an int"),
    (lambda ep: ep.readinto(b"bytes"), BufferError, "read-only"),
    (lambda ep: ep.am_send("header"), TypeError, "bytes-like.*str"),
    (lambda ep: ep.am_send(bytes(2000)), ValueError, "1024"),
    (lambda ep: ep.am_recv(b"bytes"), BufferError, "read-only"),
    (lambda ep: ep.remote(b"junk"), ValueError, "token"),
    (lambda ep: ep.remote(5), TypeError, "bytes-like"),
    (lambda ep: weft.alloc(-1), ValueError, "nbytes must not be negative"),
    (lambda ep: weft.alloc("1"), TypeError, "nbytes must be an int"),
    (lambda ep: weft.alloc(64).grant(ep, "rx"), ValueError, "rights"),
    (lambda ep: weft.alloc(64).grant(ep, ""), ValueError, "rights"),
    (lambda ep: weft.alloc(64).grant(ep, 3), ValueError, "rights"),
    (lambda ep: weft.alloc(64).grant("ep"), TypeError, "Endpoint"),
    (lambda ep: weft.alloc(64).grant(ep, "r", 60, 10), IndexError, "10 bytes at 60 of 64"),
    (lambda ep: weft.alloc(64).grant(ep, "r", -1), ValueError, "negative"),
    (lambda ep: weft.alloc(64).revoke(b"none"), KeyError, "token"),
    (lambda ep: weft.register(b"read-only").grant(ep, "w"), PermissionError, "EACCESS"),
    (lambda ep: weft.register("text"), TypeError, "bytes-like"),
]


@pytest.mark.parametrize("at", range(len(CALLS)))
def test_wrong_arguments(run1, at):
    call, error, words = CALLS[at]

    async def main():
        async with pair() as (a, b):
            with pytest.raises(error, match=words):
                await_me = call(a)
                print("was accepted:", await_me)
            n, _ = await asyncio.gather(b.recv(bytearray(3)), a.send(b"abc"))
            assert n == 3
    run1(main())


def test_numpy_buffers_that_cannot_be_used(run1):
    np = pytest.importorskip("numpy")

    async def main():
        async with pair() as (a, b):
            m = np.zeros((8, 8))
            for bad in (m[::2], m[:, 1], m.T[::3]):
                with pytest.raises(BufferError, match="contiguous.*copy"):
                    a.send(bad)
                with pytest.raises(BufferError, match="contiguous"):
                    b.recv(bad)
            m.flags.writeable = False
            with pytest.raises(BufferError, match="read-only"):
                b.recv(m)
            with pytest.raises(TypeError, match="bytes-like"):
                a.send(np)
            assert await a.send(m, np.int64(4)) is None
            assert await b.recv(np.empty(64), np.uint8(4)) == 512
    run1(main())


def test_closed_endpoints(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            token = weft.alloc(64).grant(b)
            await a.close()
            assert a.closed
            for op in (a.send(b"x"), a.recv(bytearray(1)), a.write(b"x"), a.read(1), a.flush(), a.am_send(b"h"),
                       a.am_recv(), a.send_obj(1), a.recv_obj(), a.readexactly(1), a.readinto(bytearray(1))):
                with pytest.raises(weft.ClosedError, match="closed"):
                    await op
            with pytest.raises(weft.ClosedError):
                a.remote(token)
            assert await a.close() is None
            a.abort()
            while not b.closed:
                await asyncio.sleep(0)
            assert isinstance(b.error, weft.ClosedError)
            with pytest.raises(ConnectionError):
                await b.send(b"x")
            with pytest.raises(weft.ClosedError):
                await b.recv(bytearray(1))
            assert await b.read(5) == b""
            with pytest.raises(weft.ClosedError):
                await b.am_recv()
            with pytest.raises(weft.ClosedError):
                await b.recv_obj()
            with pytest.raises(asyncio.IncompleteReadError):
                await b.readexactly(5)
            assert "closed" in repr(a) and "down" in repr(b)
            assert a.explain() == "closed"
    run(main())


def test_operations_pending_when_the_peer_closes_or_aborts(run, transport):
    async def main():
        for how in ("close", "abort"):
            async with pair(transport) as (a, b):
                ops = [b.recv(bytearray(1)), b.am_recv(), b.recv_obj(), b.readexactly(3), b.readinto(bytearray(3))]
                await a.write(b"12")
                await a.flush()
                if how == "close":
                    await a.close()
                else:
                    a.abort()
                got = await asyncio.gather(*ops, b.read(3), return_exceptions=True)
                assert all(isinstance(e, (ConnectionError, asyncio.IncompleteReadError)) for e in got[:5]), got
                if how == "close":
                    assert got[3].partial == b"12" and got[3].expected == 3
                    assert got[5] == b""
    run(main())


def test_own_abort_fails_what_is_pending(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            ops = [a.recv(bytearray(1)), a.am_recv(), a.recv_obj()]
            a.abort()
            got = await asyncio.gather(*ops, return_exceptions=True)
            assert isinstance(got[0], weft.AbortedError), got
            assert all(isinstance(e, ConnectionError) for e in got)
    run(main())


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1", "weft:/127.0.0.1:1", "weft://", "weft://127.0.0.1",
                                 "weft://127.0.0.1:port", "weft://127.0.0.1:99999", "weft://[::1:5",
                                 "weft://127.0.0.1:1,", "weft://a b:1", "weft://127.0.0.1:-5"])
def test_malformed_urls(run1, url):
    async def main():
        for call in (weft.connect(url), weft.listen(print, url)):
            with pytest.raises((weft.URLError, weft.UnreachableError)) as info:
                await call
            assert info.value.status_name in ("WEFT_EURL", "WEFT_EUNREACHABLE")
            assert isinstance(info.value, (ValueError, ConnectionError))
    run1(main())


def test_wrong_types_for_connect_and_listen(run1):
    async def main():
        for url in (None, 5, b"weft://127.0.0.1:1"):
            with pytest.raises(TypeError, match="url must be a str"):
                await weft.connect(url)
        with pytest.raises(TypeError, match="callable"):
            await weft.listen("handler", "weft://127.0.0.1:0")
        for seconds in (-1, 0, float("nan"), 10**400):
            with pytest.raises(ValueError, match="timeout must be a positive number"):
                await weft.connect("weft://127.0.0.1:1", timeout=seconds)
        for nonsense in ("x", b"1", [1.0]):
            with pytest.raises(TypeError, match=f"timeout must be a number of seconds, not {type(nonsense).__name__}"):
                await weft.connect("weft://127.0.0.1:1", timeout=nonsense)
        with pytest.raises(TypeError):
            await weft.connect("weft://127.0.0.1:1", transports=5)
        with pytest.raises(weft.Error):
            await weft.connect("weft://127.0.0.1:1", transports="carrier-pigeon")
    run1(main())
    with pytest.raises(RuntimeError):
        weft.connect("weft://127.0.0.1:1").send(None)   # outside of a loop


def test_a_port_in_use(run1):
    async def main():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            with pytest.raises(weft.AddressInUseError) as info:
                await weft.listen(print, f"weft://127.0.0.1:{s.getsockname()[1]}")
            assert isinstance(info.value, OSError) and str(s.getsockname()[1]) in str(info.value)
    run1(main())


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_a_refusing_host_is_named_with_all_addresses(run):
    async def main():
        p, q = free_port(), free_port()
        with pytest.raises(weft.RefusedError) as info:
            await weft.connect(f"weft://127.0.0.1:{p},127.0.0.1:{q}")
        assert isinstance(info.value, ConnectionRefusedError)
        assert f"127.0.0.1:{p}" in str(info.value) and f"127.0.0.1:{q}" in str(info.value)
    run(main())


def test_a_name_that_does_not_exist(run):
    async def main():
        with pytest.raises(weft.UnreachableError, match="no-such-host.invalid"):
            await weft.connect("weft://no-such-host.invalid:5000")
    run(main())


def test_a_connect_that_nobody_answers_ends_in_time(run1):
    async def main():
        with socket.socket() as s:               # accepts, never speaks
            s.bind(("127.0.0.1", 0))
            s.listen()
            start = asyncio.get_running_loop().time()
            with pytest.raises(weft.Error) as info:
                await weft.connect(f"weft://127.0.0.1:{s.getsockname()[1]}", timeout=0.3)
            assert isinstance(info.value, TimeoutError), repr(info.value)
            assert asyncio.get_running_loop().time() - start < 3
    run1(main())


def test_a_peer_that_speaks_another_protocol(run1):
    async def main():
        async def http(reader, writer):
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 20)
            await writer.drain()
            writer.close()
        server = await asyncio.start_server(http, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises((weft.ProtocolError, weft.VersionError)):
            await weft.connect(f"weft://127.0.0.1:{port}")
        server.close()
    run1(main())


def test_a_port_scan_and_half_open_connections_do_not_disturb(run1):
    async def main():
        accepted = asyncio.get_running_loop().create_future()
        async with await weft.listen(accepted.set_result, "weft://127.0.0.1:0") as listener:
            port = int(listener.url.rpartition(":")[2])
            socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            for i, s in enumerate(socks):
                if i % 3 == 0:
                    s.close()
                elif i % 3 == 1:
                    s.sendall(b"GET / HTTP/1.0\r\n\r\n" * i)
            a = await weft.connect(listener.url)
            b = await accepted
            n, _ = await asyncio.gather(b.recv(bytearray(3)), a.send(b"abc"))
            assert n == 3
            for s in socks:
                s.close()
            await asyncio.gather(a.close(), b.close())
    run1(main())


def fresh(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_settings():
    out = fresh("""
import weft
for bad, words in ((dict(transprots="tcp"), "transports"), (dict(eager_max_tcp="lots"), "eager_max_tcp")):
    try:
        weft.configure(**bad)
    except weft.SettingError as e:
        assert words in str(e) and isinstance(e, ValueError), e
    else:
        raise SystemExit("accepted")
weft.configure(transports="tcp", failure_detect="5s", cma=False)
s = weft.settings()
assert s["transports"] == ("tcp", "code") and s["cma"][0] == "no" and s["spin"][1] == "default", s
weft.alloc(10)
try:
    weft.configure(spin="1us")
except RuntimeError as e:
    print(e)
""")
    assert out.returncode == 0, out.stderr
    assert "before weft is used" in out.stdout


def test_unknown_setting_of_the_environment():
    out = subprocess.run([sys.executable, "-c", "import weft; weft.alloc(1)"], capture_output=True, text=True,
                         env={**os.environ, "WEFT_SPINN": "1us"}, timeout=60)
    assert out.returncode and "SettingError" in out.stderr and "did you mean WEFT_SPIN?" in out.stderr


def test_error_classes():
    classes = [c for c in vars(weft).values() if isinstance(c, type) and issubclass(c, weft.Error) and c is not weft.Error]
    assert len(classes) == 26
    assert len({c.status for c in classes}) == 26 and all(c.status < 0 for c in classes)
    assert {c.scope for c in classes} == {"call", "operation", "endpoint", "worker"}
    assert issubclass(weft.ResetError, ConnectionResetError) and issubclass(weft.TimedOutError, TimeoutError)
    assert issubclass(weft.OutOfMemoryError, MemoryError) and issubclass(weft.AccessError, PermissionError)
    assert all(c.__name__ in weft.__all__ for c in classes)
