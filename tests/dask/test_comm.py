# SPDX-License-Identifier: BSD-3-Clause
"""The contract of a comm, as `distributed` relies on it: what Dask's own tests look at, and what bad peers and bad moments do."""
import asyncio
import contextlib
import gc
import os
import re
import socket

import dask
import numpy
import pytest
from conftest import HERE, LIES, comm_pair, config, lie_to_a_listener, row
from distributed import Scheduler, Worker
from distributed.comm.addressing import (get_address_host, get_address_host_port, get_local_address_for, normalize_address, parse_address,
                                         resolve_address)
from distributed.comm.core import CommClosedError, FatalCommClosedError, connect, listen
from distributed.comm.registry import get_backend
from distributed.protocol import Serialize, Serialized, deserialize, to_serialize

import weft
from weft.dask import WeftBackend, WeftComm
from weft.dask._frames import table_header


async def both(a, b, msg):
    """@msg from @a to @b, written before it is read, as Dask's own tests do in one task."""
    await a.write(msg)
    return await b.read()


def test_the_scheme_is_found_by_its_entry_point():
    assert isinstance(get_backend("weft"), WeftBackend)


def test_messages_and_addresses(run):
    async def body():
        async with comm_pair() as (a, b):
            assert isinstance(a, WeftComm) and repr(a).startswith("<WeftComm ")
            assert a.local_address == b.peer_address and b.local_address == a.peer_address
            assert a.same_host and a.extra_info["weft"].startswith("messages: ")
            assert await asyncio.to_thread(lambda: a.extra_info) == {}   # a worker's thread of tasks
            for msg in ({"op": "x", "n": 5, "b": b"bytes"}, "text", None, [1, (2, 3)], {"x": "y" * 100_000}):
                for x, y in ((a, b), (b, a)):
                    got = await both(x, y, msg)
                    assert got == msg or got == tuple(msg)
        assert a.closed() and "(closed)" in repr(a)

    run(body())


@pytest.mark.parametrize("n", [0, 1, 1000, 32 << 10, 300_000, pytest.param((64 << 20) + 5, marks=pytest.mark.long)])
def test_arrays_arrive_in_memory_of_their_own(run, n):
    x = numpy.arange(n, dtype="u1")

    async def body():
        async with comm_pair() as (a, b):
            got = await both(a, b, {"x": to_serialize(x), "y": [to_serialize(x), to_serialize(x[::-1])]})
            y, z = got["y"]
            numpy.testing.assert_array_equal(got["x"], x)
            numpy.testing.assert_array_equal(y, x)
            numpy.testing.assert_array_equal(z, x[::-1])
            if n:
                assert not numpy.shares_memory(got["x"], y) and got["x"].flags.writeable and y.flags.writeable
                got["x"][0] += 1

    run(body())


