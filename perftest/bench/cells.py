# SPDX-License-Identifier: BSD-3-Clause
"""cells.py - what is measured, and which bars stand on it.

A cell is one test on one path with one size: its contenders run one after the other in every round. A row of the table is
one of weft's ways to do it (a cell may have two: with and without rights to the peer's memory) beside the peers and a limit.
"""
from dataclasses import dataclass, field

KIB, MIB = 1 << 10, 1 << 20

C_PEERS = ["ucx", "libfabric", "openmpi", "mpich"]
UCXX = ["ucxx-polling", "ucxx-blocking", "ucxx-thread", "ucxx-thread-polling", "ucxx-address"]
UCXX_FAST = [n for n in UCXX if n != "ucxx-thread-polling"]  # that one takes a time slice for each message: seen in 8 B
UCXX_SLOW = UCXX[1:4]  # never its best: left out of the short run
UCXX_DIAL = UCXX[:4]  # endpoints by listener and connector
MPI4PY = ["mpi4py-openmpi", "mpi4py-mpich"]
OTHERS = ["pyzmq", "streams", "streams-uvloop"]


@dataclass
class Bar:
    """weft's figure is at most (lower: lat) or at least (higher: rate) `factor` times the best of `refs`."""

    factor: float
    refs: list
    what: str


@dataclass
class Row:
    name: str  # of the path, as shown
    weft: str  # the contender that is weft here
    limit: str = ""  # the contender that is the limit
    bars: list = field(default_factory=list)


@dataclass
class Cell:
    half: str  # C or asyncio
    test: str  # lat, rate, wake, idle
    path: str  # shm or tcp
    size: int
    peers: list
    limits: list
    rows: list
    quick: bool = False  # in the short run, too

    @property
    def name(self):
        return f"{self.half} {self.test} {self.path} {say_size(self.size)}".rstrip()

    @property
    def unit(self):
        return {"rate": "M/s", "idle": "%"}.get(self.test, "us")

    @property
    def higher(self):
        return self.test == "rate"

    def contenders(self):
        return list(dict.fromkeys([r.weft for r in self.rows] + self.limits + self.peers))


def say_size(n):
    """Nothing where nothing is sent."""
    for unit, name in ((1 << 30, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if n >= unit and n % unit == 0:
            return f"{n // unit} {name}"
    return f"{n} B" if n else ""


def best(factor, refs, who="the best peer"):
    return Bar(factor, refs, who)


def c_shm():
    line = best(1.28, ["cacheline"], "a cache line's trip")
    yield Cell("C", "lat", "shm", 8, C_PEERS, ["cacheline"], [Row("shm", "weft", "cacheline", [best(1, C_PEERS), line])], True)
    yield Cell("C", "rate", "shm", 8, ["ucx", "openmpi", "mpich"], [], [Row("shm", "weft", "", [best(1, C_PEERS)])], True)
    for size, quick in ((4 * KIB, True), (64 * KIB, False)):
        rows = [Row("shm", "weft", "memcpy" if size < 64 * KIB else "vm_both", [best(1, C_PEERS)])]
        yield Cell("C", "lat", "shm", size, C_PEERS, ["memcpy", "memcpy2", "vm_readv", "vm_both"], rows, quick)
    for size, quick in ((MIB, True), (16 * MIB, False)):
        rows = [Row("shm", "weft", "vm_both", [best(0.6, C_PEERS)])]
        for name in ("pidns", "seccomp"):
            rows.append(Row(f"shm-{name}", f"weft-{name}", "memcpy", [best(1, C_PEERS, "the best peer, which has rights")]))
        yield Cell("C", "lat", "shm", size, C_PEERS, ["memcpy", "memcpy2", "vm_readv", "vm_both"], rows, quick)


def c_tcp():
    for size, quick in ((8, True), (64 * KIB, False), (MIB, True), (16 * MIB, False)):
        bars = [best(1.1, ["tcp_spin"], "bare spinning sockets")] if size == 8 else [
            best(1, C_PEERS), best(1.05, ["tcp_spin"], "a bare non-blocking socket")]
        yield Cell("C", "lat", "tcp", size, C_PEERS, ["tcp_spin"], [Row("tcp", "weft", "tcp_spin", bars)], quick)
    yield Cell("C", "rate", "tcp", 8, ["ucx", "openmpi", "mpich"], [], [Row("tcp", "weft", "", [best(5, C_PEERS)])], True)


def against_ucxx(factor, what):
    """Its fastest way, and the way that programs go."""
    return [best(factor, UCXX, f"ucxx's best{what}"), best(factor, UCXX_DIAL, f"ucxx by listener{what}")]


def asyncio_shm():
    bars = [best(0.75, MPI4PY, "mpi4py's blocking Send/Recv"), *against_ucxx(0.04, ""), best(4, ["cacheline"], "a cache line's trip")]
    yield Cell("asyncio", "lat", "shm", 8, UCXX + MPI4PY + OTHERS, ["cacheline"], [Row("shm", "weft", "cacheline", bars)], True)
    peers = UCXX_FAST + MPI4PY + OTHERS
    for size, quick in ((MIB, True), (16 * MIB, False)):
        bars = [*against_ucxx(1 / 8, " (8 x its bandwidth)"), best(1 / 0.9, ["weft-c"], "weft's own C (0.9 x its bandwidth)")]
        yield Cell("asyncio", "lat", "shm", size, peers, ["weft-c"], [Row("shm", "weft", "weft-c", bars)], quick)
    bars = [*against_ucxx(10, ""), best(0.7, ["futures"], "a gather of finished Futures")]
    yield Cell("asyncio", "rate", "shm", 8, peers, ["futures"], [Row("shm", "weft", "futures", bars)], True)
    bars = [best(1.4, ["eventfd"], "asyncio on an eventfd")]
    peers = UCXX_FAST + OTHERS
    yield Cell("asyncio", "wake", "shm", 8, peers, ["eventfd", "eventfd-c"], [Row("shm", "weft", "eventfd", bars)], True)
    yield Cell("asyncio", "idle", "shm", 8, UCXX + MPI4PY + OTHERS, [], [Row("shm", "weft")], True)


def asyncio_tcp():
    for size, quick in ((8, True), (MIB, False)):
        peers = UCXX[:2] + MPI4PY + OTHERS
        yield Cell("asyncio", "lat", "tcp", size, peers, ["tcp_spin"], [Row("tcp", "weft", "tcp_spin")], quick)


def all_cells(quick=False, only=""):
    cells = [c for part in (c_shm, c_tcp, asyncio_shm, asyncio_tcp) for c in part()]
    cells = [c for c in cells if (c.quick or not quick) and only in c.name]
    for c in cells if quick else []:
        c.peers = [n for n in c.peers if n not in UCXX_SLOW]
    return cells
