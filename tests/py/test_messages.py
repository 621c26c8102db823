# SPDX-License-Identifier: BSD-3-Clause
"""Tagged messages: what is sent arrives, bit for bit, in order, under the right tag."""
import array
import asyncio
import random
import tracemalloc

import pytest

import weft
from conftest import pair

# around the borders of inline, eager, frame and slice sizes
SIZES = [0, 1, 7, 8, 63, 64, 65, 1023, 4096, 8191, 8192, 8193, 16384, 65535, 65536, 65537, 262143, 262144, 262145,
         1 << 20, (4 << 20) + 3]


def test_a_message_of_every_size_arrives_unchanged(run, transport):
    async def main():
        rng = random.Random(1)
        async with pair(transport) as (a, b):
            for size in SIZES:
                data = rng.randbytes(size)
                into = bytearray(size + 8)
                n, _ = await asyncio.gather(b.recv(into, 3), a.send(data, 3))
                assert n == size
                assert into[:n] == data and into[n:] == bytes(8)
    run(main())


def test_unexpected_messages_wait_for_their_receive(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            sends = [a.send(bytes([i]) * size, i) for i, size in enumerate([0, 10, 5000, 70000, 600000])]
            for i, size in reversed(list(enumerate([0, 10, 5000, 70000, 600000]))):
                into = bytearray(size)
                assert await b.recv(into, i) == size
                assert into == bytes([i]) * size
            await asyncio.gather(*sends)
    run(main())


def test_order_of_one_tag_is_kept(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            async def sender():
                for i in range(3000):
                    await a.send(i.to_bytes(8, "little") * (1 + i % 7 * 400), 5)
            task = asyncio.create_task(sender())
            into = bytearray(40000)
            for i in range(3000):
                n = await b.recv(into, 5)
                assert n == 8 * (1 + i % 7 * 400)
                assert int.from_bytes(into[:8], "little") == i == int.from_bytes(into[n - 8:n], "little")
            await task
    run1(main())


def test_tags_and_masks_choose(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            for tag in (0x11, 0x12, 0x21, 2**64 - 1):
                await a.send(tag.to_bytes(8, "little"), tag)
            into = bytearray(8)
            assert await b.recv_tagged(into, 0x20, 0xF0) == (8, 0x21)
            assert await b.recv(into, 2**64 - 1) == 8
            assert await b.recv_tagged(into, mask=weft.ANY) == (8, 0x11)
            assert await b.recv_tagged(into, 0x12, weft.EXACT) == (8, 0x12)
    run1(main())


def test_sync_send_waits_for_the_match(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            send = a.send(b"x" * 100, 1, sync=True)
            await asyncio.gather(a.send(b"y", 2), b.recv(bytearray(1), 2))
            assert not send.done()
            assert await b.recv(bytearray(100), 1) == 100
            await send
    run(main())


def test_scatter_and_gather(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            parts = [b"ab", bytearray(b"cdef"), b"", memoryview(b"ghijkl" * 20000)]
            whole = b"".join(bytes(p) for p in parts)
            x, y = bytearray(5), bytearray(len(whole) - 5)
            n, _ = await asyncio.gather(b.recv([x, y]), a.send(parts))
            assert n == len(whole) and x + y == whole
            n, _ = await asyncio.gather(b.recv(bytearray(4)), a.send([]))
            assert n == 0
    run1(main())


def test_a_list_of_what_is_no_buffer_leaves_nothing(run1, transport):
    async def main():
        async with pair(transport) as (a, _):
            tracemalloc.start()
            try:
                before = 0
                for i in range(200):
                    with pytest.raises(TypeError):
                        a.send([None] * 1000, 1)
                    if i == 20:
                        before = tracemalloc.get_traced_memory()[0]
                assert tracemalloc.get_traced_memory()[0] - before < 1_000_000
            finally:
                tracemalloc.stop()
    run1(main())


def test_numpy_and_array_are_buffers(run1, transport):
    np = pytest.importorskip("numpy")

    async def main():
        async with pair(transport) as (a, b):
            rng = np.random.default_rng(1)
            for src in (rng.random((100, 30)), rng.integers(0, 9, 5), np.asfortranarray(rng.random((50, 60))),
                        np.float32(2.5), np.zeros((0, 3)), rng.random((300, 400))):
                src = np.asanyarray(src)
                dst = np.empty_like(src)
                n, _ = await asyncio.gather(b.recv(dst), a.send(src))
                assert n == src.nbytes
                assert np.array_equal(src, dst)
            ints = array.array("i", range(1000))
            out = array.array("i", bytes(4000))
            await asyncio.gather(b.recv(out), a.send(ints))
            assert ints == out
    run1(main())


def test_thousands_of_operations_in_one_gather(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            n = 5000
            bufs = [bytearray(16) for _ in range(n)]
            got = await asyncio.gather(*[b.recv(buf, i) for i, buf in enumerate(bufs)],
                                       *[a.send(i.to_bytes(16, "little"), i) for i in range(n)])
            assert got[:n] == [16] * n
            assert all(int.from_bytes(buf, "little") == i for i, buf in enumerate(bufs))
    run(main())


def test_an_operation_is_posted_when_it_is_called(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            into = bytearray(5)
            op = b.recv(into)
            a.send(b"hello")                 # never awaited: allowed
            for _ in range(10000):
                if op.done():
                    break
                await asyncio.sleep(0)
            assert op.result() == 5 and into == b"hello"
    run1(main())


def test_the_buffer_is_pinned_until_the_end(run1):
    async def main():
        async with pair("tcp") as (a, b):
            into = bytearray(10)
            op = b.recv(into)
            with pytest.raises(BufferError):
                into.extend(b"more")
            await a.send(b"0123456789")
            await op
            into.extend(b"more")
    run1(main())


def test_a_truncated_message_tells_both_lengths(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            for size in (100, 300000):
                into = bytearray(64)
                send = a.send(bytes(range(100)) + bytes(size - 100), 9)
                with pytest.raises(weft.TruncatedError) as info:
                    await b.recv(into, 9)
                await send
                assert info.value.length == size and info.value.delivered == 64 and info.value.tag == 9
                assert into == bytes(range(64))
                assert info.value.scope == "operation" and info.value.status_name == "WEFT_ETRUNCATED"
                assert str(size) in str(info.value) and "64" in str(info.value)
            n, _ = await asyncio.gather(b.recv(into, 9), a.send(b"fine", 9))
            assert n == 4
    run1(main())


def test_flush_and_many_endpoints(run, transport):
    async def main():
        async def echo(ep):
            buf = bytearray(1000)
            try:
                while True:
                    n, tag = await ep.recv_tagged(buf, mask=weft.ANY)
                    await ep.send(memoryview(buf)[:n], tag)
            except weft.ClosedError:
                pass
        async with await weft.listen(echo, "weft://127.0.0.1:0", transports=transport) as listener:
            eps = await asyncio.gather(*[weft.connect(listener.url, transports=transport) for _ in range(20)])

            async def client(i, ep):
                buf = bytearray(1000)
                for k in range(50):
                    data = bytes([i, k]) * (1 + 7 * i)
                    await ep.send(data, k)
                    assert await ep.recv(buf, k) == len(data)
                    assert buf[:len(data)] == data
                await ep.flush()
            await asyncio.gather(*[client(i, ep) for i, ep in enumerate(eps)])
            await asyncio.gather(*[ep.close() for ep in eps])
            await listener.wait_closed()
    run(main())


@pytest.mark.skipif("not __import__('conftest').LONG", reason="WEFT_TEST_LONG is not set: needs 5 GiB")
def test_a_message_past_2_gib(run1):
    async def main():
        async with pair("shm") as (a, b):
            n = (1 << 31) + 12345
            src, dst = bytearray(n), bytearray(n)
            src[:4], src[-4:] = b"head", b"tail"
            got, _ = await asyncio.gather(b.recv(dst), a.send(src))
            assert got == n and dst[:4] == b"head" and dst[-4:] == b"tail"
    run1(main())
