#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Numbered messages of changing sizes, both ways at once, and puts and gets of granted memory beside them, for some seconds. Every byte
is compared, so that what is lost, doubled or out of order is found. What happens to the network meanwhile is the test's.

  traffic.py serve ADDRESS:PORT     serves one peer
  traffic.py go ADDRESS:PORT S      for S seconds, and two windows of messages and one round of memory at least: wires may be slow
  ... long                          only puts that are not done at once: others cannot be sent again when an adapter gives up

Each prints one JSON line at its end: how many messages it received, how many times it wrote and read memory, and what explain says
of the endpoint then; or the error that ended it, and when. The file that TRAFFIC_FLOWS names is made when messages flow. With TRAFFIC_PAUSE=FILE
all is done twice, and between them nothing is under way: then FILE.paused is made, and FILE waited for."""
import asyncio
import json
import os
import random
import sys
import time

import weft

WINDOW, MEMORY = 16, 100_000
SIZES = [0, 8, 100, 1000, 5000, 9000, 40000, 200_000]
PUTS = [16_000, MEMORY] if sys.argv[-1] == "long" else [8, 4000, MEMORY]
END = b"END"                             # of no other message's length


def message(number):
    size = random.Random(number).choice(SIZES)
    return (number.to_bytes(8, "little") * (size // 8 + 1))[:size]


async def send_all(ep, until):
    number = 0
    while time.monotonic() < until or number < 2 * WINDOW:
        await asyncio.gather(*[ep.send(message(number + i), tag=1) for i in range(WINDOW)])
        number += WINDOW
    await ep.send(END, tag=1, sync=True)


async def recv_all(ep, counts):
    buf, number = bytearray(max(SIZES)), 0
    while (size := await ep.recv(buf, tag=1)) != len(END):
        expected = message(number)
        assert buf[:size] == expected, f"message {number}: {size} bytes instead of {len(expected)}, {bytes(buf[:16])}"
        number += 1
        counts["messages"] += 1
        if counts["messages"] == 64 and "TRAFFIC_FLOWS" in os.environ:
            open(os.environ["TRAFFIC_FLOWS"], "w").close()


async def use_memory(remote, ep, until, counts):
    back, begin = bytearray(MEMORY), counts["memory"]
    while time.monotonic() < until or counts["memory"] == begin:
        size = random.choice(PUTS)
        data = counts["memory"].to_bytes(8, "little") * (size // 8)
        await remote.put(data, 0)
        await ep.flush()
        await remote.get(memoryview(back)[:size], 0)
        assert back[:size] == data, f"round {counts['memory']}: memory is not what was put there"
        counts["memory"] += 1


async def pause(file):
    open(f"{file}.paused", "w").close()
    while not os.path.exists(file):
        await asyncio.sleep(0.05)


async def talk(ep, seconds, counts):
    mem = weft.alloc(MEMORY)
    token = mem.grant(ep, "rw")
    _, theirs = await asyncio.gather(ep.send_obj((seconds, token)), ep.recv_obj())
    remote, file = ep.remote(theirs[1]), os.environ.get("TRAFFIC_PAUSE")
    for part in range(2 if file else 1):
        if part:
            await pause(file)
        until = time.monotonic() + (seconds or theirs[0])
        await asyncio.gather(send_all(ep, until), recv_all(ep, counts), use_memory(remote, ep, until, counts))
    counts["explain"] = ep.explain()   # before the peer may close
    await asyncio.gather(ep.send(b"done", tag=3), ep.recv(bytearray(4), tag=3))


async def side(ep, seconds):
    counts, began = {"messages": 0, "memory": 0}, time.monotonic()
    counts["first"] = ep.explain().split("\n")[1].strip()
    try:
        async with asyncio.timeout(seconds + 100 if seconds else None):
            await talk(ep, seconds, counts)
            if seconds:
                await ep.close()
    except (weft.Error, TimeoutError) as exc:
        counts |= {"error": str(exc) or "stuck", "after": time.monotonic() - began, "explain": ep.explain()}
    print(json.dumps(counts), flush=True)
    return "error" in counts


async def serve(at):
    ended = asyncio.get_running_loop().create_future()

    async def one(ep):
        try:
            ended.set_result(await side(ep, 0))
        except BaseException as exc:
            ended.set_exception(exc)

    async with await weft.listen(one, f"weft://{at}"):
        return await ended


async def go(at, seconds):
    for _ in range(100):
        try:
            ep = await weft.connect(f"weft://{at}")
            break
        except weft.Error:
            await asyncio.sleep(0.1)
    else:
        sys.exit("traffic: nobody listens there")
    return await side(ep, seconds)


if sys.argv[1] == "serve":
    sys.exit(asyncio.run(serve(sys.argv[2])))
sys.exit(asyncio.run(go(sys.argv[2], float(sys.argv[3]))))
