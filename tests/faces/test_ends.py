# SPDX-License-Identifier: BSD-3-Clause
"""How connections begin and end: closing on either side, peers that die, listeners, addresses, contexts."""
import asyncio
import contextvars
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

import weft
import weft.ucp
import weft.ucxx
from conftest import HERE, LIMIT, error, is_closed, pair, until


async def silent(ep):
    """A handler that never ends by itself."""
    await asyncio.Event().wait()


def test_the_peer_closes(face, run):
    """What waits is cancelled, what had arrived is still received, what is begun later says that the peer is gone."""
    async def main():
        async with pair(face) as (a, b):
            waiting = asyncio.ensure_future(b.recv(bytearray(1), tag="never"))
            am = asyncio.ensure_future(b.am_recv())
            wild = asyncio.ensure_future(b.recv(bytearray(1), tag=5, force_tag=True))
            await asyncio.sleep(0)
            await a.send(b"last")
            await a.am_send(b"")
            await am
            am = asyncio.ensure_future(b.am_recv())
            await asyncio.sleep(0)
            await a.close()
            for one, text in ((waiting, "Recv.*tag"), (am, "am_recv"), (wild, "Recv.*tag")):
                with pytest.raises(error(face, "canceled"), match=text):
                    await one
            await until(lambda: is_closed(b) or b._close_after_n_recv)
            if not is_closed(b):
                got = bytearray(4)
                await b.recv(got)
                assert got == b"last"
    run(main())


def test_received_after_the_peer_closed(run):
    face = weft.ucxx

    async def main():
        async with pair(face) as (a, b):
            await a.send(b"last")
            await a.am_send(b"am")
            await a.close()
            await until(lambda: b.closed)
            got = bytearray(4)
            await b.recv(got)
            assert got == b"last" and bytes(await b.am_recv()) == b"am"
            for begun in (b.recv(got), b.am_recv(), b.send(b""), b.am_send(b"")):
                with pytest.raises(error(face, "reset"), match="Connection reset by remote peer"):
                    await begun
    run(main())


def test_we_close(face, run):
    async def main():
        async with pair(face) as (a, b):
            waiting = asyncio.ensure_future(a.recv(bytearray(1)))
            await asyncio.sleep(0)
            await a.close()
            with pytest.raises(error(face, "canceled")):
                await waiting
            assert is_closed(a)
            for begun in (a.send(b""), a.recv(bytearray(1)), a.am_send(b""), a.am_recv()):
                with pytest.raises(error(face, "closed"), match="Endpoint closed"):
                    await begun
            await a.close()
            a.abort()
    run(main())


def test_abort_lets_what_was_sent_arrive(face, run):
    async def main():
        async with pair(face) as (a, b):
            await a.send(b"x" * 5000)
            a.abort()
            got = bytearray(5000)
            await b.recv(got)
            assert is_closed(a) and got == b"x" * 5000
    run(main())


def test_ucp_tells_how_much_it_sent(run):
    """The peer of a closed endpoint ends by itself when it has received all."""
    face = weft.ucp
    face.reset()

    async def main():
        async with pair(face) as (a, b):
            for i in range(3):
                await a.send(bytes([i]))
            await a.close()
            for i in range(3):
                got = bytearray(1)
                await b.recv(got)
                assert got == bytes([i])
            await until(b.closed)
            assert b._ep is None
    run(main())
    face.reset()


def test_close_after_n_recv(face, run):
    async def main():
        async with pair(face) as (a, b):
            for _ in range(4):
                await a.send(b"x")
            room = bytearray(1)
            await b.recv(room)
            with pytest.raises(face.exceptions.UCXError, match="`n` cannot be less than current recv_count: 0"):
                b.close_after_n_recv(0, count_from_ep_creation=True)
            b.close_after_n_recv(2)
            with pytest.raises(face.exceptions.UCXError, match="already been set to: 3"):
                b.close_after_n_recv(1)
            await b.recv(room)
            assert not is_closed(b)
            await b.recv(room)
            assert is_closed(b)
    run(main())


