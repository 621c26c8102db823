# SPDX-License-Identifier: BSD-3-Clause
"""What `make demo` shows, in two acts.

1. Two processes exchange NumPy arrays over shared memory and over TCP, checked bit for bit; a table and a plot of latency
   and bandwidth.
2. Four processes solve the heat equation on a square plate, each a strip of it; every step they exchange the rows where
   their strips touch through `await ep.send()` and `await ep.recv()`. The result equals plain NumPy's in one process.

The pictures lie in build/demo.
"""
import asyncio
import os
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
from tqdm import tqdm

import weft

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

OUT = Path(os.environ.get("WEFT_PERF_BUILD", "build")) / "demo"
SIZES = [8, 64, 512, 4096, 32768, 262144, 1 << 20, 4 << 20, 16 << 20]
STRIPS, SIDE, STEPS = 4, 512, 1500
UP, DOWN, PROGRESS, RESULT = 1, 2, 3, 4  # tags


def start(role, *args):
    """Another process that runs this file."""
    return asyncio.create_subprocess_exec(sys.executable, __file__, role, *map(str, args))


# ---- act 1: two processes, NumPy arrays ----------------------------------------------------------------------------


async def echo(url):
    """Sends back what it gets, until the peer closes."""
    async with await weft.connect(url) as ep:
        room = np.empty(max(SIZES), np.uint8)
        try:
            while True:
                n = await ep.recv(room)
                await ep.send(room[:n])
        except weft.ClosedError:
            pass


async def measure(ep, size):
    """One way latency in seconds: the best of several turns. Every array is random and compared bit by bit."""
    rng = np.random.default_rng(size)
    back = np.empty(size, np.uint8)
    array = rng.integers(0, 256, size, dtype=np.uint8)
    rounds = max(5, min(1000, (16 << 20) // size))
    best = float("inf")
    for _ in range(3):
        for _ in range(3):
            fresh = rng.integers(0, 256, size, dtype=np.uint8)
            await ep.send(fresh)
            n = await ep.recv(back)
            if n != size or not np.array_equal(fresh, back):
                raise SystemExit(f"an array of {size} bytes came back changed")
        begun = time.perf_counter()
        for _ in range(rounds):
            await ep.send(array)
            await ep.recv(back)
        best = min(best, (time.perf_counter() - begun) / rounds / 2)
        if not np.array_equal(array, back):
            raise SystemExit(f"an array of {size} bytes came back changed")
    return best


async def exchange(transport):
    accepted = asyncio.get_running_loop().create_future()
    async with await weft.listen(accepted.set_result, "weft://127.0.0.1:0", transports=transport) as listener:
        other = await start("echo", listener.url)
        async with await accepted as ep:
            print("\n" + ep.explain().splitlines()[1].strip())
            result = [await measure(ep, size) for size in SIZES]
        if await other.wait():
            raise SystemExit("the other process failed")
    return result


def human(size):
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} GiB"


def plot_exchange(results):
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for transport, times in results.items():
        left.loglog(SIZES, np.array(times) * 1e6, "o-", label=transport)
        right.semilogx(SIZES, np.array(SIZES) / np.array(times) / 1e9, "o-", label=transport)
    left.set(xlabel="bytes", ylabel="µs one way", title="latency")
    right.set(xlabel="bytes", ylabel="GB/s", title="bandwidth, one array at a time")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle("NumPy arrays between two processes, through await ep.send() and await ep.recv()")
    figure.savefig(OUT / "exchange.png", dpi=110)


async def first_act():
    print("1. Two processes exchange NumPy arrays; every one is compared bit by bit.")
    results = {transport: await exchange(transport) for transport in ("shm", "tcp")}
    print(f"\n{'size':>8}  {'shm µs':>9} {'shm GB/s':>9}  {'tcp µs':>9} {'tcp GB/s':>9}")
    for i, size in enumerate(SIZES):
        shm, tcp = results["shm"][i], results["tcp"][i]
        print(f"{human(size):>8}  {shm * 1e6:9.2f} {size / shm / 1e9:9.2f}  {tcp * 1e6:9.2f} {size / tcp / 1e9:9.2f}")
    plot_exchange(results)
    print(f"all arrays came back unchanged; plot: {OUT / 'exchange.png'}")


# ---- act 2: heat on a plate, four processes --------------------------------------------------------------------------


def plate():
    """Hot left edge, a hot spot, the rest cold; the border keeps its temperature."""
    u = np.zeros((SIDE, SIDE))
    u[:, 0] = 100.0
    y, x = np.ogrid[:SIDE, :SIDE]
    u[(x - SIDE * 0.6) ** 2 + (y - SIDE * 0.4) ** 2 < (SIDE / 10) ** 2] = 80.0
    return u


def step(u, new):
    """One step of explicit Euler for everything but the border of @u."""
    mid = u[1:-1, 1:-1]
    new[1:-1, 1:-1] = mid + 0.24 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4.0 * mid)