@pytest.mark.parametrize("n", [20_000, 300_000])
def test_what_is_kept_stays_as_it_is(run, n):
    """Memory of messages that are gone is used again, that of what is left is not."""
    async def body():
        async with comm_pair() as (a, b):
            kept = []
            for i in range(8):
                got = await both(a, b, {"x": to_serialize(numpy.full(n, float(i))), "y": to_serialize(numpy.full((n, 1), i))})
                kept.append((got["x"][n // 2:] if i % 2 else got["x"], got["y"]))
                await both(b, a, to_serialize(numpy.full(n, -1.0)))
            for i, (x, y) in enumerate(kept):
                assert (x == i).all() and (y == i).all()

    run(body())


def test_a_buffer_that_dask_cuts_is_one_piece(run, monkeypatch):
    x = numpy.arange(1_000_000)
    monkeypatch.setattr(WeftComm, "max_shard_size", 1 << 20)

    async def body():
        async with comm_pair() as (a, b):
            numpy.testing.assert_array_equal(await both(a, b, to_serialize(x)), x)

    run(body())


def test_more_than_200_frames(run):
    arrays = [numpy.full(i * 37, i, "i4") for i in range(700)]

    async def body():
        async with comm_pair() as (a, b):
            for k, got in enumerate(await both(a, b, [to_serialize(x) for x in arrays])):
                numpy.testing.assert_array_equal(got, arrays[k])

    run(body())


@pytest.mark.long
@pytest.mark.skipif(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 9 << 30, reason="needs 9 GiB of free memory")
@pytest.mark.parametrize("shard", ["64MiB", "4GiB"])
def test_a_frame_beyond_2_gib(run, shard, monkeypatch):
    x = numpy.zeros((1 << 31) + 4096 + 3, "u1")
    x[::1 << 20] = 7
    x[-1] = 9
    monkeypatch.setattr(WeftComm, "max_shard_size", {"64MiB": 64 << 20, "4GiB": 4 << 30}[shard])

    async def body():
        async with comm_pair() as (a, b):
            got = await both(a, b, to_serialize(x))
            assert got.nbytes == x.nbytes and got[-1] == 9 and int(got[::1 << 20].sum()) == 7 * 2049

    run(body(), 300)


def test_without_deserializing(run):
    async def body():
        async with comm_pair(deserialize=False) as (a, b):
            got = await both(a, b, {"x": to_serialize(numpy.arange(100_000))})
            assert isinstance(got["x"], (Serialize, Serialized))
            numpy.testing.assert_array_equal(deserialize(got["x"].header, got["x"].frames), numpy.arange(100_000))
            assert isinstance((await both(b, a, got))["x"], (Serialize, Serialized))     # and on, unopened

    run(body())


def test_a_write_while_a_read_waits(run):
    async def body():
        async with comm_pair() as (a, b):
            reads = [asyncio.ensure_future(c.read()) for c in (a, b)]
            await asyncio.sleep(0)
            await a.write(1)
            await b.write(2)
            assert await asyncio.gather(*reads) == [2, 1]

    run(body())


def test_large_writes_both_ways_at_once(run):
    """Neither side reads before both have written: write() does not wait for the peer."""
    x = numpy.arange(3_000_000)

    async def body():
        async with comm_pair() as (a, b):
            for _ in range(3):
                await a.write(to_serialize(x))
                await b.write(to_serialize(x + 1))
                numpy.testing.assert_array_equal(await a.read(), x + 1)
                numpy.testing.assert_array_equal(await b.read(), x)

    run(body())


def test_close_ends_reads_and_writes_on_both_ends(run):
    async def body():
        async with comm_pair() as (a, b):
            reads = [asyncio.ensure_future(c.read()) for c in (a, b)]
            await asyncio.sleep(0.01)
            await a.close()
            await a.close()
            for read in reads:
                with pytest.raises(CommClosedError):
                    await asyncio.wait_for(read, 5)
            for c in (a, b):
                assert c.closed()
                for call in (c.read, lambda: c.write("x")):
                    with pytest.raises(CommClosedError):
                        await call()

    run(body())


def test_what_was_written_before_close_is_read(run):
    x = numpy.arange(200_000)

    async def body():
        async with comm_pair() as (a, b):
            for i in range(50):
                await a.write(i)
            await a.write(to_serialize(x))
            closing = asyncio.ensure_future(a.close())
            await asyncio.sleep(0.05)
            assert [await b.read() for _ in range(50)] == list(range(50))
            numpy.testing.assert_array_equal(await b.read(), x)
            await closing
            with pytest.raises(CommClosedError):
                await b.read()

    run(body())


def test_both_close_while_each_has_sent_what_nobody_reads(run):
    async def body():
        async with comm_pair() as (a, b):
            with dask.config.set({"distributed.comm.timeouts.tcp": "1s"}):
                for c in (a, b):
                    await c.write(to_serialize(numpy.zeros(400_000)))
                await asyncio.wait_for(asyncio.gather(a.close(), b.close()), 20)
            assert a.closed() and b.closed()

    run(body())


@pytest.mark.parametrize("thread", [False, True])
def test_an_abort_ends_a_close_that_waits(run, thread):
    async def body():
        async with comm_pair() as (a, b):
            await a.write(to_serialize(numpy.zeros(400_000)))    # b does not read it
            closing = asyncio.ensure_future(a.close())
            for _ in range(20):
                await asyncio.sleep(0)
            assert not closing.done()
            if thread:
                await asyncio.to_thread(a.abort)
            else:
                a.abort()
            await asyncio.wait_for(closing, 5)
            with pytest.raises(CommClosedError):
                while True:                  # as much as had come
                    await asyncio.wait_for(b.read(), 5)

    run(body())


def test_a_read_that_ends_does_not_cut_a_close_short(run):
    async def body():
        x = numpy.arange(400_000)
        async with comm_pair() as (a, b):
            read = asyncio.ensure_future(a.read())
            await asyncio.sleep(0)
            await a.write(to_serialize(x))
            closing = asyncio.ensure_future(a.close())
            await asyncio.sleep(0)
            read.cancel()
            with pytest.raises(asyncio.CancelledError):
                await read
            for _ in range(20):
                await asyncio.sleep(0)
            assert not closing.done()
            numpy.testing.assert_array_equal(await asyncio.wait_for(b.read(), 5), x)
            await asyncio.wait_for(closing, 5)

    run(body())


def test_what_came_before_a_close_is_read_though_a_send_failed(run):
    async def body():
        async with comm_pair() as (a, b):
            await a.write(to_serialize(numpy.zeros(400_000)))    # b never reads it
            await b.write("last words")
            await b.close()
            await asyncio.sleep(0.1)
            assert await a.read() == "last words"
            with pytest.raises(CommClosedError):
                await a.read()

    run(body())


def test_abort_in_another_thread(run):
    async def body():
        async with comm_pair() as (a, b):
            read = asyncio.ensure_future(b.read())
            await asyncio.to_thread(a.abort)
            with pytest.raises(CommClosedError):
                await asyncio.wait_for(read, 5)

    run(body())


@pytest.mark.parametrize("how", ["abort", "close", "drop", "peer"])
def test_sends_that_nobody_took_end_silently(run, how):
    async def body():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        accepted = asyncio.get_running_loop().create_future()

        async def handle(comm):
            accepted.set_result(comm)

        listener = await listen(HERE, handle)
        a = await connect(listener.contact_address)
        b = await accepted
        for _ in range(3):
            await a.write({"x": to_serialize(numpy.zeros(1_000_000))})
        if how == "close":
            await asyncio.gather(a.close(), b.close())
        elif how == "drop":
            del a
            gc.collect()
        else:
            (a if how == "abort" else b).abort()
            await asyncio.sleep(0.05)
        with pytest.raises(CommClosedError):
            while True:
                await asyncio.wait_for(b.read(), 5)
        a = None
        gc.collect()
        await asyncio.sleep(0)
        assert not told, told
        b.abort()
        listener.stop()

    run(body())


def test_abort_is_noticed(run):
    async def body():
        async with comm_pair() as (a, b):
            read = asyncio.ensure_future(b.read())
            await asyncio.sleep(0.01)
            a.abort()
            a.abort()
            with pytest.raises(CommClosedError):
                await asyncio.wait_for(read, 5)
            assert a.closed() and b.closed()

    run(body())


def test_a_close_at_the_peer_shows_without_reading(run):
    async def body():
        async with comm_pair() as (a, b):
            await a.close()
            for _ in range(500):
                if b.closed():
                    break
                await asyncio.sleep(0.01)
            assert b.closed()

    run(body())


@pytest.mark.parametrize("late", [False, True])
def test_a_cancelled_read_leaves_the_comm_closed(run, late):
    async def body():
        async with comm_pair() as (a, b):
            if late:                          # a message of which a part has come
                await a._ep.am_send(table_header(row(1, 0)), row(1, 0))
            read = asyncio.ensure_future(b.read())
            await asyncio.sleep(0.02)
            read.cancel()
            with pytest.raises(asyncio.CancelledError):
                await read
            assert b.closed()
            with pytest.raises(CommClosedError):
                await asyncio.wait_for(a.read(), 5)

    run(body())


def test_one_reader_at_a_time(run):
    async def body():
        async with comm_pair() as (a, b):
            first = asyncio.ensure_future(a.read())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another read"):
                await a.read()
            await b.write("x")
            assert await first == "x"
            await b.write("y")
            assert await a.read() == "y"

    run(body())


def test_a_comm_that_nobody_closes_is_closed(run, caplog):
    async def body():
        async with comm_pair() as (a, b):
            handler = await listen(HERE, lambda comm: asyncio.sleep(0))
            c = await connect(handler.contact_address)
            handler.stop()
            ep = c._ep
            del c
            import gc
            gc.collect()
            assert ep.closed

    run(body())


def test_what_cannot_be_serialised_aborts_nothing(run):
    async def body():
        async with comm_pair() as (a, b):
            with pytest.raises(Exception):
                await a.write(to_serialize(lambda: (yield)), on_error="raise", serializers=["msgpack"])
            assert await both(a, b, "on") == "on"

    run(body())


# ---- addresses, connecting, listening ----

def test_addresses():
    assert parse_address("weft://127.0.0.1:1234") == ("weft", "127.0.0.1:1234")
    assert normalize_address("weft://[::1]:80") == "weft://[::1]:80"
    assert get_address_host("weft://127.0.0.1:80") == "127.0.0.1" and get_address_host_port("weft://[::1]:80") == ("::1", 80)
    assert resolve_address("weft://localhost:80") in ("weft://127.0.0.1:80", "weft://[::1]:80")
    assert get_local_address_for("weft://127.0.0.1:80") == "weft://127.0.0.1"


MALFORMED = [
    ("127.0.0.1:port", "'port' is no port"), ("127.0.0.1:", "'' is no port"), ("127.0.0.1:80/path", "'80/path' is no port"),
    ("[::1]:80x", "'80x' is no port"), ("127.0.0.1:99999999", "port above 65535"), ("127.0.0.1:-1", "a port is a number"),
    ("[::1", "ipv6 needs brackets"), ("fe80::1:80", "ipv6 needs brackets"),
]


@pytest.mark.parametrize("place, words", [*MALFORMED, ("127.0.0.1", "missing port number"), ("", "missing port number"), (":80", "host is missing"),
                                          ("127.0.0.1:0", "address without a port")])
def test_malformed_addresses_to_connect_to(run, place, words):
    async def body():
        with pytest.raises(ValueError, match=re.escape(words)) as e:
            await connect(f"weft://{place}", timeout=20)
        assert place in str(e.value)

    run(body(), 10)                           # at once: it is of no use to try again


@pytest.mark.parametrize("place, words", MALFORMED)
def test_malformed_addresses_to_listen_at(run, place, words):
    async def body():
        with pytest.raises(ValueError, match=re.escape(words)) as e:
            await listen(f"weft://{place}", None)
        assert place in str(e.value)

    run(body())


def test_another_scheme(run):
    async def body():
        for use in (lambda: connect("woft://127.0.0.1:80", timeout=20), lambda: listen("woft://127.0.0.1:80", None)):
            with pytest.raises(ValueError, match="unknown address scheme 'woft'"):
                await use()

    run(body(), 10)


def test_a_name_that_nobody_knows(run):
    async def body():
        with pytest.raises(OSError, match="weft://nobody.invalid:80") as e:
            await connect("weft://nobody.invalid:80", timeout=0.5)
        assert not isinstance(e.value, ValueError)
        with pytest.raises(OSError, match="nobody.invalid: its name cannot be resolved"):
            await listen("weft://nobody.invalid:80", None)

    run(body())


def test_everywhere_is_listened_and_contacted(run):
    async def body():
        for at in ("weft://", "weft://0.0.0.0", "weft://0.0.0.0:0"):
            async with comm_pair(at) as (a, b):
                assert await both(a, b, 1) == 1
        listener = await listen("weft://", lambda comm: None)
        assert listener.listen_address.startswith("weft://0.0.0.0:") and "0.0.0.0" not in listener.contact_address
        with pytest.raises(OSError) as e:
            await listen(listener.listen_address, lambda comm: None)
        assert e.value.errno == 98                # Dask goes on to its next port at this number
        listener.stop()
        listener.stop()

    run(body())


needs_ipv6 = pytest.mark.skipif(not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 on this machine")


@pytest.mark.parametrize("host", [None, "", "weft://0.0.0.0"])
def test_a_worker_announces_the_address_that_faces_its_scheduler(run, monkeypatch, host):
    """And not that which leads outward: with no nanny, which would say so, nor --host. As over tcp."""
    monkeypatch.setattr("distributed.comm.utils.get_ip", lambda: "192.0.2.7")

    async def body():
        async with Scheduler(host="127.0.0.1", protocol="weft", dashboard_address=":0") as s, Worker(s.address, host=host, nthreads=1) as w:
            assert w.address.startswith("weft://127.0.0.1:") and w.ip == "127.0.0.1"
            assert w.listener.listen_address.startswith("weft://0.0.0.0:")
        listener = await listen("weft://", lambda comm: None)
        assert listener.contact_address.startswith("weft://192.0.2.7:")   # of who has no scheduler
        listener.stop()

    run(body())


@needs_ipv6
def test_a_worker_of_an_ipv6_scheduler_announces_an_address_that_it_listens_at(run, recwarn):
    async def body():
        async with Scheduler(host="weft://[::1]", dashboard_address=":0") as s:
            for at in (None, "", "weft://[::]", "weft://[::1]"):
                async with Worker(s.address, host=at, nthreads=1) as w:
                    assert w.address.startswith("weft://[::1]:")

    run(body())
    assert not [str(w.message) for w in recwarn if "IP" in str(w.message) or "hostname" in str(w.message)]


@needs_ipv6
def test_ipv6(run):
    async def body():
        async with comm_pair("weft://[::1]:0") as (a, b):
            assert await both(a, b, 1) == 1 and a.peer_address.startswith("weft://[::1]:")

    run(body())


def test_nobody_listens(run):
    async def body():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            with pytest.raises(OSError, match="Timed out trying to connect"):
                await connect(f"weft://127.0.0.1:{s.getsockname()[1]}", timeout=0.5)

    run(body())


def test_encryption_is_refused(run):
    async def body():
        with pytest.raises(RuntimeError, match="encryption required"):
            await connect("weft://127.0.0.1:1", require_encryption=True)
        with pytest.raises(RuntimeError, match="encryption required"):
            await listen(HERE, None, require_encryption=True)
        for scheme_use in (lambda: connect("wefts://127.0.0.1:1"), lambda: listen("wefts://127.0.0.1:0", None)):
            with pytest.raises(RuntimeError, match="not there yet"):
                await scheme_use()

    run(body())


@pytest.mark.parametrize("scheme, port_of, kind, words", [
    ("weft", "tcp", FatalCommClosedError, "no connection to weft://{}: .*what listens there does not speak weft"),   # Dask does not try again
    ("tcp", "weft", CommClosedError, "in <TCP .*remote=tcp://{}.*: Stream is closed"),   # its own words for a peer that hangs up
])
def test_a_peer_at_the_port_of_another_scheme(run, scheme, port_of, kind, words, caplog):
    """Who connects is told at once; who listens hands nothing on, logs no error of weft's, and serves others."""
    async def body():
        handled = []

        async def handle(comm):
            handled.append(await comm.read())
            await comm.close()

        listener = await listen(f"{port_of}://127.0.0.1:0", handle)
        where = listener.contact_address.partition("://")[2]
        with pytest.raises(kind, match=words.format(re.escape(where))):
            await asyncio.wait_for(connect(f"{scheme}://{where}", timeout=20), 10)
        assert not handled
        c = await connect(listener.contact_address)
        await c.write("after it")
        with pytest.raises(CommClosedError):
            await c.read()
        await c.close()
        listener.stop()
        assert handled == ["after it"]
        # tcp's listener reads a hello as a message of Dask's that is none, and says that; weft's has nothing to say
        assert [r.getMessage() for r in caplog.records if r.name.startswith("distributed")] == (["Failed to deserialize"] if port_of == "tcp" else [])

    run(body())


def test_a_stopped_listener_hands_nothing_on(run):
    async def body():
        handled = []

        async def handle(comm):
            handled.append(comm)

        listener = await listen(HERE, handle)
        where = listener.contact_address
        tasks = [asyncio.ensure_future(connect(where, timeout=2)) for _ in range(20)]
        await asyncio.sleep(0)
        listener.stop()
        listener.abort_handshaking_comms()
        for end in await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30):
            if not isinstance(end, OSError):
                await end.close()
        assert not handled

    run(body())


def test_a_hundred_listeners(run):
    async def body():
        async def echo(comm):
            await comm.write(await comm.read())

        listeners = [await listen(HERE, echo) for _ in range(100)]
        assert len({at.contact_address for at in listeners}) == 100
        for at in listeners:
            c = await connect(at.contact_address)
            assert await both(c, c, "x") == "x"
            await c.close()
            at.stop()

    run(body())


def test_five_hundred_at_once(run):
    async def body():
        async def echo(comm):
            await comm.write(await comm.read())

        listener = await listen(HERE, echo)

        async def one(i):
            c = await connect(listener.contact_address, timeout=50)
            assert await both(c, c, i) == i
            await c.close()

        await asyncio.gather(*[one(i) for i in range(500)])
        listener.stop()

    run(body())


@pytest.mark.parametrize("lie", LIES)
def test_a_peer_that_lies_is_closed(run, lie):
    run(lie_to_a_listener(lie))


def test_messages_that_are_interrupted(run):
    """Reads with a time limit end comms, and nothing is left behind or lost on others."""
    async def read_on(comm):
        while True:
            await comm.read()

    async def body():
        async def flood(comm):
            try:
                for i in range(10_000):
                    await comm.write({"i": i, "x": to_serialize(numpy.zeros(40_000 + i, "u1"))})
                    await asyncio.sleep(0)
            except CommClosedError:
                pass

        listener = await listen(HERE, flood)
        steady = await connect(listener.contact_address)
        seen = 0
        for k in range(40):
            c = await connect(listener.contact_address)
            read = asyncio.ensure_future(read_on(c))
            await asyncio.wait([read], timeout=0.002 * (k % 5))
            read.cancel()
            with contextlib.suppress(asyncio.CancelledError, CommClosedError):
                await read
            assert c.closed()
            got = await steady.read()
            assert got["i"] == seen and got["x"].nbytes == 40_000 + seen
            seen += 1
        steady.abort()
        listener.stop()

    with config(distributed__comm__offload=False):
        run(body())
