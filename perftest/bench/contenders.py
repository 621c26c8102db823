# SPDX-License-Identifier: BSD-3-Clause
"""contenders.py - how each contender is run once, and what figure it gives.

Each gives the median of its samples (fi_pingpong: a mean, it knows no other), one way, in us; or messages a second, in
millions; or per cent of a core. Every peer is held as its makers advise for two processes of one machine: see HOW.
"""
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import noise

HERE = Path(__file__).resolve().parent
LIMIT_S = 30  # for one run

HOW = {
    "weft": "build/weft perf; median of samples",
    "weft-pidns": "the same without rights to the peer's memory: the listening side in a PID namespace of its own (unshare --pid)",
    "weft-seccomp": "the same without rights: under a seccomp filter that refuses process_vm_*",
    "ucx": "ucx_perftest tag_lat, tag_bw; UCX_TLS=posix,cma or tcp on lo, there with segments of 1 MiB (8 KiB as it comes: large "
           "messages take several times as long); its 50th percentile, its overall message rate",
    "libfabric": "fi_pingpong, tagged, reliable datagrams, provider shm, net or tcp; its mean, for it gives no median; no rates",
    "openmpi": "mpi_pingpong.c: MPI_Send and MPI_Recv, or 256 MPI_Isend under way; pml ob1, btl sm (with CMA) or tcp on lo",
    "mpich": "the same; shared memory, or MPIR_CVAR_NOLOCAL=1 with libfabric's tcp",
    "ucxx": "ucxx's asyncio in each progress mode, listener and connector: UCX then chooses tcp also on one host; UCX_NET_DEVICES=lo, "
            "path tcp: with segments of 1 MiB",
    "ucxx-address": "the same in mode polling, by worker addresses without error handling: shared memory and process_vm_*",
    "mpi4py": "comm.Send and comm.Recv, or Isend, Irecv and Waitall: blocking, no event loop; the MPI's settings as above",
    "pyzmq": "zmq.asyncio, a PAIR over ipc or tcp; large messages with copy=False",
    "streams": "asyncio streams over a UNIX socket or tcp, limit twice the message; windows are written and read by one task each",
    "streams-uvloop": "the same on uvloop",
    "cacheline": "two processes, a cache line for each direction",
    "memcpy": "the receiver copies from shared memory", "memcpy2": "both copy a half, all buffers shared memory",
    "vm_readv": "the receiver copies with process_vm_readv, plain memory",
    "vm_both": "both copy a half with process_vm_readv and process_vm_writev, plain memory",
    "tcp_spin": "one bare non-blocking socket at each end that sends and receives as much as it can, never sleeping",
    "eventfd": "asyncio's add_reader on an eventfd", "eventfd-c": "epoll_wait on an eventfd in C, without gaps",
    "futures": "the same gather over finished Futures", "weft-c": "weft perf, same path and size",
}


UCX_ENV = {"UCX_WARN_UNUSED_ENV_VARS": "n", "UCX_NET_DEVICES": "lo"}
UCX_TCP = {"UCX_TLS": "tcp", "UCX_TCP_TX_SEG_SIZE": "1m", "UCX_TCP_RX_SEG_SIZE": "1m"}


class Failed(Exception):
    """Why there is no figure, in words."""


class Bench:
    """Where everything is, and how long a run shall measure."""

    def __init__(self, build, peers, cpus, seconds, idle_s):
        self.build, self.cpus, self.seconds, self.idle_s = Path(build), cpus, seconds, idle_s
        self.peers = {p.name: p for p in peers}
        self.awake = noise.Awake()
        self.guess = {}  # (contender, cell) -> seconds for a message; ucx and fi want counts, not seconds

    @property
    def one_cpu(self):
        return self.cpus[0] == self.cpus[1]

    def peer(self, name):
        peer = self.peers.get(name)
        if not peer or peer.missing:
            raise Failed(peer.missing if peer else f"{name} was not asked for")
        return peer

    def seconds_for(self, cell):
        return self.idle_s if cell.test == "idle" else self.seconds


# ---- processes -------------------------------------------------------------------------------------------------------


