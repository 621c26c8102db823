# SPDX-License-Identifier: BSD-3-Clause
"""python -m weft.perf: what `weft perf` measures, through the asyncio binding. The same tests, options and fields, and
besides them "loop" (asyncio or uvloop), --gather N and --gap US.

    python -m weft.perf [OPTION...]                both sides on this machine, two processes on CPUs of their own
    python -m weft.perf --listen [ADDRESS:PORT]    serves others until it is interrupted
    python -m weft.perf [OPTION...] HOST[:PORT]    measures with a side that listens there
    python -m weft.perf --plot-json RESULTS OUT.png    draws what either program printed with --json
"""
import argparse
import asyncio
import contextlib
import csv
import json
import os
import select
import signal
import subprocess
import sys
import time

import weft

from . import _perf, _plot
from ._perf import ONE_WAY, TESTS, Cell, PerfError, Side

PORT = 7471
WAYS = ("shm", "shm-ring", "tcp", "verbs", "loop", "auto")
NOISE_MAX = 0.02  # share of a side's time that others may take before a line is marked
USAGE = __doc__.split("\n\n", 1)[1].strip().replace("\n    ", "\n       ")
HELP = "tests:\n" + "\n".join(f"  {name:<11} {t.what}" for name, t in TESTS.items()) + """

Every size goes its way once and is compared byte by byte before it is timed. noise is the share of its time in which a side
could have run and did not. Settings (WEFT_CMA=no ...) hold as for any program.
"""

# ---- options --------------------------------------------------------------------------------------------------------


def number(text, most=1 << 60):
    """A whole number with an optional K, M or G; None: it is none."""
    shift = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper(), 0)
    digits = text[:-1] if shift else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 20 or int(digits) << shift > most:
        return None
    return int(digits) << shift


def sizes(text):
    """8,64K,1M and ranges that double, 8:1M."""
    out = []
    for item in text.split(","):
        ends = [number(end) for end in item.split(":")]
        if None in ends or len(ends) > 2 or ends[0] > ends[-1]:
            raise argparse.ArgumentTypeError(f"\"{item}\" is not a number of bytes such as 8, 64K or 1M, or a range of them "
                                             "such as 8:1M")
        size = ends[0]
        while size <= ends[-1]:
            out.append(size)
            size = 2 * size or 1
    if len(out) > 64:
        raise argparse.ArgumentTypeError("more than the 64 sizes that one run may have")
    return out


def choices(known, every=None):
    def parse(text):
        items = list(known) if text == every else text.split(",")
        for item in items:
            if item not in known:
                raise argparse.ArgumentTypeError(f"\"{item}\" is not one of {', '.join(known)}")
        return items
    return parse


def count(most=1 << 62):
    def parse(text):
        n = number(text, most)
        if not n:
            raise argparse.ArgumentTypeError(f"\"{text}\" is not a whole number above 0 that makes sense here")
        return n
    return parse


def seconds(text):
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= 3600:
            return float(text)
    raise argparse.ArgumentTypeError(f"\"{text}\" is not a number of seconds above 0 and at most 3600")


def cpus(text):
    parts = text.split(",")
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() for p in parts):
        raise argparse.ArgumentTypeError(f"\"{text}\" is not two numbers of CPUs, such as 0,1")
    return [int(p) for p in parts]


