#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Five things that people compute with Dask, between whose workers much data moves:

  transpose   sum of an array and its transpose (of MPI4Dask's paper, with NumPy)
  merge       two data frames joined by a key that both workers hold parts of (the same, with pandas)
  shuffle     a data frame sorted into partitions by a key, peer to peer
  xarray      mean by month of labelled data that is cut by place and wanted by time
  svd         singular values of a tall array

  python workloads.py NAME --protocol weft     (or tcp, or ucxx where that is installed)

--check compares with what one process computes by itself. Printed: seconds and bytes that were computed on, as JSON."""
import argparse
import json
import time

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait


def transpose(mib):
    n = int((mib * 2**20 / 8) ** 0.5)
    x = da.random.default_rng(1).random((n, n), chunks=(n // 4, n // 4))
    return x.nbytes, [x], lambda x: (x + x.T).sum()


def merge(mib):
    import dask.dataframe as dd
    import pandas as pd

    rows, parts = mib * 2**20 // 32, 8

    def part(i, name):
        keys = np.random.default_rng(i).permutation(rows // parts) * parts + i
        return pd.DataFrame({"key": keys, name: keys * 0.5})

    left = dd.from_map(part, range(parts), name="x", meta=part(0, "x").iloc[:0])
    right = dd.from_map(part, range(parts), name="y", meta=part(0, "y").iloc[:0])
    return rows * 32, [left, right], lambda a, b: a.merge(b, on="key")[["x", "y"]].sum().sum()


def shuffle(mib):
    import dask.dataframe as dd
    import pandas as pd

    rows, parts = mib * 2**20 // 32, 8

    def part(i):
        r = np.random.default_rng(i)
        return pd.DataFrame({"key": r.integers(0, 1000, rows // parts), **{c: r.random(rows // parts) for c in "abc"}})

    frame = dd.from_map(part, range(parts), meta=part(0).iloc[:0])
    # how much each partition holds, and of what, does depend on where rows went
    return rows * 32, [frame], lambda f: f.shuffle("key").map_partitions(
        lambda p: pd.DataFrame({"n": [len(p)], "sum": [p[["a", "b", "c"]].to_numpy().sum() * (1 + p["key"].nunique() * 1e-6)]}),
        meta={"n": int, "sum": float}).sum().sum()


def by_month(mib):
    import pandas as pd
    import xarray as xr

    days, places = 730, int(mib * 2**20 / 8 / 730)
    values = da.random.default_rng(2).random((days, places), chunks=(days // 8, -1))
    data = xr.DataArray(values, dims=("time", "place"), coords={"time": pd.date_range("2020-01-01", periods=days)})

    def compute(values):
        means = data.copy(data=values).chunk(time=-1, place=places // 8).groupby("time.month").mean()
        return (means.data * np.arange(1, 13)[:, None]).sum()

    return values.nbytes, [values], compute


def svd(mib):
    columns = 64
    rows = mib * 2**20 // 8 // columns
    x = da.random.default_rng(3).random((rows, columns), chunks=(rows // 16, columns))
    return x.nbytes, [x], lambda x: da.linalg.svd(x)[1].sum()


WORKLOADS = {"transpose": transpose, "merge": merge, "shuffle": shuffle, "xarray": by_month, "svd": svd}
P2P = {"dataframe.shuffle.method": "p2p", "array.rechunk.method": "p2p"}


def run(name, mib, client):
    """Seconds from data that lies ready on the workers to the result, bytes, the result."""
    nbytes, data, compute = WORKLOADS[name](mib)
    data = client.persist(data)
    wait(data)
    start = time.perf_counter()
    result = float(client.compute(compute(*data)).result())
    return time.perf_counter() - start, nbytes, result


def alone(name, mib):
    """What one process computes."""
    _, data, compute = WORKLOADS[name](mib)
    with dask.config.set(scheduler="synchronous", **{"dataframe.shuffle.method": "tasks", "array.rechunk.method": "tasks"}):
        return float(compute(*data).compute())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("name", choices=WORKLOADS)
    p.add_argument("--protocol", default="weft")
    p.add_argument("--scheduler", help="one that runs, in place of a cluster on this machine")
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--mib", type=int, default=64, help="size of the data (%(default)s)")
    p.add_argument("--repeats", type=int, default=1)
    p.add_argument("--check", action="store_true")
    o = p.parse_args()
    where = o.scheduler or LocalCluster(protocol=f"{o.protocol}://", n_workers=o.workers, threads_per_worker=1, dashboard_address=":0",
                                        memory_limit=0, host=None if o.protocol == "ucxx" else "127.0.0.1")
    with dask.config.set(P2P), Client(where) as client:
        for _ in range(o.repeats):
            seconds, nbytes, result = run(o.name, o.mib, client)
            print(json.dumps({"workload": o.name, "protocol": o.protocol, "bytes": nbytes, "seconds": seconds, "result": result}), flush=True)
    if not o.scheduler:
        where.close()
    if o.check:
        expected = alone(o.name, o.mib)
        assert abs(expected - result) <= 1e-9 * abs(expected), (expected, result)
        print("equal to one process")


if __name__ == "__main__":
    main()
