#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""cluster.py SCHEME FOLDER IDLE_S REPEATS NAME=MIB.. - workloads, and what a cluster takes that has nothing to do.

Four processes: a scheduler, a client, two workers of one thread each. Each workload of docs/examples/dask/workloads.py runs once
untimed, for all that is imported and connected by the first, and REPEATS times timed; its figure is the median, in seconds from
data that lies ready on the workers to the result. Then nothing happens for IDLE_S, and the figures are CPU time in per cent of
a core, of the scheduler and of a worker (the mean of both). All connections that the workloads made are open meanwhile.
"""
import os
import statistics
import sys
import time
from pathlib import Path

import procs

sys.path.insert(0, str(procs.BENCH.parent.parent / "docs/examples/dask"))

WORKERS = 2
LIMIT_S = 60
SETTLE_S = 1


def address_of(folder):
    """The scheduler's, as soon as it has told it."""
    until = time.monotonic() + LIMIT_S
    while not (folder / "scheduler").exists():
        if time.monotonic() > until:
            raise SystemExit(f"no scheduler after {LIMIT_S} s")
        time.sleep(procs.LOOK_S)
    return (folder / "scheduler").read_text()


async def scheduler(scheme, folder):
    from distributed import Scheduler

    async with Scheduler(protocol=procs.protocol(scheme), host=procs.HOST, port=0, dashboard=False, dashboard_address=":0") as s:
        (folder / "scheduler.new").write_text(s.address)
        os.rename(folder / "scheduler.new", folder / "scheduler")
        await s.finished()


async def worker(scheme, folder, name):
    from distributed import Worker

    here, address = procs.protocol(scheme), address_of(folder)   # in this order: MPI_Init() waits for all ranks
    async with Worker(address, nthreads=1, name=name, memory_limit=0, host=procs.HOST, protocol=here, dashboard=False,
                      local_directory=str(folder)) as w:
        await w.finished()


def cpu_s(pid):
    """What all threads of a process have used, to the nanosecond; /proc/PID/stat counts in hundredths of a second."""
    used = [p.read_text().split()[0] for p in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(map(int, used)) / 1e9


def measure_idle(client, folder, seconds):
    pids = [client.run_on_scheduler(os.getpid), *client.run(os.getpid).values()]
    time.sleep(SETTLE_S)
    start, before = time.perf_counter(), [cpu_s(p) for p in pids]
    time.sleep(seconds)
    wall = time.perf_counter() - start
    first, *others = [100 * (cpu_s(p) - b) / wall for p, b in zip(pids, before, strict=True)]
    mean = statistics.mean(others)
    for figure, value in (("idle scheduler", first), ("idle worker", mean), ("idle both", first + mean)):
        procs.note(folder, figure=figure, value=value)


def measure_workload(run, client, folder, name, mib, repeats):
    runs = [run(name, mib, client) for _ in range(1 + repeats)]
    procs.note(folder, figure=f"wall {name}", value=statistics.median(seconds for seconds, _, _ in runs[1:]), result=runs[0][2])


def client(scheme, folder, idle_s, repeats, loads):
    import dask
    from distributed import Client

    import workloads

    procs.protocol(scheme)
    address = address_of(folder)
    with dask.config.set(workloads.P2P), Client(address, timeout=LIMIT_S) as c:
        c.wait_for_workers(WORKERS, timeout=LIMIT_S)
        for one in loads:
            name, _, mib = one.partition("=")
            measure_workload(workloads.run, c, folder, name, int(mib), repeats)
        if idle_s:
            measure_idle(c, folder, idle_s)
        procs.note(folder, done=True)
        time.sleep(LIMIT_S)   # ended from outside: some schemes have no close that ends


def main():
    scheme, folder, idle_s, repeats, *loads = sys.argv[1:]
    me, folder = procs.rank(), Path(folder)
    procs.die_in_time()
    if me is None:
        sys.exit(procs.spawn(2 + WORKERS))
    if me == 1:
        client(scheme, folder, float(idle_s), int(repeats), loads)
    else:
        procs.run(scheme, worker(scheme, folder, me) if me else scheduler(scheme, folder))


if __name__ == "__main__":
    main()