def parser():
    p = argparse.ArgumentParser(prog="python -m weft.perf", usage=USAGE, epilog=HELP,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("place", nargs="?", metavar="HOST[:PORT]", help="who serves; with --listen where to listen")
    add("--transport", type=choices(WAYS), metavar="NAME[,NAME..]", help="shm, shm-ring, tcp, verbs, loop, auto; default shm,tcp, "
        "and with HOST or --listen auto")
    add("--test", type=choices(TESTS, "all"), default=["tag_lat"], metavar="NAME[,NAME..]",
        help="see below, or all; default tag_lat")
    add("--size", type=sizes, metavar="N[,N:N..]",
        help="bytes, K, M and G are powers of 1024; 8:1M is 8, 16, 32 and so on to 1M")
    add("--loop", type=choices(("asyncio", "uvloop")), default=["asyncio"], metavar="NAME[,NAME]", help="asyncio, uvloop")
    add("--time", type=seconds, metavar="SECONDS", help="for each line, warm-up included; default 1")
    add("--iterations", type=count(), metavar="N", help="so many round trips or messages instead")
    add("--window", type=count(4096), metavar="N", help="messages under way at a time in one-way tests; default by size")
    add("--gather", type=count(4096), default=0, metavar="N",
        help="tag_rate: N sends and N receives at a time, each lot awaited by asyncio.gather()")
    add("--gap", type=count(10**7), default=0, metavar="US",
        help="..._lat of messages and puts: so many microseconds of rest before each, in which the other side goes to sleep")
    add("--memory", choices=("malloc", "weft"), default="malloc", help="plain memory, or of weft.alloc(); default malloc")
    add("--one-buffer", action="store_true", help="one-way tests: a single buffer on each side")
    add("--cpus", type=cpus, metavar="A,B", help="CPUs of the measuring and the serving side; default two different cores")
    add("--no-pin", action="store_true", help="leave it to the kernel on which CPUs the two sides run")
    add("--json", action="store_true", help="one object for each line, instead of a table")
    add("--csv", action="store_true", help="one row for each line, instead of a table")
    add("--plot", metavar="FILE", help="a picture besides; needs matplotlib")
    add("--port", type=int, default=PORT, metavar="N", help=f"where to listen or connect; default {PORT}")
    add("--listen", action="store_true", help="serve others")
    add("--once", action="store_true", help="with --listen: serve one peer, then end")
    add("--helper", action="store_true", help=argparse.SUPPRESS)   # the serving side of a run on one machine
    return p


def parse(argv):
    p = parser()
    o = p.parse_args(argv)
    apart = o.listen or o.place
    if o.json and o.csv:
        p.error("--json and --csv both go to the standard output; choose one")
    if not 0 <= o.port <= 65535:
        p.error(f"--port: \"{o.port}\" is not a number from 0 to 65535")
    o.transport = o.transport or (["auto"] if apart else ["shm", "tcp"])
    if apart and "loop" in o.transport:
        p.error("--transport: \"loop\" is not a transport between processes: it stays within one")
    if o.place and not o.listen and "shm-ring" in o.transport:
        p.error("--transport: shm-ring is chosen where the other side listens: --listen --transport shm-ring; or set "
                "WEFT_CMA=no")
    if o.listen and len(o.transport) > 1:
        p.error("--listen takes one transport, or all (auto); the measuring side chooses")
    o.time = o.time or (600 if o.iterations else 1)
    return o


def url_of(o, host):
    place = o.place or ""
    if place.startswith("weft://"):
        return place
    if place.count(":") > 1 and not place.startswith("["):
        return f"weft://[{place}]:{o.port}"
    name, bracket, rest = place.rpartition("]")
    where, colon, port = rest.partition(":")
    return f"weft://{name + bracket + where or host}:{port if colon else o.port}"


# ---- CPUs -----------------------------------------------------------------------------------------------------------


def choose_cpus(o):
    """CPUs of the two sides (-1: not pinned), and whether both can run at the same time."""
    if o.cpus:
        return o.cpus, o.cpus[0] != o.cpus[1]
    may = sorted(os.sched_getaffinity(0))
    if o.no_pin or len(may) < 2:
        return [-1, -1], len(may) > 1

    def core(cpu):
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as f:
                return f.read()
        except OSError:
            return cpu
    return [may[0], next((cpu for cpu in may[1:] if core(cpu) != core(may[0])), may[1])], True


def pin(cpu):
    if cpu >= 0:
        with contextlib.suppress(OSError):           # refused: then it is not pinned, no more
            os.sched_setaffinity(0, [cpu])


# ---- output ---------------------------------------------------------------------------------------------------------


def say_size(size):
    for unit in ("", "K", "M", "G"):
        if not size or size % 1024 or unit == "G":
            return f"{size}{unit}"
        size //= 1024


class Report:
    """Results as a table, as JSON or as CSV, line by line as they come; on a terminal, what is being measured."""

    CSV = ["transport", "test", "loop", "size", "iterations", "lat_min_us", "lat_p50_us", "lat_p99_us", "lat_p99.9_us",
           "bw_GBps", "rate_Mps", "noise", "path", "memory", "interrupted"]

    def __init__(self, o):
        self.o, self.rows, self.cells, self.cell = o, [], 0, 0
        self.tty, self.said = sys.stderr.isatty(), 0.0
        if o.csv:
            self.csv = csv.writer(sys.stdout, lineterminator="\n")
            self.csv.writerow(self.CSV)
        elif not o.json:
            print(f"{'transport':<9} {'test':<10} {'loop':<7} {'size':>6} {'iterations':>11} {'min us':>9} {'p50 us':>9} "
                  f"{'p99 us':>9} {'p99.9 us':>9} {'GB/s':>8} {'M msg/s':>8} {'noise':>7}  path")
        sys.stdout.flush()

    def progress(self, what, share):
        now = time.monotonic()
        if self.tty and now - self.said > 0.1:
            self.said = now
            print(f"\r\033[K[{self.cell}/{self.cells}] {what}: {min(share, 1):.0%}", end="", file=sys.stderr, flush=True)

    def wipe(self):
        if self.said:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        self.said = 0.0

    def row(self, row):
        self.wipe()
        self.rows.append(row)
        lat = row.get("lat_us", {})
        quantiles = [lat.get(k) for k in ("min", "p50", "p99", "p99.9")]
        if self.o.json:
            print(json.dumps(row, separators=(",", ":")))
        elif self.o.csv:
            self.csv.writerow([row["transport"], row["test"], row["loop"], row["size"], row["iterations"], *quantiles,
                               row.get("bw_GBps"), row.get("rate_Mps"), row["noise"], row["path"], row["memory"],
                               int("interrupted" in row)])
        else:
            figures = [f"{'' if v is None else format(v, '.3f'):>9}" for v in quantiles]
            figures += [f"{'' if v is None else format(v, '.3f'):>8}" for v in (row.get("bw_GBps"), row.get("rate_Mps"))]
            noise = "" if row["noise"] is None else f"{row['noise']:.1%}{'!' if row['noise'] >= NOISE_MAX else ' '}"
            copied = ", both processes copied" if row["both_copied"] else ""
            ended = ", interrupted" if "interrupted" in row else ""
            print(f"{row['transport']:<9} {row['test']:<10} {row['loop']:<7} {say_size(row['size']):>6} "
                  f"{row['iterations']:>11} {' '.join(figures)} {noise:>7}  {row['path']}{copied}{ended}")
        sys.stdout.flush()

    def end(self):
        self.wipe()
        if not self.o.json and not self.o.csv and any((r["noise"] or 0) >= NOISE_MAX for r in self.rows):
            print(f"!  other programs, or the host of this virtual machine, took {NOISE_MAX:.0%} or more of a side's time: "
                  "do not rely on that line")
        if _perf.stop:
            print("weft.perf: interrupted; what was measured until then stands above", file=sys.stderr)


# ---- running --------------------------------------------------------------------------------------------------------


def run_on(kind, coro):
    """As asyncio.run(), on a loop of that kind, and ^C is ours."""
    if kind == "uvloop":
        try:
            import uvloop
        except ImportError:
            coro.close()
            raise PerfError(f"{sys.executable} has no uvloop; install it: {sys.executable} -m pip install uvloop") from None
        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(coro)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def transports_of(way):
    return None if way == "auto" else "shm" if way == "shm-ring" else way


def cells_of(o):
    """(test, size) of all lines. Sizes that make no sense for a test are left out."""
    out = []
    for name in o.test:
        t = TESTS[name]
        fixed = not o.size or t.size_min == t.size_max
        some = [size for size in (t.sizes if fixed else o.size) if t.size_min <= size <= t.size_max]
        if not some:
            print(f"weft.perf: {name} is left out: it needs at least {t.size_min} byte", file=sys.stderr)
        out += [(name, size) for size in some]
    return out


async def measure(o, way, loop_kind, url, cells, cpu, alone, report):
    async with await weft.connect(url, transports=transports_of(way)) as ep:
        side = Side(ep, False, cpu, alone)
        peer_cpu = await side.hello()
        for test, size in cells:
            if _perf.stop:
                break
            report.cell += 1
            what = f"{way} {test} {say_size(size)}"
            report.progress(what, 0)
            row = await Cell(side, o, test, size, lambda share, what=what: report.progress(what, share)).measure()
            if row:
                name = row["path"] if way == "auto" else way
                report.row({"test": test, "transport": name, "size": size, "loop": loop_kind, **row,
                            "cpus": [cpu, peer_cpu] if cpu >= 0 else None})
        await side.tell(do="quit")


class Server:
    """Serves one peer at a time."""

    def __init__(self, o, cpu, alone):
        self.o, self.cpu, self.alone = o, cpu, alone
        self.ended = asyncio.get_running_loop().create_future()
        self.busy = False

    async def handle(self, ep):
        if self.busy:
            with contextlib.suppress(weft.Error, PerfError):
                await Side(ep, True, self.cpu, self.alone).hello("busy")
            ep.abort()
            return
        self.busy = True
        try:
            async with ep:
                side = Side(ep, True, self.cpu, self.alone)
                await side.hello()
                await _perf.serve(side)
        except (weft.Error, PerfError) as exc:
            if not self.o.helper:                    # else the measuring side says what is wrong
                print(f"weft.perf: {ep.peer}: {exc}", file=sys.stderr)
        finally:
            self.busy = False
            if self.o.once and not self.ended.done():
                self.ended.set_result(None)


async def listen(o, cpu, alone):
    server, loop = Server(o, cpu, alone), asyncio.get_running_loop()

    def end(*_):
        if not server.ended.done():
            server.ended.set_result(None)

    if o.helper:                                     # the measuring side tells us when to end, or dies
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, signal.SIG_IGN)
        loop.add_reader(sys.stdin.fileno(), end)
    else:
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, end)
    url = url_of(o, "0.0.0.0")
    async with await weft.listen(server.handle, url, transports=transports_of(o.transport[0])) as listener:
        print(f"listening on {listener.url}", flush=True)
        await server.ended
        for ep in listener.endpoints:
            if server.busy:
                ep.abort()
        await listener.wait_closed()


