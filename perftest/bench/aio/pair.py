#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""pair.py - measures one peer from Python: two pinned processes, the same loop for all of them.

    pair.py PEER TEST PATH SIZE SECONDS CPU CPU        PEER: a module of this folder

Process 0 measures, process 1 answers. The module's class Side connects them and has, in its own fastest words,

    trips(n)      n messages there and back, awaited one after the other;     echoes(n): the other side of it
    windows(n)    on both sides: n times WINDOW receives and as many sends under way, until all are over

TEST is one of

    lat     half a round trip. A sample is the mean of so many in a row that it lasts BATCH_S at least
    rate    messages that a side receives in a second, with windows()
    wake    half a round trip after GAP_S of silence, so that both sides sleep
    idle    CPU time of each process, in per cent of a core, while one waits for a message and the other for a timer

One line of JSON tells the result. Every test checks the bytes that came, once. Buffers are bytearrays (plain malloc), made
once and used again, where the peer can receive into a buffer at all.
"""
import asyncio
import importlib
import json
import os
import subprocess
import sys
import time

WINDOW = 64
BATCH_S = 200e-6
ROUND_S = 0.02
GAP_S = 0.0015
LIMIT_S = 60  # for anything to happen


class Pipes:
    """Words between the two processes, beside what is measured; a JSON value a line."""

    def __init__(self, read_fd, write_fd):
        self.read_fd, self.write_fd, self.rest = read_fd, write_fd, b""
        os.set_blocking(read_fd, False)

    async def tell(self, value):
        os.write(self.write_fd, json.dumps(value).encode() + b"\n")

    async def hear(self):
        loop = asyncio.get_running_loop()
        while b"\n" not in self.rest:
            ready = loop.create_future()
            loop.add_reader(self.read_fd, lambda: ready.done() or ready.set_result(None))
            try:
                await asyncio.wait_for(ready, LIMIT_S)
            finally:
                loop.remove_reader(self.read_fd)
            more = os.read(self.read_fd, 65536)
            if not more:
                raise SystemExit("the other process is gone")
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)


def buffers(size, me):
    """A message to send, and room for one."""
    return bytearray(pattern(size, me)), bytearray(size)


def pattern(size, me):
    return (bytes((me + 1 + i) & 255 for i in range(251)) * (size // 251 + 1))[:size]


def check(got, size, me):
    """@got is what the other process sends."""
    if bytes(got) != pattern(size, 1 - me):
        raise SystemExit(f"{size} bytes came wrong to process {me}")


# ---- the measuring process -------------------------------------------------------------------------------------------


async def sample_trips(side, talk, count, batch):
    """Seconds for each trip, of batches; the first trip finds the other side on its way and does not count."""
    clock, samples = time.perf_counter, []
    await talk.tell(["echoes", count + 1])
    await side.trips(1)
    done = 0
    while done < count:
        n = min(batch, count - done)
        start = clock()
        await side.trips(n)
        samples.append((clock() - start) / n)
        done += n
    return samples


async def measure_lat(side, talk, size, seconds):
    count, end, best = 1, time.perf_counter() + 1, float("inf")
    while True:
        took = await sample_trips(side, talk, count, count)
        best = min(best, *took)
        if best * count >= ROUND_S / 2 or time.perf_counter() > end:
            break
        count *= 2
    batch = min(count, int(BATCH_S / best) + 1)
    samples, end = [], time.perf_counter() + seconds
    while not samples or time.perf_counter() < end:
        samples += await sample_trips(side, talk, count, batch)
    return {**one_way(samples), "batch": batch, "iterations": len(samples) * batch}


async def measure_wake(side, talk, size, seconds):
    samples, count = [], max(3, int(seconds / (2 * GAP_S)))
    await talk.tell(["echoes", count + 1])
    await side.trips(1)
    for _ in range(count):
        await asyncio.sleep(GAP_S)
        start = time.perf_counter()
        await side.trips(1)
        samples.append(time.perf_counter() - start)
    return {**one_way(samples), "iterations": count, "gap_ms": GAP_S * 1e3}


async def measure_rate(side, talk, size, seconds):
    count, rates, end = 1, [], time.perf_counter() + 1
    while True:
        took = await sample_windows(side, talk, count)
        if took >= ROUND_S / 2 or time.perf_counter() > end:
            break
        count *= 2
    end = time.perf_counter() + seconds
    while not rates or time.perf_counter() < end:
        rates.append(count * WINDOW / (await sample_windows(side, talk, count)))
    rates.sort()
    return {"rate_Mps": rates[len(rates) // 2] / 1e6, "window": WINDOW, "rounds": len(rates)}


async def sample_windows(side, talk, count):
    await talk.tell(["windows", count])
    await talk.hear()
    start = time.perf_counter()
    await side.windows(count)
    return time.perf_counter() - start


async def measure_idle(side, talk, size, seconds):
    await talk.tell(["idle", 1])
    await talk.hear()
    here = await cpu_share(asyncio.sleep(seconds))
    await side.trips(1)
    return {"idle_pct": [here, await talk.hear()], "seconds": seconds}


async def cpu_share(something):
    cpu, wall = time.process_time(), time.perf_counter()
    await something
    return 100 * (time.process_time() - cpu) / (time.perf_counter() - wall)


def one_way(trips):
    trips = sorted(trips)
    n = len(trips)
    return {"lat_us": {"min": trips[0] * 5e5, "p50": trips[n // 2] * 5e5, "p99": trips[n - 1 - n // 100] * 5e5}}


# ---- both ------------------------------------------------------------------------------------------------------------


async def obey(side, talk):
    while True:
        what, count = await talk.hear()
        if what == "quit":
            return
        if what == "echoes":
            await side.echoes(count)
        elif what == "windows":
            await talk.tell("ready")
            await side.windows(count)
        else:
            await talk.tell("ready")
            await talk.tell(await cpu_share(side.echoes(count)))


async def play(side, talk, me, test, path, size, seconds):
    side.size = size
    await asyncio.wait_for(side.start(me, talk, path), LIMIT_S)
    if me:
        await obey(side, talk)
    else:
        measure = {"lat": measure_lat, "rate": measure_rate, "wake": measure_wake, "idle": measure_idle}[test]
        result = await measure(side, talk, size, seconds)
        await talk.tell(["quit", 0])
    if side.got is not None:
        check(side.got, size, me)
    await side.close()
    if not me:
        print(json.dumps({"size": size, **result}), flush=True)


def main():
    peer, test, path, size, seconds, *cpus = sys.argv[1:8]
    fds = sys.argv[8:]
    module = importlib.import_module(f"{peer.partition('-')[0]}_side")
    launched = getattr(module, "rank", lambda: None)()  # by somebody's launcher, which gave us a number
    me = launched if launched is not None else int(bool(fds))
    os.sched_setaffinity(0, {int(cpus[me])})
    other = None
    if launched is not None:
        talk = module.Talk()
    elif fds:
        talk = Pipes(int(fds[0]), int(fds[1]))
    else:
        (ours_r, theirs_w), (theirs_r, ours_w) = os.pipe(), os.pipe()
        fds = [theirs_r, theirs_w, *getattr(module, "descriptors", list)()]
        other = subprocess.Popen([sys.executable, *sys.argv, *map(str, fds)], pass_fds=fds)
        os.close(theirs_r)
        os.close(theirs_w)
        talk = Pipes(ours_r, ours_w)
    side = module.Side(peer, [int(fd) for fd in fds[2:]])
    run = getattr(module, "run", asyncio.run)
    run(play(side, talk, me, test, path, int(size), float(seconds)))
    if other is not None and other.wait(LIMIT_S):
        raise SystemExit("the other process failed")


if __name__ == "__main__":
    main()
