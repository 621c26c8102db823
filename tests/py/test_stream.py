# SPDX-License-Identifier: BSD-3-Clause
"""The byte stream of an endpoint."""
import asyncio
import random

import pytest

from conftest import pair


def test_bytes_arrive_in_order(run, transport):
    async def main():
        rng = random.Random(1)
        data = rng.randbytes(5_000_000)
        async with pair(transport) as (a, b):
            async def writer():
                at = 0
                while at < len(data):
                    n = rng.choice([1, 10, 1000, 100000, 900000])
                    await a.write(data[at:at + n])
                    at += n
            task = asyncio.create_task(writer())
            got = bytearray()
            while len(got) < len(data):
                got += await b.read(rng.choice([1, 100, 70000]))
            await task
            assert got == data
    run(main())


def test_readexactly_and_readinto(run, transport):
    async def main():
        async with pair(transport) as (a, b):
            op = b.readexactly(10)
            await a.write(b"12345")
            await a.write([b"67", b"890", b"abc"])
            assert await op == b"1234567890"
            into = bytearray(3)
            assert await b.readinto(into) == 3 and into == b"abc"
            assert await b.read(0) == b"" and await b.readexactly(0) == b""
            big = bytearray(3_000_000)
            n, _ = await asyncio.gather(b.readinto(big), a.write(b"z" * 3_000_000))
            assert n == 3_000_000 and big == b"z" * 3_000_000
    run(main())


def test_the_end_of_the_stream(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            await a.write(b"last words")
            await a.close()
            assert await b.readexactly(4) == b"last"
            with pytest.raises(asyncio.IncompleteReadError) as info:
                await b.readexactly(100)
            assert info.value.partial == b" words" and info.value.expected == 100
            assert await b.read(10) == b""
            assert await b.read(10) == b""
    run1(main())


def test_a_slow_reader_holds_the_writer_back(run1, transport):
    async def main():
        async with pair(transport) as (a, b):
            ops = [a.write(bytes(1 << 20)) for _ in range(30)]
            for _ in range(200):
                await asyncio.sleep(0)
            assert not ops[-1].done()
            left = 30 << 20
            while left:
                left -= len(await b.read(1 << 20))
            await asyncio.gather(*ops)
    run1(main())
