# SPDX-License-Identifier: BSD-3-Clause
"""Remote memory: grants, put and get, atomics, signals, revocation."""
import asyncio
import gc

import pytest

import weft
from conftest import pair


def memories(n):
    return [("alloc", weft.alloc(n)), ("register", weft.register(bytearray(n)))]


def test_put_get_flush(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            for _, mem in memories(1 << 20):
                remote = a.remote(mem.grant(b, "rw"))
                for size, offset in ((0, 0), (1, 5), (1000, 100), (70000, 3), (1 << 20, 0)):
                    data = bytes([size % 251 + 1]) * size
                    await remote.put(data, offset)
                    await a.flush()
                    assert memoryview(mem)[offset:offset + size] == data
                    into = bytearray(size)
                    await remote.get(into, offset)
                    assert into == data
    run(main())


def test_atomics(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            for _, mem in memories(64):
                remote = a.remote(mem.grant(b, "rwa"))
                assert await remote.fetch_add(8, 5) == 0
                assert await remote.fetch_add(8, -2) == 5
                assert await remote.fetch_or(8, 0xF0) == 3
                assert await remote.fetch_and(8, 0xF1) == 0xF3
                assert await remote.fetch_xor(8, 1) == 0xF1
                assert await remote.swap(8, 2**64 - 1) == 0xF0
                assert await remote.compare_swap(8, 5, 6) == 2**64 - 1
                assert await remote.compare_swap(8, 2**64 - 1, 6) == 2**64 - 1
                assert await remote.swap(8, 0) == 6
                assert await remote.fetch_add(4, 2**32 - 1, bits=32) == 0
                assert await remote.fetch_add(4, 2, bits=32) == 2**32 - 1
                assert memoryview(mem)[4:8].cast("I")[0] == 1
                with pytest.raises(OverflowError, match="32 bits"):
                    remote.swap(4, 2**32, bits=32)
                with pytest.raises(ValueError, match="32 or 64"):
                    remote.swap(4, 1, bits=16)
                with pytest.raises(TypeError, match="value must be an int"):
                    remote.fetch_add(0, 1.5)
                with pytest.raises(ValueError, match="negative"):
                    remote.fetch_add(-8, 1)
                with pytest.raises(weft.Error):
                    await remote.fetch_add(3, 1)     # not aligned
    run1(main())


def test_many_atomics_at_once_add_up(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            mem = weft.alloc(8)
            remote, other = a.remote(mem.grant(b, "rwa")), b.remote(mem.grant(a, "rwa"))
            got = await asyncio.gather(*[r.fetch_add(0, 1) for _ in range(500) for r in (remote, other)])
            assert sorted(got) == list(range(1000))
            assert memoryview(mem).cast("Q")[0] == 1000
    run(main(), 10)


def test_signals(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            mem = weft.alloc(4096)
            token = mem.grant(b, "rw")
            remote = a.remote(token)
            waits = [mem.signalled(token, n) for n in (1, 3, 5)]
            await remote.put_signal(b"first", 0)
            assert await waits[0] >= 1 and bytes(memoryview(mem)[:5]) == b"first"
            assert not waits[2].done()
            await remote.put_signal(b"second", 10, 2)
            assert await waits[1] >= 3 and bytes(memoryview(mem)[10:16]) == b"second"
            waits[2].cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits[2]
            assert await mem.signalled(token) == 3
    run(main())


@pytest.mark.parametrize("how, error", [("peer aborts", weft.ResetError), ("peer closes", weft.ClosedError),
                                        ("close", weft.ClosedError), ("abort", weft.ClosedError),
                                        ("revoke", weft.RevokedError), ("memory closes", weft.RevokedError)])
def test_signals_that_cannot_come_any_more_are_not_waited_for(run, transport, how, error):
    async def main():
        async with pair(transport) as (a, b):
            mem, told = weft.alloc(4096), weft.alloc(8)
            token, other = mem.grant(b, "rw"), told.grant(None, "rw")
            await a.remote(token).put_signal(b"x", 0, 2)
            assert await mem.signalled(token, 2) == 2
            wait, others = mem.signalled(token, 3), told.signalled(other)
            if how == "peer aborts":
                a.abort()
            elif how == "peer closes":
                await a.close()
            elif how == "close":
                await b.close()
            elif how == "abort":
                b.abort()
            elif how == "revoke":
                await mem.revoke(token)
            else:
                mem.close()
            with pytest.raises(error):
                await asyncio.wait_for(wait, 5)
            if how not in ("revoke", "memory closes"):
                assert await mem.signalled(token, 2) == 2
                with pytest.raises(error):
                    await mem.signalled(token, 3)
            assert not others.done()                 # whoever shows that token may still come
            others.cancel()
    run(main())


def test_rights_and_bounds(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            mem = weft.alloc(4096)
            reader, part = a.remote(mem.grant(b, "r")), a.remote(mem.grant(b, "rw", 1024, 512))
            await reader.get(bytearray(10))
            with pytest.raises(weft.AccessError) as info:
                await reader.put(b"x")
            assert isinstance(info.value, PermissionError)
            with pytest.raises(weft.AccessError):
                await reader.fetch_add(0, 1)
            await part.put(b"here", 508)
            with pytest.raises(weft.BoundsError):
                await part.put(b"there", 508)
            with pytest.raises(weft.BoundsError):
                await part.get(bytearray(8), 2**40)
            await a.flush()
            assert bytes(memoryview(mem)[1024 + 508:1024 + 512]) == b"here"
    run1(main())


def test_revoked_grants(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            for _, mem in memories(4096):
                token = mem.grant(b, "rw")
                remote = a.remote(token)
                await remote.put(b"before")
                await a.flush()
                await mem.revoke(token)
                with pytest.raises((weft.RevokedError, weft.AccessError)):
                    await remote.get(bytearray(6))
                with pytest.raises(KeyError):
                    mem.revoke(token)
                again = a.remote(mem.grant(b, "r"))
                into = bytearray(6)
                await again.get(into)
                assert into == b"before"
    run(main())


def test_a_grant_for_whoever_shows_the_token(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            mem = weft.alloc(100)
            token = mem.grant(None, "rw")
            await a.remote(token).put(b"me")
            await b.remote(token).put(b"too", 2)
            await asyncio.gather(a.flush(), b.flush())
            assert bytes(memoryview(mem)[:5]) == b"metoo"
            with pytest.raises(weft.Error):
                await a.remote(bytes(len(token))).get(bytearray(1))
    run1(main())


def test_memory_is_a_buffer(run1):
    mem = weft.alloc(4096)
    assert len(mem) == mem.nbytes == 4096 and bytes(mem) == bytes(4096)
    view = memoryview(mem)
    view[:3] = b"abc"
    assert bytes(memoryview(mem)[:3]) == b"abc" and not view.readonly
    with pytest.raises(BufferError, match="views"):
        mem.close()
    view.release()
    mem.close()
    assert mem.closed and "closed" in repr(mem)
    mem.close()
    with pytest.raises(ValueError, match="closed"):
        memoryview(mem)
    assert memoryview(weft.register(b"const")).readonly
    with weft.alloc(1) as one:
        assert len(one) == 1
    data = bytearray(10)
    mem = weft.register(data)
    with pytest.raises(BufferError):
        data.append(1)
    del mem
    gc.collect()
    data.append(1)


def test_numpy_lives_on_weft_memory(run1, transport):
    np = pytest.importorskip("numpy")

    async def main():
        async with pair(transport) as (a, b):
            x = np.frombuffer(weft.alloc(8 * 100000), dtype=np.float64)
            y = np.frombuffer(weft.alloc(8 * 100000), dtype=np.float64)
            x[:] = np.arange(100000)
            n, _ = await asyncio.gather(b.recv(y), a.send(x))
            assert n == 800000 and np.array_equal(x, y)
            gc.collect()
            x += 1
    run1(main())


def test_memory_that_is_dropped_while_granted(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            data = bytearray(100)
            mem = weft.register(data)
            remote = a.remote(mem.grant(b, "rw"))
            await remote.put(b"x")
            await a.flush()
            del mem
            for _ in range(10000):
                try:
                    data.append(0)
                    break
                except BufferError:
                    await asyncio.sleep(0)
            assert len(data) == 101
            with pytest.raises((weft.RevokedError, weft.AccessError)):
                await remote.get(bytearray(1))
            remote.close()
            with pytest.raises(ValueError, match="closed"):
                remote.put(b"x")
    run(main())
