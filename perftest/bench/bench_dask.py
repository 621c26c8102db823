#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""bench_dask.py - Dask over weft beside Dask over what else it can talk by, in one interleaved run of less than 10 minutes.

    make bench-dask        all cells, 5 rounds                         REPEATS=2     so many rounds
                                                                       ONLY=comm     cells whose name has the word

A round runs, for each of two programs, all schemes one after the other, each once: comms/pingpong.py, two processes, and
comms/cluster.py, a scheduler, a client and two workers. Results: tables, dask-table.txt, dask-table.md, dask.json and plots in
build/bench. Rounds that would not end in time are left out, and it says so.
"""
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import bench  # noqa: E402
import cells_dask  # noqa: E402
import contenders  # noqa: E402
import install  # noqa: E402
import noise  # noqa: E402
import report_dask  # noqa: E402
import results  # noqa: E402
from contenders import Bench, Failed  # noqa: E402
from table import say  # noqa: E402

ROUNDS, MINUTES = 5, 9
LIMIT_S = 75  # for one program of one scheme
LOOK_S = 0.02
LAT_S, IDLE_S, REPEATS = 0.3, 6, 2
# What Dask's nanny sets for each worker (distributed.yaml, nanny.pre-spawn-environ); those of comms/cluster.py have none. Without it
# each worker's BLAS has a thread for each CPU, which spins. The ping-pong is without: the first of these halves what tcp and ucxx do
# with 1 MiB, whose memory malloc then gives back each time, and schedulers and clients are without.
NANNY = {"MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
DASK = ["distributed", "dask[array,dataframe]", "xarray", "uvloop"]
UCXX = ["distributed-ucxx-cu13"]
MPI = ["mpich", "mpi4py"]


# ---- one environment for all: the Dask that ucxx's wheel asks for -------------------------------------------------------


@dataclass
class Environment:
    python: str = ""
    missing: dict = None  # scheme -> why it cannot be run
    versions: dict = None

    @property
    def bin(self):
        return Path(self.python).parent


def environment(root, say_):
    """Without ucxx's wheel where that does not install; what no scheme can do without is missing for all."""
    peer = install.Peer("dask", DASK + UCXX)
    install.install([peer], root, say_)
    missing = {}
    if peer.missing:
        missing["ucxx"] = peer.missing
        peer = install.Peer("dask-alone", DASK)
        install.install([peer], root, say_)
    if peer.missing:
        return Environment(missing=dict.fromkeys(cells_dask.SCHEMES, peer.missing), versions={})
    why = add_mpi(peer, say_)
    if why:
        missing["mpi"] = why
        say_(f"mpi is left out: {why}")
    return Environment(peer.python, missing, versions_of(peer.python))


def add_mpi(peer, say_):
    stamp = peer.folder / ".stamp-mpi"
    if stamp.exists():
        return None
    say_("installing " + " ".join(MPI))
    why = install.run([peer.python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--only-binary", ":all:",
                       "--retries", "1", *MPI])
    if not why:
        stamp.write_text("there\n")
    return why and f"pip install {' '.join(MPI)}: {why}"


def versions_of(python):
    code = ("import sys, json\nfrom importlib.metadata import version, PackageNotFoundError\nout = {}\nfor n in sys.argv[1:]:\n"
            "    try:\n        out[n] = version(n)\n    except PackageNotFoundError:\n        out[n] = 'missing'\nprint(json.dumps(out))")
    names = ["distributed", "uvloop", "distributed-ucxx-cu13", "libucx-cu13", "mpich", "mpi4py", "numpy", "pandas", "xarray"]
    return json.loads(contenders.program([python, "-c", code, *names]))


# ---- one program of one scheme -----------------------------------------------------------------------------------------


