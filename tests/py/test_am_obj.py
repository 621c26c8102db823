# SPDX-License-Identifier: BSD-3-Clause
"""Active messages and objects."""
import asyncio
import pickle

import pytest

import weft
from conftest import pair
from weft import _weft


def test_active_messages(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            for size in (0, 1, 5000, 70000, 1 << 20):
                payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
                (header, data), _ = await asyncio.gather(b.am_recv(), a.am_send(b"h%d" % size, payload))
                assert header == b"h%d" % size and data == payload
            (header, data), _ = await asyncio.gather(b.am_recv(), a.am_send(bytes(1024)))
            assert header == bytes(1024) and data == b""
            into = bytearray(100)
            (header, n), _ = await asyncio.gather(b.am_recv(into), a.am_send(b"x", [b"12", b"345"]))
            assert header == b"x" and n == 5 and into[:5] == b"12345"
    run(main())


def test_active_messages_wait_in_order(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            sends = [a.am_send(b"%d" % i, bytes([i % 256]) * (i % 5 * 30000)) for i in range(60)]
            await a.send(b"marker", 1)
            await b.recv(bytearray(6), 1)
            for i in range(60):
                header, data = await b.am_recv()
                assert int(header) == i and data == bytes([i % 256]) * (i % 5 * 30000)
            await asyncio.gather(*sends)
    run1(main())


def test_an_active_message_too_long_for_the_buffer_stays(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            for size in (50, 200000):
                send = a.am_send(b"head", bytes(size))
                with pytest.raises(weft.TruncatedError, match=str(size)):
                    await b.am_recv(bytearray(10))
                header, data = await b.am_recv()
                assert header == b"head" and data == bytes(size)
                await send
    run1(main())


def test_a_callable_makes_room_for_each_message(run, transport):
    async def main():
        asked = []

        def room(header, length):
            asked.append((header, length))
            return [bytearray(length // 3), memoryview(bytearray(length - length // 3))]

        async with pair(transport) as (a, b):
            for size in (0, 1, 10, 5000, 70000, 1 << 20):
                payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
                for early in (True, False):
                    recv = b.am_recv(room) if early else None
                    send = a.am_send(b"h%d" % size, [payload[:7], payload[7:]])
                    header, parts = await (recv or b.am_recv(room))
                    await send
                    assert header == b"h%d" % size and b"".join(parts) == payload and asked.pop() == (header, size)
    run(main())


def test_a_callable_that_makes_no_room_leaves_the_message(run1, transport):
    def fails(header, length):
        raise KeyError("not now")

    async def main():
        async with pair(transport) as (a, b):
            for size in (50, 200000):
                send = a.am_send(b"head", bytes(size))
                for room, error in ((fails, KeyError), (lambda h, n: bytearray(n), TypeError), (lambda h, n: [bytes(n)], BufferError),
                                    (lambda h, n: [bytearray(n), None], TypeError), (lambda h, n: [bytearray(n - 1)], weft.TruncatedError),
                                    (lambda h, n: [], weft.TruncatedError), (lambda h: [], TypeError)):
                    with pytest.raises(error):
                        await b.am_recv(room)
                header, data = await b.am_recv()
                assert header == b"head" and data == bytes(size)
                await send
    run1(main())


def test_a_callable_that_ends_the_endpoint(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            def room(header, length):
                b.abort()
                return [bytearray(length)]

            a.am_send(b"h", bytes(200_000)).add_done_callback(lambda op: op.exception())
            with pytest.raises(weft.Error):
                await b.am_recv(room)
    run1(main())


def test_objects(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            for obj in (None, 5, "text", [1, {"a": (2.5, b"x" * 100000)}], {"k": bytearray(10)}, list(range(100000))):
                got, _ = await asyncio.gather(b.recv_obj(), a.send_obj(obj))
                assert got == obj and type(got) is type(obj)
    run(main())


def test_arrays_travel_out_of_band(run1, transport):
    np = pytest.importorskip("numpy")

    async def main():
        async with pair(transport) as (a, b):
            rng = np.random.default_rng(2)
            for arrays in (1, 3, 119, 120, 121, 500):
                obj = {"arrays": [rng.random(rng.integers(0, 3000)) for _ in range(arrays)],
                       "f": np.asfortranarray(rng.random((30, 20))), "n": arrays}
                got, _ = await asyncio.gather(b.recv_obj(), a.send_obj(obj))
                assert got["n"] == arrays
                assert all(np.array_equal(x, y) and y.flags.aligned for x, y in zip(obj["arrays"], got["arrays"]))
                assert np.array_equal(obj["f"], got["f"])
                got["arrays"][0][:] = 1              # its own memory
    run1(main())


class Held:
    def __init__(self, memory):
        self.memory = memory

    def __reduce_ex__(self, protocol):
        return memoryview, (pickle.PickleBuffer(self.memory),)


def test_out_of_band_buffers_are_not_copied(run1):
    async def main():
        async with pair("loop") as (a, b):
            memory = bytearray(1 << 20)
            op = a.send_obj(Held(memory))
            with pytest.raises(BufferError):
                memory.append(1)                     # pinned, so not copied
            memory[5] = 77
            got = await b.recv_obj()
            assert got[5] == 77 and isinstance(got.obj, bytearray)
            await op
            memory.append(1)
    run1(main())


def test_objects_that_cannot_be_pickled(run1):
    async def main():
        async with pair() as (a, b):
            with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
                a.send_obj(lambda: None)
            got, _ = await asyncio.gather(b.recv_obj(), a.send_obj(1))
            assert got == 1
    run1(main())


class Bomb:
    def __reduce__(self):
        return (int, ("no number",))


def test_objects_that_cannot_be_unpickled_fail_where_they_are_awaited(run1):
    async def main():
        async with pair() as (a, b):
            await a.send_obj(Bomb())
            with pytest.raises(ValueError, match="no number"):
                await b.recv_obj()
            op = b.recv_obj()
            await a.send_obj(Bomb())
            while not op.done():
                await asyncio.sleep(0)
            assert isinstance(op.exception(), ValueError)
            got, _ = await asyncio.gather(b.recv_obj(), a.send_obj([1]))
            assert got == [1]
    run1(main())


def test_objects_do_not_mix_with_the_users_messages(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            await a.am_send(b"mine", b"payload")
            await a.send(b"tagged", 0)
            await a.send_obj("object")
            await a.write(b"stream")
            assert await b.recv_obj() == "object"
            assert await b.read(100) == b"stream"
            into = bytearray(6)
            assert await b.recv(into, mask=weft.ANY) == 6
            assert await b.am_recv() == (b"mine", b"payload")
    run1(main())


async def cancel_in_mid_transfer(a, b, spins, size, room=None):
    """Two long messages are under way, the first of them to a receive that is cancelled after @spins turns of the loop."""
    first = b.am_recv(room)
    sends = [a.am_send(b"%d" % i, bytes([i + 1]) * size) for i in range(2)]
    for _ in range(spins):
        await asyncio.sleep(0)
    first.cancel()
    try:
        got = [await first]
    except asyncio.CancelledError:
        got = []
    return got, sends


def test_a_cancelled_active_message_keeps_its_place(run1, transport):
    async def main():
        size = 3_000_000
        async with pair(transport) as (a, b):
            for spins in range(25):
                got, sends = await cancel_in_mid_transfer(a, b, spins, size)
                while len(got) < 2:
                    got.append(await asyncio.wait_for(b.am_recv(), 10))
                assert [h for h, _ in got] == [b"0", b"1"], spins
                assert [d[:1] + d[-1:] for _, d in got] == [b"\1\1", b"\2\2"] and all(len(d) == size for _, d in got)
                await asyncio.gather(*sends)
    run1(main())


def test_a_cancel_takes_the_users_memory_back(run1, transport):
    async def main():
        size = 3_000_000
        async with pair(transport) as (a, b):
            for spins in range(25):
                for room in (bytearray(size), lambda header, n: [bytearray(5), bytearray(n - 5)]):
                    got, sends = await cancel_in_mid_transfer(a, b, spins, size, room)
                    for i in range(len(got), 2):
                        header, data = await asyncio.wait_for(b.am_recv(), 10)
                        assert header == b"%d" % i and data == bytes([i + 1]) * size, spins
                    await asyncio.gather(*sends)
    run1(main())


def test_a_callable_that_closes_its_loop():
    loop = asyncio.new_event_loop()

    def room(header, length):
        loop.close()
        return [bytearray(length)]

    async def start():
        a, b = await pair("loop").__aenter__()
        return a, b, b.am_recv(room)

    a, b, recv = loop.run_until_complete(start())
    sends = [a.am_send(b"h", bytes(100)) for _ in range(3)]
    _weft._progress(loop)
    assert loop.is_closed() and recv.done()
    with pytest.raises(weft.Error, match="closed"):
        recv.result()
    assert all(s.done() for s in sends)


def test_a_cancelled_active_message_goes_into_the_next_ones_buffer(run1, transport):
    async def main():
        size = 3_000_000
        async with pair(transport) as (a, b):
            for spins in range(25):
                rooms = [bytearray(size), bytearray(size)]
                got, sends = await cancel_in_mid_transfer(a, b, spins, size)
                for i in range(len(got), 2):
                    header, n = await asyncio.wait_for(b.am_recv(rooms[i]), 10)
                    assert header == b"%d" % i and n == size and rooms[i] == bytes([i + 1]) * size, spins
                await asyncio.gather(*sends)
            for spins in range(0, 25, 5):
                got, sends = await cancel_in_mid_transfer(a, b, spins, size)
                for i in range(len(got), 2):
                    header, parts = await asyncio.wait_for(b.am_recv(lambda header, n: [bytearray(1), bytearray(n - 1)]), 10)
                    assert header == b"%d" % i and b"".join(parts) == bytes([i + 1]) * size, spins
                await asyncio.gather(*sends)
            for spins in range(25):                  # the next one waits already
                into = bytearray(size)
                first, second = b.am_recv(), b.am_recv(into)
                send = a.am_send(b"h", b"x" * size)
                for _ in range(spins):
                    await asyncio.sleep(0)
                if not first.cancel():
                    await first
                    send = a.am_send(b"h", b"x" * size)
                elif not first.cancelled():
                    try:
                        await first
                        send = a.am_send(b"h", b"x" * size)
                    except asyncio.CancelledError:
                        pass
                assert await asyncio.wait_for(second, 10) == (b"h", size) and into == b"x" * size, spins
                await send
    run1(main())


def test_who_waits_gets_the_message_that_was_too_long_for_another(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            for size in (50, 200000):
                short, next_one, last = b.am_recv(bytearray(10)), b.am_recv(), b.am_recv()
                sends = [a.am_send(b"%d" % i, bytes(size)) for i in range(2)]
                with pytest.raises(weft.TruncatedError) as info:
                    await short
                assert (info.value.length, info.value.delivered) == (size, 0)
                assert (await asyncio.wait_for(next_one, 5))[0] == b"0"
                assert (await asyncio.wait_for(last, 5))[0] == b"1"
                await asyncio.gather(*sends)
    run1(main())


def test_a_loop_that_is_closed_in_mid_transfer_ends_the_receive(run1, transport):
    left = []

    async def main():
        async with await weft.listen(lambda ep: left.append(ep), "weft://127.0.0.1:0", transports=transport) as listener:
            a = await weft.connect(listener.url, transports=transport)
            while not left:
                await asyncio.sleep(0)
            b = left[0]
            for i in range(3):
                into = bytearray(3_000_000)
                left.extend([a, into, b.am_recv(into), b.am_recv(), b.recv_obj(),
                             a.am_send(b"h", bytes(3_000_000)), a.am_send(b"h", bytes(3_000_000)), a.send_obj(bytes(3_000_000))])
            left[4].cancel()
            await asyncio.sleep(0)
    run1(main())
    assert all(x.done() for x in left if isinstance(x, weft.Op))
    for x in left:
        if isinstance(x, bytearray):
            x.append(0)


def test_a_cancel_that_aborts(run1, transport):
    """At whatever moment: before the message, in the midst of its payload, or too late."""
    ends = set()

    async def main():
        for kind in ("buffer", "callable"):
            for spins in range(25):
                async with pair(transport) as (a, b):
                    recv = b.am_recv(bytearray(3_000_000) if kind == "buffer" else lambda header, n: [bytearray(n)], abort_on_cancel=True)
                    waits = asyncio.ensure_future(recv)
                    send = a.am_send(b"h", bytes(3_000_000))
                    send.add_done_callback(lambda op: op.exception())
                    for _ in range(spins):
                        await asyncio.sleep(0)
                    recv.cancel("no more")
                    try:
                        await asyncio.wait_for(waits, 10)
                        ends.add("late")
                    except asyncio.CancelledError as exc:
                        assert exc.args == ("no more",) and recv.cancelled()
                        ends.add("in its midst" if b.closed else "before")
                        if not b.closed:             # the message is still there
                            assert len((await b.am_recv())[1]) == 3_000_000
                    b.abort()
    run1(main())
    assert ends >= ({"before", "late"} if transport == "loop" else {"before", "in its midst"}), ends