def test_close_callbacks(face, run):
    async def main():
        async with pair(face) as (a, b):
            said = []
            a.set_close_callback(lambda: said.append("a"))
            b.set_close_callback(lambda: said.append("b"))
            await a.close()
            await until(lambda: len(said) == 2)
            b.abort()
            assert sorted(said) == ["a", "b"]
    run(main())


def test_a_dropped_endpoint_is_closed(face, run):
    async def main():
        async with pair(face) as (_, b):
            listener = face.create_listener(silent)
            ep = await face.create_endpoint(HERE, listener.port)
            ref = weakref.ref(ep)
            del ep
            gc.collect()
            assert ref() is None
            listener.close()
            assert not is_closed(b)
    run(main())


def test_listener(face, run, caplog):
    async def main():
        seen = []

        def plain(ep):
            seen.append(ep)

        listener = face.create_listener(plain)
        assert listener.ip == "0.0.0.0" and listener.port > 0 and not is_closed(listener)
        ep = await face.create_endpoint("localhost", listener.port)
        await until(lambda: seen)
        with pytest.raises(face.exceptions.UCXError, match="busy"):
            face.create_listener(plain, port=listener.port)
        listener.close()
        assert is_closed(listener)
        with pytest.raises(error(face, "unreachable"), match="Destination is unreachable"):
            await face.create_endpoint(HERE, listener.port)
        ref = weakref.ref(listener)
        del listener
        gc.collect()
        assert ref() is None
        await asyncio.gather(ep.close(), seen.pop().close())
    run(main())


def test_a_listener_s_handler_has_the_context_of_its_making(face, run):
    """Not that of the task in which the connection happened to be taken."""
    async def main():
        var, seen = contextvars.ContextVar("var", default="none"), []

        async def handler(ep):
            seen.append(var.get())
            await ep.close()

        async def client(port):
            var.set("in a client")
            ep = await face.create_endpoint(HERE, port)
            await until(lambda: seen)
            await ep.close()

        var.set("at the listener's making")
        listener = face.create_listener(handler)
        var.set("later")
        await asyncio.create_task(client(listener.port))
        assert seen == ["at the listener's making"]
        listener.close()
    run(main())


def test_a_listener_dropped_too_early_says_so(face, run):
    async def main():
        said = []
        handler = logging.Handler()
        handler.emit = lambda record: said.append(record.getMessage())
        logging.getLogger("ucx").addHandler(handler)
        started, go = asyncio.Event(), asyncio.Event()

        async def wait(ep):
            started.set()
            await go.wait()
            await ep.send(b"still there")

        listener = face.create_listener(wait)
        ep = await face.create_endpoint(HERE, listener.port)
        await started.wait()
        del listener
        gc.collect()
        logging.getLogger("ucx").removeHandler(handler)
        assert said and said[0].startswith("Listener object is being destroyed, but 1 client")
        go.set()
        await ep.recv(bytearray(11))
        await ep.close()
    run(main())


def test_a_failing_handler_is_logged(face, run):
    async def main():
        said = []
        handler = logging.Handler()
        handler.emit = lambda record: said.append(record.getMessage())
        logging.getLogger("ucx").addHandler(handler)

        async def fail(ep):
            raise KeyError("what went wrong")

        listener = face.create_listener(fail)
        ep = await face.create_endpoint(HERE, listener.port)
        await until(lambda: said)
        logging.getLogger("ucx").removeHandler(handler)
        assert "what went wrong" in said[0]
        await until(lambda: is_closed(ep))
        await ep.close()
        listener.close()
    run(main())


def test_a_peer_that_says_nothing(face, run):
    async def main():
        async with await weft.listen(silent, f"weft://{HERE}:0") as other:
            face.init(connect_timeout=0.1)
            limit = {} if face is weft.ucp else {"connect_timeout": 0.1}
            with pytest.raises(asyncio.TimeoutError):
                await face.create_endpoint(HERE, int(other.url.rpartition(":")[2]), **limit)
            for ep in other.endpoints:
                ep.abort()
    run(main())