def serial():
    u = plate()
    new = u.copy()
    for _ in range(STEPS):
        step(u, new)
        u, new = new, u
    return u


async def strip(rank, conductor):
    """Rows of the plate with one row of each neighbour's around them."""
    neighbours = {}
    loop = asyncio.get_running_loop()
    from_below = loop.create_future()
    async with await weft.connect(conductor) as home, await weft.listen(from_below.set_result, "weft://127.0.0.1:0") as l:
        await home.send_obj((rank, l.url))
        above = await home.recv_obj()                # the URL of the strip above
        if above:
            neighbours[UP] = await weft.connect(above)
        if rank < STRIPS - 1:
            neighbours[DOWN] = await from_below
        rows = np.array_split(np.arange(SIDE), STRIPS)[rank]
        u = plate()[max(rows[0] - 1, 0):rows[-1] + 2]
        new = u.copy()
        for k in range(STEPS):
            halo = []
            if up := neighbours.get(UP):
                halo += [up.recv(u[0], DOWN), up.send(u[1], UP)]
            if down := neighbours.get(DOWN):
                halo += [down.recv(u[-1], UP), down.send(u[-2], DOWN)]
            for op in halo:                          # posted all at once; this only waits
                await op
            step(u, new)
            u, new = new, u
            if rank == 0 and (k + 1) % 25 == 0:
                await home.send((k + 1).to_bytes(4, "little"), PROGRESS)
        mine = u[1 if rank else 0:(1 if rank else 0) + len(rows)]
        await home.send(np.ascontiguousarray(mine), RESULT)
        await home.flush()
        await asyncio.gather(*[ep.close() for ep in neighbours.values()])


async def watch(ep):
    step_reached = bytearray(4)
    with tqdm(total=STEPS, desc=f"{STRIPS} processes", unit="step", mininterval=0.2) as bar:
        while bar.n < STEPS - STEPS % 25:
            await ep.recv(step_reached, PROGRESS)
            bar.update(int.from_bytes(step_reached, "little") - bar.n)


async def conduct():
    """Introduces the strips to one another and collects what they made."""
    peers, complete = {}, asyncio.Event()

    async def meet(ep):
        rank, url = await ep.recv_obj()
        peers[rank] = ep, url
        if len(peers) == STRIPS:
            complete.set()

    async with await weft.listen(meet, "weft://127.0.0.1:0") as listener:
        processes = [await start("strip", rank, listener.url) for rank in range(STRIPS)]
        await asyncio.wait_for(complete.wait(), 60)
        result = np.empty((SIDE, SIDE))
        parts = np.array_split(result, STRIPS)       # views
        begun = time.perf_counter()
        ops = [peers[rank][0].recv(parts[rank], RESULT) for rank in range(STRIPS)]
        for rank in range(STRIPS):
            await peers[rank][0].send_obj(peers[rank - 1][1] if rank else None)
        await asyncio.gather(watch(peers[0][0]), *ops)
        took = time.perf_counter() - begun
        if any([await p.wait() for p in processes]):
            raise SystemExit("a strip failed")
        await asyncio.gather(*[ep.close() for ep, _ in peers.values()])
    return result, took


def plot_heat(result):
    figure, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for ax, u, title in zip(axes, (plate(), result), ("start", f"after {STEPS} steps")):
        image = ax.imshow(u, cmap="inferno", vmin=0, vmax=100)
        ax.set(title=title, xticks=[], yticks=[])
        for rows in np.array_split(np.arange(SIDE), STRIPS)[1:]:
            ax.axhline(rows[0] - 0.5, color="white", lw=0.5, alpha=0.5)
    figure.colorbar(image, ax=axes, label="temperature")
    figure.suptitle(f"heat on a plate; white: where the strips of {STRIPS} processes touch")
    figure.savefig(OUT / "heat.png", dpi=110)


async def second_act():
    print(f"\n2. The heat equation on {SIDE} x {SIDE} points, {STEPS} steps, {STRIPS} processes that exchange their halos.")
    result, took = await conduct()
    begun = time.perf_counter()
    alone = serial()
    alone_took = time.perf_counter() - begun
    if not np.array_equal(result, alone):
        raise SystemExit("the result differs from that of NumPy in one process")
    print(f"{STRIPS} processes: {took:.2f} s; NumPy in one process: {alone_took:.2f} s; the results are equal, bit for bit")
    plot_heat(result)
    print(f"plot: {OUT / 'heat.png'}")


async def main():
    OUT.mkdir(parents=True, exist_ok=True)
    await first_act()
    await second_act()


if __name__ == "__main__":
    if sys.argv[1:2] == ["echo"]:
        asyncio.run(echo(sys.argv[2]))
    elif sys.argv[1:2] == ["strip"]:
        asyncio.run(strip(int(sys.argv[2]), sys.argv[3]))
    else:
        asyncio.run(main())
