# SPDX-License-Identifier: BSD-3-Clause
"""kill -9 of a worker while it takes part in a peer-to-peer shuffle: noticed at once, and the shuffle begins again, as over tcp."""
import asyncio
import os
import time

import dask
import pytest
from conftest import LIMIT, kill_dead
from distributed import Client, Nanny, Scheduler

pytestmark = pytest.mark.usefixtures("descriptors")
ROWS, PARTS = 100_000, 8                      # of 32 bytes: 25 MiB, and the last part does not come before the gate opens


def frame(gate):
    dd = pytest.importorskip("dask.dataframe", reason="dask.dataframe is not installed")
    import numpy as np
    import pandas as pd

    def part(i):
        until = time.monotonic() + LIMIT
        while i == PARTS - 1 and not os.path.exists(gate):
            assert time.monotonic() < until, "nobody opened the gate"
            time.sleep(0.01)
        keys = np.arange(ROWS) * PARTS + i
        return pd.DataFrame({"key": keys % 1009, "x": keys * 0.5, "y": keys, "z": -keys})

    made = dd.from_map(part, range(PARTS), meta=pd.DataFrame({"key": [0], "x": [0.0], "y": [0], "z": [0]}))
    # one row for each partition: how many rows it has, and how many keys, of which no other partition has one
    return made.shuffle("key").map_partitions(lambda p: pd.DataFrame({"rows": [len(p)], "keys": [p["key"].nunique()], "sum": [p["y"].sum()]}),
                                              meta={"rows": int, "keys": int, "sum": int}).sum()


def shuffling(dask_worker):
    """On a worker: the bytes that it has received for a shuffle that is not over, and the shuffle's run."""
    runs = list(dask_worker.plugins["shuffle"].shuffle_runs._active_runs.values())
    return [(run.total_recvd, run.run_id) for run in runs if not run.transferred and not run.closed]


async def amid_shuffle(client, address):
    """Waits until that worker has received a part of it: the number of the run."""
    until = time.monotonic() + LIMIT
    while True:
        for received, run_id in (await client.run(shuffling, workers=[address]))[address]:
            if received:
                return run_id
        assert time.monotonic() < until, "no shuffle"


@pytest.mark.parametrize("scheme", ["weft", pytest.param("tcp", marks=pytest.mark.long)])
def test_a_worker_that_is_killed_in_a_shuffle_is_noticed_within_a_second(tmp_path, scheme, capsys):
    gate = tmp_path / "open"

    async def body():
        async with Scheduler(protocol=scheme, host="127.0.0.1", port=0, dashboard=False) as s:
            here = dict(nthreads=2, local_directory=str(tmp_path), host="127.0.0.1")
            async with Nanny(s.address, **here), Nanny(s.address, **here) as victim, Client(s.address, asynchronous=True) as c:
                await c.wait_for_workers(2, timeout=LIMIT)
                address = victim.worker_address
                future = c.compute(frame(str(gate)))
                run_id = await amid_shuffle(c, address)
                plugin = s.plugins["shuffle"]
                (shuffle,) = plugin.active_shuffles
                assert address in plugin.active_shuffles[shuffle].participating_workers
                began = kill_dead(victim.process.process.pid)
                while address in s.workers:
                    assert time.monotonic() < began + 1
                    await asyncio.sleep(0.001)
                noticed = time.monotonic() - began
                gate.touch()
                got = await future
                assert dict(got) == {"rows": ROWS * PARTS, "keys": 1009, "sum": sum(range(ROWS * PARTS))}
                assert plugin._shuffles[shuffle] and max(state.run_id for state in plugin._shuffles[shuffle]) > run_id
                return noticed

    with dask.config.set({"dataframe.shuffle.method": "p2p"}):
        noticed = asyncio.run(asyncio.wait_for(body(), 2 * LIMIT))
    with capsys.disabled():
        print(f"[{scheme}: noticed after {1000 * noticed:.0f} ms] ", end="")
