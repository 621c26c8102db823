# SPDX-License-Identifier: BSD-3-Clause
"""What is sent arrives: tagged messages, objects, active messages, several buffers at once; what cannot be sent is refused."""
import array
import asyncio
from types import SimpleNamespace

import pytest

import weft.ucxx
from conftest import error, pair, until
from weft.ucxx._lib import _multi

np = pytest.importorskip("numpy")

SIZES = [0, 1, 4096, 70000, 1 << 20, (8 << 20) + 1]


def pattern(n):
    return bytes(range(251)) * (n // 251) + bytes(range(n % 251))


@pytest.mark.parametrize("size", SIZES)
def test_both_ways(face, run, size):
    async def main():
        async with pair(face) as (a, b):
            data, there, back = pattern(size), bytearray(size), np.empty(size, "u1")
            await asyncio.gather(a.send(data), b.recv(there))
            await asyncio.gather(b.send(there), a.recv(back))
            assert there == data and back.tobytes() == data
    run(main())


def test_kinds_of_buffers(face, run):
    async def main():
        async with pair(face) as (a, b):
            for out in (np.arange(12.0).reshape(3, 4), np.asfortranarray(np.arange(12).reshape(3, 4)), array.array("d", [1, 2]),
                        memoryview(b"abc"), np.array(5), np.float32(1.5).reshape(1)):
                into = np.empty(memoryview(out).nbytes, "u1")
                await a.send(out)
                await b.recv(into)
                assert into.tobytes() == memoryview(out).tobytes("A")
    run(main())


def test_tags_are_kept_apart(face, run):
    async def main():
        async with pair(face) as (a, b):
            one, two, raw = bytearray(1), bytearray(1), bytearray(1)
            waiting = asyncio.ensure_future(b.recv(one, tag="one"))
            await a.send(b"2", tag=("two", 2))
            await a.send(b"3", tag=77, force_tag=True)
            await b.recv(two, tag=("two", 2))
            await b.recv(raw, tag=77, force_tag=True)
            assert not waiting.done()
            await a.send(b"1", tag="one")
            await waiting
            assert (one, two, raw) == (b"1", b"2", b"3")
    run(main())


def test_endpoints_do_not_mix(face, run):
    async def main():
        async with pair(face) as (a, b), pair(face) as (c, d):
            got = bytearray(1), bytearray(1)
            await c.send(b"c")
            await a.send(b"a")
            await b.recv(got[0])
            await d.recv(got[1])
            assert got == (b"a", b"c")
    run(main())


def test_forced_tags_are_the_workers(face, run):
    """A receive with such a tag takes a message of whatever endpoint; so does recv() of the module."""
    async def main():
        async with pair(face) as (a, b), pair(face) as (c, d):
            for receive in (lambda room: d.recv(room, tag=9, force_tag=True), lambda room: face.recv(room, tag=9)):
                got = bytearray(1)
                waiting = asyncio.ensure_future(receive(got))
                await asyncio.sleep(0)
                await a.send(b"x", tag=9, force_tag=True)
                await waiting
                assert got == b"x"
    run(main())


def test_objects(face, run):
    async def main():
        async with pair(face) as (a, b):
            await a.send_obj(b"hello")
            assert await b.recv_obj() == b"hello"
            await a.send_obj(np.arange(100), tag="t")
            got = await b.recv_obj(tag="t", allocator=lambda n: np.empty(n, "u1"))
            assert (got.view("i8") == np.arange(100)).all()
    run(main())


@pytest.mark.parametrize("size", SIZES)
def test_active_messages(face, run, size):
    async def main():
        async with pair(face) as (a, b):
            waiting = asyncio.ensure_future(b.am_recv())
            await asyncio.sleep(0)
            await a.am_send(pattern(size))
            assert bytes(await waiting) == pattern(size)
            await a.am_send(b"second")
            assert bytes(await b.am_recv()) == b"second"
    run(main())


@pytest.mark.parametrize("n", [0, 1, 5, 31, 32, 100])
def test_many_buffers_at_once(run, n):
    async def main():
        async with pair(weft.ucxx) as (a, b):
            out = [pattern(i * i * 10) for i in range(n)]
            sends = [asyncio.ensure_future(a.send_multi(out)), asyncio.ensure_future(a.send_multi(out, tag="other"))]
            other = await b.recv_multi(tag="other")
            got = await b.recv_multi()
            await asyncio.gather(*sends)
            assert [bytes(x) for x in got] == out == [bytes(x) for x in other]
            if n:
                got[-1][:1] = 1          # it is ours to write to
    run(main())


def test_several_receivers_of_many_buffers(run):
    async def main():
        async with pair(weft.ucxx) as (a, b):
            waiting = [asyncio.ensure_future(b.recv_multi()) for _ in range(3)]
            await asyncio.sleep(0)
            for i in range(3):
                await a.send_multi([bytes([i]) * 10] * (i + 1))
            assert [[bytes(x) for x in await w] for w in waiting] == [[bytes([i]) * 10] * (i + 1) for i in range(3)]
    run(main())


def test_many_tags_leave_nothing_behind(run):
    async def main():
        async with pair(weft.ucxx) as (a, b):
            for tag in range(10):
                await a.send_multi([b"x"], tag=tag)
                await b.recv_multi(tag=tag)
            assert not b._multi and not b._ep.begun
    run(main())


def parts(buffers):
    """The messages that send_multi() posts for @buffers."""
    ep = SimpleNamespace(send=lambda data, at: b"".join(data) if isinstance(data, list) else data)
    return _multi.post(SimpleNamespace(ep=ep), [memoryview(b) for b in buffers], 0)


@pytest.mark.parametrize("n, part, length", [(1, 1, 3), (2, 1, 0), (40, 1, 8), (40, 2, 3)])
def test_buffers_that_are_shorter_than_their_head_says(run, n, part, length):
    async def main():
        async with pair(weft.ucxx) as (a, b):
            messages = parts([b"x" * 1000] * n)
            want, messages[part] = len(messages[part]), b"y" * length
            for m in messages[:part + 1]:
                await a.send(m)
            with pytest.raises(error(weft.ucxx, "truncated"), match=rf"length mismatch: {length} \(got\) != {want} \(expected\)"):
                await b.recv_multi()
            await a.send_multi([b"the next"])
            assert [bytes(x) for x in await b.recv_multi()] == [b"the next"]
    run(main())


@pytest.mark.parametrize("n", [0, 1, 40])
def test_recv_multi_is_cancelled_at_any_time(run, n):
    """After each of its messages; the next one gets all of it, and those that follow are in step."""
    async def main():
        async with pair(weft.ucxx) as (a, b):
            out = [pattern(i * 10) for i in range(n)]
            for there in range(len(parts(out)) + 1):
                messages = parts(out)
                got = asyncio.ensure_future(b.recv_multi())
                for m in messages[:there]:
                    await a.send(m)
                await a._ep.ep.flush()               # the peer has taken them
                got.cancel()
                await asyncio.wait([got])
                for m in messages[there:]:
                    await a.send(m)
                await a.send_multi([b"the next"])
                if got.cancelled():
                    got = asyncio.ensure_future(b.recv_multi())
                assert [bytes(x) for x in await got] == out
                assert [bytes(x) for x in await b.recv_multi()] == [b"the next"]
            assert not b._multi and not b._ep.begun
    run(main())


def test_another_length_than_the_room(face, run):
    async def main():
        async with pair(face) as (a, b):
            await a.send(b"Hey")
            with pytest.raises(error(face, "truncated"), match=r"length mismatch: 3 \(got\) != 100 \(expected\)"):
                await b.recv(bytearray(100))
            await a.send(b"x" * 100)
            with pytest.raises(error(face, "truncated"), match=r"length mismatch: 100 \(got\) != 3 \(expected\)"):
                await b.recv(bytearray(3))
            await a.send(b"Hey")
            await b.recv(bytearray(3))
    run(main())


def test_what_cannot_be_sent(face, run):
    class OnDevice:
        __cuda_array_interface__ = {"data": (4096, False), "typestr": "|u1", "shape": (1,), "version": 3}

    async def main():
        async with pair(face) as (a, b):
            with pytest.raises(NotImplementedError, match="GPU memory"):
                await a.send(OnDevice())
            with pytest.raises(NotImplementedError, match="GPU memory"):
                await b.recv(OnDevice())
            with pytest.raises(ValueError, match="contiguous"):
                await a.send(np.arange(10)[::2])
            with pytest.raises(ValueError, match="readonly"):
                await b.recv(b"abc")
            with pytest.raises(TypeError):
                await a.send("text")
            with pytest.raises(OverflowError):
                await a.send(b"", tag=2**64, force_tag=True)
    run(main())


def test_probe(run):
    face = weft.ucxx

    async def main():
        async with pair(face) as (a, b):
            assert not b.tag_probe()
            await a.send(b"first")
            await a.send(b"second")
            found = b.tag_probe()
            assert found.matched and found.length == 5 and found.handle is None
            assert found.sender_tag == face.types.Tag(b._tags["msg_recv"])
            taken = b.tag_probe(remove=True)
            assert taken.handle is not None and "length=5" in repr(taken)
            rest, first = bytearray(6), bytearray(5)
            await b.recv(rest)
            await b.recv_with_handle(first, taken)
            assert (first, rest) == (b"first", b"second")
            with pytest.raises(ValueError, match="received already"):
                await b.recv_with_handle(first, taken)
            with pytest.raises(AttributeError, match="No message"):
                b.tag_probe().length
            long = asyncio.ensure_future(a.send(b"x" * (1 << 20)))
            await until(b.tag_probe)
            assert b.tag_probe(remove=True).length == 1 << 20    # dropped: nobody receives it
            assert not b.tag_probe()
            await long
    run(main())


def test_am_probe(face, run):
    async def main():
        async with pair(face) as (a, b):
            assert b._ep.am_probe() is False
            await a.am_send(b"x")
            assert b._ep.am_probe() is True
            await b.am_recv()
            assert b._ep.am_probe() is False
    run(main())


def test_am_allocator(run):
    face = weft.ucp
    face.reset()

    async def main():
        face.register_am_allocator(lambda n: np.zeros(n, "u1"), "host")
        async with pair(face) as (a, b):
            for out in (b"", b"abc"):
                await a.am_send(out)
                got = await b.am_recv()
                assert isinstance(got, np.ndarray) and got.tobytes() == out
        with pytest.raises(NotImplementedError, match="GPU"):
            face.register_am_allocator(bytearray, "cuda")
    run(main())
    face.reset()