def start(argv, env=None):
    return subprocess.Popen([str(a) for a in argv], env={**os.environ, **(env or {})}, text=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def stop(process):
    """It and all that it started; a launcher gets the time to end its ranks."""
    for number, wait_s in ((signal.SIGTERM, 2), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            process.communicate(timeout=wait_s)
        except subprocess.TimeoutExpired:
            pass


def finish(process, argv, limit_s):
    name = Path(str(argv[0])).name
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        stop(process)
        raise Failed(f"{name} was not done after {limit_s:.0f} s") from None
    except BaseException:  # interrupted
        stop(process)
        raise
    if process.returncode:
        lines = [s.strip() for s in (err + "\n" + out).splitlines() if s.strip(" -*=")]
        raise Failed(f"{name} ended with {process.returncode}: {lines[-1] if lines else 'it said nothing'}"[:300])
    return out


def program(argv, env=None, limit_s=LIMIT_S):
    if not shutil.which(str(argv[0])):
        raise Failed(f"there is no {argv[0]}")
    return finish(start(argv, env), argv, limit_s)


def json_of(out):
    """The last line that is JSON."""
    for line in reversed(out.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    raise Failed(f"no figure in: {out.strip()[-200:]}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port):
    """Does anybody listen there? Without connecting, which the one who listens would take for his peer."""
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(name):
            with open(name) as f:
                if any(f":{port:04X} " in s[6:40] and s.split()[3] == "0A" for s in f.readlines()[1:]):
                    return True
    return False


def server_and_client(server, client, port, env):
    """The client's output."""
    if not shutil.which(str(server[0])):
        raise Failed(f"there is no {server[0]}")
    a = start(server, env)
    try:
        end = time.monotonic() + LIMIT_S
        while not listens(port):
            if a.poll() is not None:
                finish(a, server, LIMIT_S)
                raise Failed(f"{Path(str(server[0])).name}: its server ended before a client came")
            if time.monotonic() > end:
                raise Failed(f"{Path(str(server[0])).name}: its server does not listen after {LIMIT_S} s")
            time.sleep(0.005)
        out = program(client, env, LIMIT_S)
        try:
            a.communicate(timeout=5)  # it may be slow to end; what was measured stands
        except subprocess.TimeoutExpired:
            pass
        return out
    finally:
        stop(a)


def count_for(b, who, cell):
    """How many messages fill the time, by the last run's figure or else by a guess that is rather too slow."""
    each = b.guess.get((who, cell.name))
    if not each:
        each = 2e-6 + cell.size / 2e9 if cell.path == "shm" else 2e-5 + cell.size / 5e8
        if b.one_cpu:
            each += 8e-3  # a time slice for each message: they spin
    return max(10, int(b.seconds / each))


# ---- C ---------------------------------------------------------------------------------------------------------------


def weft_perf(b, cell):
    return [b.build / "weft", "perf", "--test", "tag_rate" if cell.test == "rate" else "tag_lat", "--size", cell.size,
            "--time", b.seconds, "--json"]


def weft(b, cell, before=()):
    return json_of(program([*before, *weft_perf(b, cell), "--transport", cell.path]))


def without_rights(said):
    """Whoever has no rights and copies all the same would be a defect, and the figure another one than it says."""
    if said["path"] != "shm" or any(said["copied_bytes"]):
        raise Failed(f"messages went by {said['path']}, {said['lane']}, copied bytes {said['copied_bytes']}")
    return said


def weft_pidns(b, cell):
    port = free_port()
    server = ["unshare", "--pid", "--fork", "--kill-child", b.build / "weft", "perf", "--listen", f"127.0.0.1:{port}", "--once"]
    return without_rights(json_of(server_and_client(server, [*weft_perf(b, cell), f"127.0.0.1:{port}"], port, {})))


def weft_seccomp(b, cell):
    return without_rights(weft(b, cell, [sys.executable, HERE / "sandbox.py", "process_vm_readv,process_vm_writev"]))


def last_fields(out, n, tool):
    """The words of the last line that has n of them, the first a number: the tools' own tables."""
    for line in reversed(out.splitlines()):
        fields = line.split()
        if len(fields) == n and fields[0][0].isdigit():
            return fields
    raise Failed(f"{tool} gave no figure: {out.strip()[-200:] or 'it said nothing'}")


def ucx(b, cell):
    home = next(b.peer("ucx").folder.glob("lib/python*/site-packages/libucx"), None)
    if not home:
        raise Failed("the package libucx-cu13 has no folder libucx")
    n, port = count_for(b, "ucx", cell), free_port()
    tool, test = home / "bin/ucx_perftest", "tag_bw" if cell.test == "rate" else "tag_lat"
    env = {"LD_LIBRARY_PATH": str(home / "lib"), **UCX_ENV, **(UCX_TCP if cell.path == "tcp" else {"UCX_TLS": "posix,cma"})}
    server = [tool, "-p", port, "-c", b.cpus[1]]
    client = [tool, "-p", port, "-c", b.cpus[0], "-t", test, "-s", cell.size, "-n", n, "-w", n // 10 + 1, "-f", "127.0.0.1"]
    said = ucx_figure(server_and_client(server, client, port, env), cell.test)
    b.guess["ucx", cell.name] = 1e-6 / said["rate_Mps"] if "rate_Mps" in said else said["lat_us"]["mean"] * 2e-6
    return said


def ucx_figure(out, test):
    """Its columns: iterations; 50th percentile, mean and overall us; then MB/s and messages a second, mean and overall."""
    figure = [float(v) for v in last_fields(out, 8, "ucx_perftest")]
    return {"rate_Mps": figure[7] / 1e6} if test == "rate" else {"lat_us": {"p50": figure[1], "mean": figure[3]}}


def libfabric(b, cell):
    b.peer("libfabric")
    n, port = count_for(b, "libfabric", cell), free_port()
    args = ["fi_pingpong", "-p", fi_provider(cell.path), "-e", "rdm", "-m", "tagged", "-I", n, "-S", cell.size]
    cpu = [["taskset", "-c", str(c)] for c in b.cpus]
    said = fi_figure(server_and_client([*cpu[1], *args, "-B", port], [*cpu[0], *args, "-P", port, "127.0.0.1"], port, {}))
    b.guess["libfabric", cell.name] = max(said["lat_us"]["mean"], 0.1) * 2e-6
    return said


@functools.cache
def fi_provider(path):
    """libfabric 1.16 and 1.17 have a newer tcp, which then was named net: two thirds of the old one's time."""
    if path == "tcp" and shutil.which("fi_info") and subprocess.run(["fi_info", "-p", "net"], capture_output=True).returncode == 0:
        return "net"
    return path


def fi_figure(out):
    """Its columns: bytes, sent, acknowledged, total, time, MB/s, us one way, M/s."""
    return {"lat_us": {"mean": float(last_fields(out, 8, "fi_pingpong")[6])}}


def launcher(b, mpi, path):
    """(argv, env) that start two ranks over that path. The programs pin themselves."""
    bin_ = b.peer(mpi).folder / "bin"
    if mpi == "openmpi":
        btl = ["sm,self"] if path == "shm" else ["tcp,self", "--mca", "btl_tcp_if_include", "lo"]
        env = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return [bin_ / "mpiexec", "-n", "2", "--bind-to", "none", "--oversubscribe", "--mca", "pml", "ob1", "--mca", "btl", *btl], env
    env = {} if path == "shm" else {"MPIR_CVAR_NOLOCAL": "1", "MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"}
    return [bin_ / "mpiexec", "-n", "2"], env


def mpi(b, cell, which):
    argv, env = launcher(b, which, cell.path)
    return json_of(program([*argv, b.peer(which).folder / "mpi_pingpong", cell.test, cell.size, b.seconds, *b.cpus], env))


def limit(b, cell, tool, mode):
    return json_of(program([b.build / "bench" / tool, mode, cell.size, b.seconds, *b.cpus]))


# ---- Python ----------------------------------------------------------------------------------------------------------


def aio(b, cell, peer, python, before=(), env=None):
    path = {"PYTHONPATH": str(b.build / "py")} if peer == "weft" else {"PYTHONPATH": ""}
    argv = [*before, python, HERE / "aio/pair.py", peer, cell.test, cell.path, cell.size, b.seconds_for(cell), *b.cpus]
    return json_of(program(argv, {**path, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}))


def ucxx(b, cell, name):
    here = {"UCX_TLS": "posix,cma" if name == "ucxx-address" else "posix,cma,tcp"}
    return aio(b, cell, name, b.peer("ucxx").python, env={**UCX_ENV, **(UCX_TCP if cell.path == "tcp" else here)})


def mpi4py(b, cell, which):
    argv, env = launcher(b, which, cell.path)
    return aio(b, cell, "mpi4py", b.peer(which).python, argv, env)


C = {
    "weft": weft,
    "weft-pidns": weft_pidns,
    "weft-seccomp": weft_seccomp,
    "ucx": ucx,
    "libfabric": libfabric,
    "openmpi": lambda b, c: mpi(b, c, "openmpi"),
    "mpich": lambda b, c: mpi(b, c, "mpich"),
}
PYTHON = {
    "weft": lambda b, c: aio(b, c, "weft", sys.executable),
    "mpi4py-openmpi": lambda b, c: mpi4py(b, c, "openmpi"),
    "mpi4py-mpich": lambda b, c: mpi4py(b, c, "mpich"),
    "pyzmq": lambda b, c: aio(b, c, "zmq", b.peer("pyzmq").python),
    "streams": lambda b, c: aio(b, c, "streams", sys.executable),
    "streams-uvloop": lambda b, c: aio(b, c, "streams-uvloop", b.peer("uvloop").python),
    "eventfd": lambda b, c: aio(b, c, "eventfd", sys.executable),
    "futures": lambda b, c: aio(b, c, "futures", sys.executable),
}
LIMITS = {
    "cacheline": lambda b, c: limit(b, c, "cacheline", "line"),
    "tcp_spin": lambda b, c: limit(b, c, "tcp", "spin"),
    "eventfd-c": lambda b, c: limit(b, c, "eventfd", "epoll"),
    "weft-c": weft,
    **{mode: lambda b, c, mode=mode: limit(b, c, "copy", mode) for mode in ("memcpy", "memcpy2", "vm_readv", "vm_both")},
}


def run_once(b, cell, name):
    """The figure of one run, in the cell's unit. Failed when there is none."""
    if name in LIMITS:
        said = LIMITS[name](b, cell)
    elif name.startswith("ucxx-"):
        said = ucxx(b, cell, name)
    else:
        said = (C if cell.half == "C" else PYTHON)[name](b, cell)
    if "lat_us" in said:
        return said["lat_us"].get("p50", said["lat_us"].get("mean"))
    return max(said["idle_pct"]) if "idle_pct" in said else said["rate_Mps"]