def start_helper(o, way, kind, places):
    """The serving process and its URL."""
    argv = [sys.executable, "-m", "weft.perf", "--helper", "--listen", "127.0.0.1:0", "--once"]
    argv += ["--transport", way, "--loop", kind]
    argv += ["--cpus", ",".join(map(str, places))] if places[0] >= 0 else ["--no-pin"]
    p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = p.stdout.readline() if select.select([p.stdout], [], [], 30)[0] else ""
    if not line.startswith("listening on "):
        end_helper(p)
        raise PerfError("the serving side did not start")
    return p, line.split()[-1]


def end_helper(p):
    p.stdin.close()
    try:
        status = p.wait(10)
    except subprocess.TimeoutExpired:
        p.kill()
        status = p.wait()
    p.stdout.close()
    if status < 0:
        raise PerfError(f"the serving process was ended by {signal.Signals(-status).name}")


async def measure_in_one_loop(o, way, kind, cells, cpu, report):
    server = Server(o, cpu, False)
    async with await weft.listen(server.handle, "weft://127.0.0.1:0", transports=way) as listener:
        await measure(o, way, kind, listener.url, cells, cpu, False, report)
        await listener.wait_closed()


def run_way(o, way, kind, cells, places, alone, report):
    if o.place:
        run_on(kind, measure(o, way, kind, url_of(o, "127.0.0.1"), cells, places[0], alone, report))
    elif way == "loop":
        run_on(kind, measure_in_one_loop(o, way, kind, cells, places[0], report))
    else:
        helper, url = start_helper(o, way, kind, places)
        try:
            run_on(kind, measure(o, way, kind, url, cells, places[0], alone, report))
        finally:
            end_helper(helper)