PEER = """
import asyncio, sys, weft.{name} as face
async def main():
    ep = await face.create_endpoint("127.0.0.1", int(sys.argv[1]), endpoint_error_handling=True)
    await ep.send(b"ready")
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("error_handling", [True, False])
def test_a_peer_is_killed(face, run, error_handling):
    async def main():
        found = asyncio.get_running_loop().create_future()

        async def handler(ep):
            found.set_result(ep)

        listener = face.create_listener(handler, endpoint_error_handling=error_handling)
        name = "ucp" if face is weft.ucp else "ucxx"
        with subprocess.Popen([sys.executable, "-c", PEER.format(name=name), str(listener.port)]) as peer:
            ep = await found
            await ep.recv(bytearray(5))
            waiting = asyncio.ensure_future(ep.recv(bytearray(1)))
            await asyncio.sleep(0)
            peer.send_signal(signal.SIGKILL)
            with pytest.raises(error(face, "canceled")):
                await waiting
        assert is_closed(ep) is error_handling       # without it nobody hears of a death
        await ep.close()
        listener.close()
    run(main())


@pytest.mark.parametrize("names", [("ucp", "ucxx"), ("ucxx", "ucp")])
def test_the_faces_understand_each_other(run, names):
    one, other = (getattr(weft, name) for name in names)

    async def main():
        found = asyncio.get_running_loop().create_future()
        listener = one.create_listener(found.set_result)
        a, b = await other.create_endpoint(HERE, listener.port), await found
        await a.send(b"there")
        await b.recv(bytearray(5))
        await b.send_obj(b"back")
        assert await a.recv_obj() == b"back"
        await a.close()
        await until(lambda: is_closed(b))
        await b.close()
        listener.close()
    run(main())
    gc.collect()
    one.reset(), other.reset()


# ---- addresses of workers --------------------------------------------------------------------------------------------


def test_by_address(face, run):
    async def main():
        address = face.get_worker_address()
        assert address.length == len(bytes(address)) and hash(address) == hash(bytes(address)) and address.address
        again = pickle.loads(pickle.dumps(address))
        assert bytes(again) == bytes(address) == bytes(face.get_ucx_address_from_buffer(bytearray(address)))
        ep = await face.create_endpoint_from_worker_address(again)
        got = bytearray(2)
        waiting = asyncio.ensure_future(face.recv(got, tag=3))
        await ep.send(b"hi", tag=3, force_tag=True)
        await waiting
        assert got == b"hi"
        with pytest.raises(face.exceptions.UCXError, match="force_tag=True"):
            await ep.send(b"hi")
        await ep.close()
        with pytest.raises(face.exceptions.UCXError, match="Invalid address"):
            await face.create_endpoint_from_worker_address(b"something else")
    run(main())


def test_a_worker_that_is_gone(face, run):
    async def main():
        address = bytes(face.get_worker_address())
        face.reset()
        ep = await face.create_endpoint_from_worker_address(address)
        with pytest.raises(face.exceptions.UCXError, match="Destination is unreachable|Endpoint timeout"):
            await ep.send(b"", tag=1, force_tag=True)
        await until(lambda: is_closed(ep))
        with pytest.raises(face.exceptions.UCXError, match="Endpoint timeout"):
            await ep.send(b"", tag=1, force_tag=True)
        await ep.close()
    run(main())


def test_a_worker_that_goes(face, run):
    async def main():
        ep = await face.create_endpoint_from_worker_address(face.get_worker_address())
        waiting = asyncio.ensure_future(ep.recv(bytearray(1), tag=1, force_tag=True))
        await until(lambda: ep._ctx.worker._guests)
        ep._ctx.worker.close()
        with pytest.raises(error(face, "canceled")):
            await waiting
        with pytest.raises(face.exceptions.UCXError, match="Endpoint timeout"):
            await ep.send(b"", tag=1, force_tag=True)
        await ep.close()
    run(main())


# ---- contexts --------------------------------------------------------------------------------------------------------


def test_init_and_reset(face, run):
    face.init()
    with pytest.raises(RuntimeError, match="already initiated"):
        face.init()

    async def main():
        async with pair(face):
            with pytest.raises(face.exceptions.UCXError,
                               match="^Trying to reset UCX but not all Endpoints and/or Listeners are closed"):
                face.reset()
    run(main())
    gc.collect()
    assert face.core._ctx is None


def test_options(face, monkeypatch):
    monkeypatch.delenv("UCX_TLS", raising=False)
    assert face.get_config()["TLS"] == "all" and face.core._ctx is None
    monkeypatch.setenv("UCX_SEG_SIZE", "2M")
    assert face.get_config()["SEG_SIZE"] == "2M"
    options = {"SEG_SIZE": "3M"}
    face.init(options)
    assert face.get_config()["SEG_SIZE"] == "3M"
    face.reset()
    face.init(options, env_takes_precedence=True)
    assert face.get_config()["SEG_SIZE"] == "2M" and options == {"SEG_SIZE": "3M"}
    face.reset()
    for wrong in ({"SEG_SIZE": "much"}, {"TLS": "carrier-pigeon"}):
        with pytest.raises(error(face, "config")):
            face.init(wrong)


@pytest.mark.parametrize("tls, active, ours", [("all", {"self", "posix", "rc", "tcp"}, None), ("tcp,cuda_copy", {"tcp"}, ["tcp"]),
                                               ("posix,tcp", {"posix", "tcp"}, ["shm", "tcp"]),
                                               ("^rc,ud,dc", {"self", "posix", "tcp"}, ["loop", "shm", "tcp"])])
def test_transports(face, run, tls, active, ours):
    face.init({"TLS": tls})
    assert face.get_active_transports() == active
    assert face.core._ctx.transports == ours

    async def main():
        async with pair(face) as (a, b):
            await a.send(b"x")
            await b.recv(bytearray(1))
    run(main())


def test_modes_of_ucxx(monkeypatch):
    ucxx = weft.ucxx
    for mode in ("blocking", "polling", "thread", "thread-polling"):
        ucxx.reset()
        ucxx.init(progress_mode=mode)
        assert ucxx.core._get_ctx().progress_mode == mode
    ucxx.reset()
    with pytest.raises(ValueError, match="Unknown progress mode 'quickly'"):
        ucxx.init(progress_mode="quickly")
    with pytest.raises(ValueError, match="Delayed submission requested"):
        ucxx.init(progress_mode="blocking", enable_delayed_submission=True)
    ctx = ucxx.core._get_ctx()
    ctx.start_notifier_thread(), ctx.continuous_ucx_progress(), ctx.clear_progress_tasks(), ucxx.stop_notifier_thread()
    assert isinstance(ucxx.get_ucp_worker(), int) and ucxx.get_ucxx_worker() == ctx.ucxx_worker
    del ctx
    ucxx.reset()


def test_idle_costs_nothing(face, run):
    async def main():
        async with pair(face) as (a, b):
            waiting = [asyncio.ensure_future(b.recv(bytearray(1))) for _ in range(5)]
            await asyncio.sleep(0.2)
            used = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - used < 0.05 and threading.active_count() == 1
            for _ in waiting:
                await a.send(b"x")
            await asyncio.gather(*waiting)
    run(main())


def test_cancelled_receives_lose_nothing(face, run):
    async def main():
        async with pair(face) as (a, b):
            for _ in range(20):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(b.recv(bytearray(1)), 0.001)
            await a.send(b"x")
            await b.recv(bytearray(1))
    run(main())


def test_after_a_fork():
    """A child of fork() begins anew."""
    code = textwrap.dedent("""
        import asyncio, os, weft.ucxx as ucxx
        async def main():
            async def echo(ep):
                room = bytearray(1)
                await ep.recv(room)
                await ep.send(room)
            listener = ucxx.create_listener(echo)
            ep = await ucxx.create_endpoint("127.0.0.1", listener.port)
            await ep.send(b"x")
            await ep.recv(bytearray(1))
            await ep.close()
            listener.close()
        asyncio.run(main())
        ucxx.reset()
        pid = os.fork()
        asyncio.run(main())
        if pid:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LIMIT, env={**os.environ})
