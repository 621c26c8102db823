# SPDX-License-Identifier: BSD-3-Clause
"""Ping-pong between two processes: python3 pingpong.py [transports] [rounds]"""
import asyncio
import sys
import time

import weft

TRANSPORTS = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] != "--pong" else None
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[1] != "--pong" else 10000


async def ping():
    done = asyncio.Event()

    async def play(ep):
        ball = bytearray(8)
        start = time.perf_counter()
        for i in range(ROUNDS):
            await ep.send(i.to_bytes(8, "little"))
            await ep.recv(ball)
            assert int.from_bytes(ball, "little") == i
        took = time.perf_counter() - start
        print(ep.explain().splitlines()[1].strip())
        print(f"{ROUNDS} rounds, {took / ROUNDS / 2 * 1e6:.2f} us one way")
        await ep.close()
        done.set()

    async with await weft.listen(play, "weft://127.0.0.1:0", transports=TRANSPORTS) as listener:
        other = await asyncio.create_subprocess_exec(sys.executable, __file__, "--pong", listener.url)
        await done.wait()
        assert await other.wait() == 0


async def pong(url):
    async with await weft.connect(url) as ep:
        ball = bytearray(8)
        try:
            while True:
                await ep.recv(ball)
                await ep.send(ball)
        except weft.ClosedError:
            pass


if len(sys.argv) > 1 and sys.argv[1] == "--pong":
    asyncio.run(pong(sys.argv[2]))
else:
    asyncio.run(ping())