def say_one_cpu(o):
    """The figures are right, but of the scheduler's turns: whoever compares them with another machine's must know."""
    if not o.place and set(o.transport) != {"loop"}:
        print("weft.perf: both sides share one CPU, so times are those of its turns between them and not of the path; "
              "give this process another (taskset, --cpus A,B)", file=sys.stderr)


def run_all(o):
    places, alone = choose_cpus(o)
    pin(places[0])
    if not alone:
        say_one_cpu(o)
    if o.plot:
        _plot.check(o.plot)
    cells, report = cells_of(o), Report(o)
    report.cells = len(cells) * len(o.transport) * len(o.loop)
    try:
        for kind in o.loop:
            for way in o.transport:
                if not _perf.stop:
                    run_way(o, way, kind, cells, places, alone, report)
    finally:
        report.end()
        if o.plot and report.rows:
            _plot.draw(report.rows, o.plot)


def on_interrupt(sig, _frame):
    """Ends the round that is under way. A second one ends us, unless it was sent to us and our group at the same time."""
    now = time.monotonic()
    if _perf.stop and now - _perf.stop[1] > 0.5:
        signal.signal(sig, signal.SIG_DFL)
        os.kill(os.getpid(), sig)
    _perf.stop[:] = _perf.stop or [sig, now]


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["--plot-json"]:
        return _plot.main(argv[1:])
    o = parse(argv)
    try:
        if o.listen:
            places, alone = choose_cpus(o)
            pin(places[1])
            if o.transport == ["shm-ring"]:
                weft.configure(cma="no")
            run_on(o.loop[0], listen(o, places[1], alone))
            return 0
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, on_interrupt)
        run_all(o)
    except (weft.Error, PerfError, _plot.PlotError) as exc:
        print(f"weft.perf: {exc}", file=sys.stderr)
        return 1
    return 128 + _perf.stop[0] if _perf.stop else 0


if __name__ == "__main__":
    sys.exit(main())
