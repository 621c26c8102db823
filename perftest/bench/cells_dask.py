# SPDX-License-Identifier: BSD-3-Clause
"""cells_dask.py - what bench_dask.py measures, and which bars stand on it; see cells.py for what a cell and a row are."""
from cells import KIB, MIB, Cell, Row, best

PEERS = ["tcp", "ucxx", "mpi"]
SCHEMES = ["weft", "weft-uvloop", *PEERS]
WORKLOADS = {"transpose": 256, "shuffle": 128, "merge": 64, "xarray": 64, "svd": 64}  # MiB
TRANSFER_BOUND = ["transpose", "shuffle"]  # these have a bar

HOW = {
    "weft": "weft:// on asyncio's own loop",
    "weft-uvloop": "weft:// on uvloop",
    "tcp": "tcp://, Dask's own, as it comes",
    "ucxx": "ucxx:// of the wheel distributed-ucxx, as it comes but for UCX_TLS=posix,cma,tcp, UCX_NET_DEVICES=lo and tcp's segments of "
            "1 MiB, which make large messages several times faster",
    "mpi": "comms/mpi_scheme.py: how MPI4Dask polls, made again from its description, over mpi4py and MPICH's shared memory",
}


class DaskCell(Cell):
    @property
    def unit(self):
        return {"wall": "s", "idle": "%"}.get(self.test, "us")

    @property
    def figure(self):
        """What the programs call it."""
        return f"{self.test} {self.size if self.test == 'lat' else self.path}"


def cell(test, path, size, *bars):
    """Two rows: both of weft's loops stand before the same bars."""
    rows = [Row(path, "weft", "", list(bars)), Row(f"{path}, uvloop", "weft-uvloop", "", list(bars))]
    return DaskCell("Dask", test, path, size, PEERS, [], rows)


def bandwidth(factor):
    return best(1 / factor, ["tcp", "ucxx"], f"the better of tcp and ucxx ({factor:g} x its bandwidth)")


def all_cells(only=""):
    cells = [
        cell("lat", "comm", 8, best(0.42, ["tcp"], "tcp"), best(0.65, ["ucxx"], "ucxx")),
        cell("lat", "comm", 64 * KIB),
        cell("lat", "comm", MIB, bandwidth(4)),
        cell("lat", "comm", 64 * MIB, bandwidth(2.5)),
        *(cell("wall", name, mib * MIB, *([best(0.6, ["tcp"], "tcp"), best(0.6, ["ucxx"], "ucxx")] if name in TRANSFER_BOUND else []))
          for name, mib in WORKLOADS.items()),
        cell("idle", "scheduler", 0),
        cell("idle", "worker", 0),
        cell("idle", "both", 0, best(1, ["tcp"], "tcp")),
    ]
    return [c for c in cells if only in c.name]
