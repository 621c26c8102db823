#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A Dask cluster over weft that computes the sum of an array and its transpose, whose blocks must move between two workers.

  dask_sum.py serve HOST           a scheduler, at port 8786, and a worker, both here
  dask_sum.py join HOST OWN_HOST   another worker and a client, both here

join prints one JSON line: whether the sum is right, the way of each connection between the workers, in words, and the
counters of each process that holds one."""
import asyncio
import json
import sys

import dask
import dask.array as da
import numpy as np
from distributed import Client, Scheduler, Worker

import weft

N, PIECES = 400, 4
LIMIT = "300s"                           # for everything: an emulated machine has its time
dask.config.set({f"distributed.{k}": LIMIT for k in ("comm.timeouts.connect", "comm.timeouts.tcp", "scheduler.worker-ttl", "deploy.lost-worker-timeout")})
dask.config.set({"distributed.dashboard.link": "", "distributed.comm.retry.count": 3})


def look(dask_worker):
    """What a worker says of its connections to others."""
    pool = dask_worker.rpc
    ways = [c.extra_info.get("weft") for comms in [*pool.available.values(), *pool.occupied.values()] for c in comms]
    return {"ways": ways, "stats": json.loads(weft.stats())}


async def report(client):
    await client.wait_for_workers(2)
    numbers = np.arange(N * N, dtype=float).reshape(N, N)
    x = client.persist(da.from_array(numbers, chunks=N // PIECES))   # some of it on each
    got = await client.compute((x + x.T).sum())
    print(json.dumps({"right": bool(got == 2 * numbers.sum()), "workers": await client.run(look)}), flush=True)


async def serve(host):
    async with Scheduler(host=host, port=8786, protocol="weft://", dashboard=False) as s:
        async with Worker(s.address, host=host, nthreads=1, dashboard=False):
            await s.finished()


async def join(host, own):
    at = f"weft://{host}:8786"
    async with Worker(at, host=own, nthreads=1, dashboard=False), Client(at, asynchronous=True) as client:
        await report(client)
        await client.shutdown()


if __name__ == "__main__":
    asyncio.run({"serve": serve, "join": join}[sys.argv[1]](*sys.argv[2:]))