def settings(bench_, scheme):
    """Nothing of the user's; what p2p receives stays in memory, for a disk is not what is measured."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DASK_", "UCX", "WEFT_"))}
    env |= {"PYTHONPATH": str(bench_.build.resolve() / "py") if scheme.startswith("weft") else "", "PYTHONDONTWRITEBYTECODE": "1",
            "DASK_DISTRIBUTED__P2P__STORAGE__DISK": "False"}
    if scheme == "ucxx":
        env |= {**contenders.UCX_ENV, **contenders.UCX_TCP, "UCX_TLS": "posix,cma,tcp"}
    return env


def figures_of(folder):
    path = folder / "figures"
    return [json.loads(s) for s in path.read_text().splitlines(keepends=True) if s.endswith("\n")] if path.exists() else []


def last_words(log):
    lines = [s.strip() for s in log.read_text(errors="replace").splitlines() if s.strip(" -*=")]
    return lines[-1] if lines else "it said nothing"


def run_program(bench_, scheme, program, ranks, *args, more=None):
    """Its lines, and why it did not end well, or None. Its processes are ended when they have said all."""
    if scheme in bench_.env.missing:
        return [], bench_.env.missing[scheme]
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as name:
        folder = Path(name)
        for who in (0, 1):
            os.mkfifo(folder / f"to{who}")
        argv = [bench_.env.python, HERE / "comms" / program, scheme, folder, *args]
        if scheme == "mpi":
            argv = [bench_.env.bin / "mpiexec", "-n", ranks, *argv]
        env = settings(bench_, scheme) | (more or {})
        with open(folder / "log", "w") as log:
            process = subprocess.Popen([str(a) for a in argv], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                       start_new_session=True, cwd=folder)
        try:
            why = watch(process, folder)
        finally:
            end(process)
        return figures_of(folder), why and f"{program}: {why}"[:300]


def adopt_orphans():
    """What our children leave behind becomes our child: its CPU time counts as ours, and none of it goes on unseen."""
    PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end(process):
    """It and all that it started, those with sessions of their own, too."""
    contenders.stop(process)
    with contextlib.suppress(ChildProcessError):  # none is left
        while True:
            for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)


def watch(process, folder):
    until = time.monotonic() + LIMIT_S
    while not any("done" in f for f in figures_of(folder)):
        if process.poll() is not None:
            return f"ended with {process.returncode}: {last_words(folder / 'log')}"
        if time.monotonic() > until:
            return f"was not done after {LIMIT_S} s: {last_words(folder / 'log')}"
        time.sleep(LOOK_S)
    return None


def pingpong(bench_, scheme, cells):
    sizes = [c.size for c in cells]
    return run_program(bench_, scheme, "pingpong.py", 2, bench_.seconds, *bench_.cpus, *sizes)


def cluster(bench_, scheme, cells):
    idle_s = IDLE_S if any(c.test == "idle" for c in cells) else 0
    loads = [f"{c.path}={c.size >> 20}" for c in cells if c.test == "wall"]
    return run_program(bench_, scheme, "cluster.py", 4, idle_s, REPEATS, *loads, more=NANNY)


# ---- rounds ----------------------------------------------------------------------------------------------------------


def run_group(bench_, run, group, turn):
    """One round of one program: all schemes, beginning with another one each time."""
    names = cells_dask.SCHEMES
    turn %= len(names)
    pinned = run is pingpong
    with bench_.awake if pinned else contextlib.nullcontext():
        jitter, watch_, line = noise.jitter(bench_.cpus), noise.Watch(), bench.line_us(bench_) if pinned else ()
        for name in names[turn:] + names[:turn]:
            lines, why = run(bench_, name, [t.cell for t in group]) if not all(t.hopeless(name) for t in group) else ([], None)
            after = bench.line_us(bench_) if pinned else ()
            for taken in group:
                take(bench_, taken, name, lines, why)
                taken.lines.setdefault(name, []).append(line + after)
            line = after
        seen = noise.Round(*watch_.end(), jitter)
        for taken in group:
            taken.rounds.append(seen)


def take(bench_, taken, name, lines, why):
    """A figure into its cell. A workload whose result is another than that of who came first has no figure."""
    found = next((f for f in lines if f.get("figure") == taken.cell.figure), None)
    value = found and found["value"]
    if found and "result" in found:
        first = bench_.results.setdefault(taken.cell.figure, found["result"])
        if abs(found["result"] - first) > 1e-9 * abs(first):
            value, why = None, f"another result: {found['result']!r}, not {first!r}"
    if value is None:
        taken.why[name] = why or taken.why.get(name, "it gave no figure")
    taken.runs.setdefault(name, []).append(value)


def run_all(bench_, cells, rounds, minutes, say_):
    all_ = [results.Taken(c) for c in cells]
    groups = [(pingpong, [t for t in all_ if t.cell.test == "lat"]), (cluster, [t for t in all_ if t.cell.test != "lat"])]
    start, longest = time.monotonic(), 0.0
    try:
        for r in range(rounds):
            begin = time.monotonic()
            if begin + longest - start > minutes * 60:
                say_(f"{rounds - r} of {rounds} rounds are left out: they would not end within {minutes:g} minutes")
                break
            for run, group in groups:
                if group:
                    run_group(bench_, run, group, r)
                for taken in group:
                    say_(f"round {r + 1}/{rounds}  {bench.progress(taken)}")
            longest = max(longest, time.monotonic() - begin)
    except KeyboardInterrupt:
        say_("interrupted: the table shows what there is")
    return [t for t in all_ if t.rounds]


# ---- the whole -------------------------------------------------------------------------------------------------------


def arguments():
    ap = bench.parser(__doc__)
    ap.add_argument("--minutes", type=float, default=MINUTES, help="no round begins that would not end within these")
    return bench.parsed(ap, lambda o: cells_dask.all_cells(o.only))


def main():
    o = arguments()
    if o.list:
        print("\n".join(c.name for c in o.cells))
        return
    out = Path(o.build) / "bench"
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()

    def say_(text):
        print(f"{time.monotonic() - start:6.0f} s  {text}", flush=True)

    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is ended
    env = environment(out.resolve() / "peers", say_)
    bench_ = Bench(o.build, [], bench.two_cpus(), LAT_S, IDLE_S)
    bench_.env, bench_.results = env, {}
    rounds = o.repeats or (1 if bench_.one_cpu else ROUNDS)
    watch_ = noise.Watch()
    time.sleep(1)
    foreign = sum(watch_.end())
    say_(f"{len(o.cells)} cells, {len(cells_dask.SCHEMES)} schemes, {rounds} rounds; others use {say(100 * foreign)} % of the CPUs")
    taken = run_all(bench_, o.cells, rounds, o.minutes, say_)
    if not taken:
        return
    rows = results.all_rows(taken, bench_.one_cpu)
    meta = {"machine": bench.machine(), "date": time.strftime("%Y-%m-%d %H:%M:%S"), "rounds": max(len(t.rounds) for t in taken),
            "seconds": bench_.seconds, "cpus": list(bench_.cpus), "versions": env.versions, "missing": env.missing,
            "warnings": bench.warnings_of(taken, bench_, foreign)}
    report_dask.write(rows, meta, out)
    say_(f"dask-table.txt, dask-table.md, dask.json and plots lie in {out}")


if __name__ == "__main__":
    main()
