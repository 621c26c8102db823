#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""scale_sim.py - what 10 to 100,000 peers cost over RDMA: memory, queue pairs, start-up time; for docs/SCALE.md.

    tools/scale_sim.py                      all tables
    tools/scale_sim.py --write docs/SCALE.md   puts them between that page's marks, and figures in front of <!--= name -->
    tools/scale_sim.py -n 20000 --ppn 32 --pattern stencil6 [--design rc]    one case, in parts

Nobody here has 100,000 ports, so this is arithmetic: the constants of the transport are read from its header, the sizes of its
structs are asked of the C compiler (CC, or cc), the sizes that the driver makes of them follow its source, and what is left
(times, sizes in the kernel) stands in ASSUMED with where it comes from. The busiest node decides. Its start-up is a line of
stations (processes, adapter, wire) through which all its connections pass; `closed_form()` says when the last has passed, and
`events()` plays the same on a small job, connection by connection, so that a test can hold the one against the other.
"""
import argparse
import functools
import heapq
import os
import re
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "src/transports/verbs/verbs.h"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# name: (value, unit, where it comes from)
ASSUMED = {
    "own_endpoint": (1940, "B", "measured: RSS of 2,000 idle endpoints over tcp, a side, with their Python objects"),
    "tcp_kernel": (3850, "B", "measured: growth of Slab by 8,000 connected sockets, Linux on x86-64"),
    "qp_user": (1024, "B", "struct mlx5_qp, its verbs_qp and doorbell record (rdma-core providers/mlx5/mlx5.h), rounded up"),
    "qp_kernel": (2048, "B", "struct mlx5_ib_qp, the user memory's page list, resource tracking: estimated"),
    "qp_nic": (256, "B", "struct mlx5_ifc_qpc_bits is 0x740 bits (mlx5_ifc.h), in the adapter's memory: rounded up"),
    "nic_qps": (131072, "", "2^17: max_qp of libfabric issue 8256; creation failed at 130,763 in issue 7368"),
    "connect_cpu": (120e-6, "s", "measured: weft.connect() and accept over tcp, 242 us for both sides, with asyncio; in C it is less"),
    "qp_command": (100e-6, "s", "a firmware command, four for each queue pair, one after another: guessed (see the page)"),
    "trip": (30e-6, "s", "TCP's round trip in a cluster: guessed"),
    "ud_exchange_cpu": (10e-6, "s", "an address handle, two datagrams, their completions: guessed"),
    "ud_peer": (1600, "B", "address handle, window of 64 datagrams, timers, reordering: estimated"),
    "ud_recv": (4096, "", "receive buffers of a UD queue pair as UCX has them (issue 8336: RX wr:4096), of 4 KiB and a GRH"),
    "dc_initiators": (8, "", "UCX_DC_MLX5_NUM_DCI=8 (issue 9430)"),
    "dc_peer": (256, "B", "address vector and endpoint: estimated"),
}
A = {name: row[0] for name, row in ASSUMED.items()}
TRIPS = 4           # SYN; HELLO, WELCOME; READY; ASK, ANSWER (docs/PROTOCOL.md)
COMMANDS = 4        # create, to INIT, to RTR, to RTS (src/transports/verbs/verbs_conn.c)
PAGE = 4096

SIZES = (10, 100, 1000, 10_000, 100_000)
PATTERNS = ("all", "stencil6", "ring", "tree", "star")


def constants(header=HEADER):
    """The transport's own, by name without VERBS_."""
    found = {}
    for name, text in re.findall(r"^#define VERBS_(\w+)\s+((?:VERBS_\w+|[\d()<u +*])+?)\s*(?:/\*.*)?$", header.read_text(), re.M):
        text = re.sub(r"VERBS_(\w+)", lambda m: str(found[m[1]]), text)
        found[name] = eval(text.replace("u", ""), {})  # digits, brackets, shifts, sums and products only
    return found


@functools.lru_cache(None)
def own():
    """Bytes of the transport's structs by name without verbs_. The compiler writes them into assembly, which nobody runs."""
    names = ("lane", "qp", "buf")
    probe = '#include "transports/verbs/verbs.h"\nvoid f(void);\nvoid f(void)\n{\n' + "".join(
        f'__asm__ volatile(".ascii \\"size {n} %0\\"" : : "i"(sizeof(struct verbs_{n})));\n' for n in names) + "}\n"
    run = subprocess.run([*shlex.split(os.environ.get("CC") or "cc"), "-std=gnu11", "-D_GNU_SOURCE", f"-I{ROOT}/include", f"-I{ROOT}/src",
                          "-S", "-o", "-", "-x", "c", "-"], input=probe, capture_output=True, text=True,
                         env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"})      # a sanitizer is not for the compiler
    found = {name: int(size) for name, size in re.findall(r'size (\w+) [$#]?(\d+)', run.stdout)}
    if set(found) != set(names):
        raise SystemExit(f"the compiler does not say how large the structs of {HEADER.name} are: {run.stderr}")
    return found


W = constants()


# ---- what the driver makes of it: rdma-core, providers/mlx5 ---------------------------------------------------------


def pow2(n):
    return 1 << max(0, (n - 1).bit_length())


def align(n, a):
    return (n + a - 1) // a * a


def mlx5_wqe(inline, sge=1):
    """A send's entry on a reliable connection: mlx5_calc_send_wqe(), sq_overhead() in verbs.c. Room is kept for a memory window's
    binding in each: control 16, UMR control 48, key context 64, and 64."""
    overhead = 16 + max(16 + 16, 48 + 64 + 64)
    return align(max(overhead + 16 * sge, overhead + align(4 + inline, 16) if inline else 0), 64)


def mlx5_qp(wr, inline):
    """User memory of a queue pair without a receive queue: mlx5_calc_sq_size(), mlx5_alloc_qp_buf(). Beside the queue there are a
    work request's number (8), its data (4) and head (4) for each 64 bytes."""
    queue = pow2(wr * mlx5_wqe(inline))
    return align(queue, PAGE) + queue // 64 * (8 + 4 + 4) + A["qp_user"]


def mlx5_srq(wr):
    """mlx5_alloc_srq_buf(): twice as many entries as asked for and one, of 32 bytes, and their numbers."""
    return pow2(2 * wr + 1) * (32 + 8)


def mlx5_cq(cqe):
    """mlx5_create_cq(): one more than asked for, of 64 bytes."""
    return pow2(cqe + 1) * 64


# ---- who talks to whom ----------------------------------------------------------------------------------------------


def grid(n):
    """The most cubic three factors of n."""
    best = (1, 1, n)
    for a in range(1, int(round(n ** (1 / 3))) + 1):
        if n % a == 0:
            for b in range(a, int((n // a) ** 0.5) + 1):
                if n // a % b == 0:
                    best = min(best, (a, b, n // a // b), key=lambda d: max(d) - min(d))
    return best


def peers(pattern, rank, n, dims=None):
    """The set of those that `rank` of n exchanges messages with."""
    if pattern == "all":
        return set(range(n)) - {rank}
    if pattern == "ring":
        return {(rank - 1) % n, (rank + 1) % n} - {rank}
    if pattern == "star":       # a scheduler and its workers
        return set(range(1, n)) if rank == 0 else {0}
    if pattern == "tree":       # binomial, as of a broadcast: the parent lacks the lowest bit, children have one below it
        below = rank & -rank if rank else pow2(n)
        found = {rank & (rank - 1)} if rank else set()
        bit = 1
        while bit < below:
            if rank + bit < n:
                found.add(rank + bit)
            bit <<= 1
        return found
    x, y, z = dims or grid(n)
    i, j, k = rank // (y * z), rank // z % y, rank % z
    near = {((i + d) % x, j, k) for d in (-1, 1)} | {(i, (j + d) % y, k) for d in (-1, 1)} | {(i, j, (k + d) % z) for d in (-1, 1)}
    return {(a * y + b) * z + c for a, b, c in near} - {rank}


@functools.lru_cache(None)
def busiest(pattern, n, ppn):
    """(lanes of the busiest process, of each process of the busiest node): peers on other nodes, ranks placed node by node."""
    nodes = -(-n // ppn)
    if pattern == "all":
        held = {min(ppn, n), n - (nodes - 1) * ppn}     # by a full node, by the last
        k = max(held, key=lambda k: k * (n - k))
        return n - min(held), (n - k,) * k
    dims = grid(n) if pattern == "stencil6" else None
    remote = tuple(sum(p // ppn != r // ppn for p in peers(pattern, r, n, dims)) for r in range(n))
    return max(remote), max((remote[i:i + ppn] for i in range(0, n, ppn)), key=sum)


# ---- designs --------------------------------------------------------------------------------------------------------


def shared():
    """What a worker has on a device however many peers there are: receive buffers, their queue, buffers to send from: large ones and
    an eighth of their bytes in small ones (more_sends()), as many as there are at first."""
    small = W["SENDS"] * (W["BUF"] // W["INLINE"]) // 8
    n = W["SRQ"] + W["SENDS"] + small
    return (W["SRQ"] + W["SENDS"]) * W["BUF"] + small * W["INLINE"] + n * own()["buf"] + mlx5_srq(W["SRQ"])


def cqs(lanes, wr, each):
    """Completion queues: each has room for the whole receive queue and all work requests of its lanes (verbs_cq_get())."""
    return -(-lanes // each) * mlx5_cq(W["SRQ"] + each * wr)


class Design:
    """What a lane costs: bytes() of a process with so many lanes, cpu and adapter seconds and trips for one, queue pairs. Those peers
    that `cap` leaves without one are reached over tcp. `tcp`: the others have a TCP connection beside it, too."""

    def __init__(self, name, says, wr=None, inline=None, per_cq=None, cap=None, tcp=True):
        self.name, self.says, self.cap, self.tcp = name, says, cap, tcp
        self.wr, self.inline = wr or W["SQ"], W["INLINE"] if inline is None else inline
        self.per_cq = per_cq or W["CQ_LANES"]

    def qps(self, lanes):
        return min(lanes, self.cap) if self.cap else lanes

    def parts(self, lanes):
        q = self.qps(lanes)
        size = own()
        return {
            "buffers and their queues": shared(),
            "queue pairs, user": q * mlx5_qp(self.wr, self.inline),
            "completion queues": cqs(q, self.wr, self.per_cq),
            "queue pairs, kernel and adapter": q * (A["qp_kernel"] + A["qp_nic"]),
            "ours": q * (size["lane"] + size["qp"]) + lanes * A["own_endpoint"],
            "TCP, kernel": (lanes if self.tcp else lanes - q) * A["tcp_kernel"],
            "datagrams": 0 if self.tcp else mlx5_qp(256, 64) + 256 * (PAGE + 40) + q * A["ud_peer"],
        }

    def bytes(self, lanes):
        return sum(self.parts(lanes).values())

    def times(self, lanes=0):
        """(processor seconds of a connection on one side, of the adapter, round trips)"""
        share = self.qps(lanes) / lanes if lanes else 1     # of the peers that have a queue pair
        tcp = 1 if self.tcp else 1 - share
        cpu = tcp * A["connect_cpu"] + (1 - tcp) * A["ud_exchange_cpu"]
        return cpu, COMMANDS * A["qp_command"] * share, TRIPS if tcp else 2


class Datagrams(Design):
    """Everything but bulk over one UD queue pair; lanes of their own for the `cap` peers that exchange large buffers."""

    def parts(self, lanes):
        found = {**super().parts(lanes), "TCP, kernel": 0}
        found["datagrams"] = (mlx5_qp(256, 64) + A["ud_recv"] * (PAGE + 40 + 16) + 1024 * PAGE + lanes * A["ud_peer"])
        return found

    def qps(self, lanes):
        return min(lanes, self.cap) + 1

    def times(self, lanes=0):
        return A["ud_exchange_cpu"], COMMANDS * A["qp_command"] * self.qps(lanes) / max(lanes, 1), 2


class Dynamic(Design):
    """As UCX has it: a few initiators, one target, no queue pair for a peer. Mellanox's only."""

    def parts(self, lanes):
        return {"buffers and their queues": shared(), "queue pairs, user": (A["dc_initiators"] + 1) * mlx5_qp(self.wr, self.inline),
                "completion queues": mlx5_cq(W["SRQ"] + A["dc_initiators"] * self.wr), "ours": lanes * A["dc_peer"],
                "queue pairs, kernel and adapter": (A["dc_initiators"] + 1) * (A["qp_kernel"] + A["qp_nic"])}

    def qps(self, lanes):
        return A["dc_initiators"] + 1

    def times(self, lanes=0):
        return A["ud_exchange_cpu"], COMMANDS * A["qp_command"] * self.qps(lanes) / max(lanes, 1), 2


def cq_fit(wr, cqe=16384):
    """Lanes that share a completion queue which mlx5 makes just `cqe` long."""
    return (cqe - 1 - W["SRQ"]) // wr


DESIGNS = {d.name: d for d in (
    Design("rc", "as it is", cap=W["QPS"]),
    Design("rc-short", "as it is, 32 sends of 60 B inline", wr=32, inline=60, per_cq=cq_fit(32), cap=W["QPS"]),
    Design("rc-512", "RC for 512 peers, tcp for the others", cap=512),
    Design("rc-all", "RC for all peers"),
    Design("ud-setup", "as it is, set up by UD instead of TCP", cap=W["QPS"], tcp=False),
    Datagrams("ud", "UD, and RC for 64 peers", cap=64, tcp=False),
    Dynamic("dc", "DC, as in UCX"),
)}


# ---- start-up -------------------------------------------------------------------------------------------------------


def closed_form(lanes, node_lanes, times):
    """When the busiest node's last connection is up, all having begun at once: the slowest station's work, and one connection's way
    through the others. A process does its own connections one after another; the adapter those of all."""
    cpu, nic, trips = times
    work = max(lanes * cpu, node_lanes * nic)
    rest = cpu + nic - (cpu if work == lanes * cpu else nic) if lanes else 0
    return work + rest + trips * A["trip"] if lanes else 0.0


def events(pattern, n, ppn, times):
    """The same, played: every pair of ranks on different nodes connects at time 0. On both sides half of the processor's work comes
    before the adapter's and half after it, and round trips lie between; every process and adapter serves in the order of arrival."""
    cpu, nic, trips = times
    dims = grid(n) if pattern == "stencil6" else None
    free, queue, order = {}, [], 0
    for a in range(n):
        for b in peers(pattern, a, n, dims):
            if a < b and a // ppn != b // ppn:
                queue.append((0.0, order, 0, a, b, None))
                order += 1
    heapq.heapify(queue)

    def serve(station, at, work):
        free[station] = max(free.get(station, 0.0), at) + work
        return free[station]

    last, both = 0.0, {}
    while queue:
        at, number, step, a, b, side = heapq.heappop(queue)
        if step == 0:       # the connecting side, then the other
            heapq.heappush(queue, (serve(("p", a), at, cpu / 2) + trips / 2 * A["trip"], number, 1, a, b, None))
        elif step == 1:
            then = serve(("p", b), at, cpu / 2)
            for who in (a, b):
                heapq.heappush(queue, (then, number, 2, a, b, who))
        elif step == 2:
            heapq.heappush(queue, (serve(("n", side // ppn), at, nic), number, 3, a, b, side))
        else:               # up when both are
            then = serve(("p", side), at + trips / 4 * A["trip"], cpu / 2)
            both.setdefault(number, []).append(then)
            if len(both[number]) == 2:
                last = max(last, *both[number])
    return last


# ---- tables ---------------------------------------------------------------------------------------------------------


def case(design, pattern, n, ppn):
    """Of the busiest process lanes and bytes, of the busiest node queue pairs and bytes, and when all are up."""
    d = DESIGNS[design]
    lanes, held = busiest(pattern, n, ppn)
    if not lanes:
        return {"lanes": 0, "bytes": 0, "qps": 0, "seconds": 0.0, "node_bytes": 0}
    busy = [k for k in held if k]       # a process without a lane has not opened the adapter
    qps = sum(map(d.qps, busy))
    cpu, _, trips = d.times(lanes)
    return {"lanes": lanes, "bytes": d.bytes(lanes), "qps": qps, "node_bytes": sum(map(d.bytes, busy)),
            "seconds": closed_form(lanes, sum(busy), (cpu, COMMANDS * A["qp_command"] * qps / sum(busy), trips))}


def size(b):
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if b >= unit:
            return f"{b / unit:,.1f} {name}" if b < 100 * unit else f"{b / unit:,.0f} {name}"
    return f"{b} B"


def span(s):
    return "-" if not s else f"{s:,.0f} s" if s >= 10 else f"{s:.1f} s" if s >= 0.95 else f"{s * 1e3:.1f} ms"


def queue_pairs(n):
    return f"**{n:,}**" if n > A["nic_qps"] else f"{n:,}"


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(map(str, r)) + " |" for r in rows])


def constants_table():
    used = {"SRQ": "receive buffers of a worker on a device", "BUF": "bytes of a buffer", "SENDS": "buffers to send from, at first",
            "SQ": "work requests of a queue pair", "INLINE": "bytes inline", "SIGNAL": "sends for one completion",
            "CQ_LANES": "queue pairs for one completion queue",
            "QPS": "queue pairs of a worker on a device; further peers over tcp"}
    text = "sizeof(struct verbs_{}), told by the compiler; x86-64"
    rows = [(f"`VERBS_{k}`", f"{W[k]:,}", what) for k, what in used.items()]
    rows += [(f"own_{k}", f"{v:,} B", text.format(k)) for k, v in own().items()]
    for name, (value, unit, source) in ASSUMED.items():
        shown = f"{value * 1e6:,.0f} us" if unit == "s" else f"{value:,} {unit}".strip()
        rows.append((name, shown, source))
    return table(("parameter", "value", "is, or comes from"), rows)


def lane_table():
    rows = []
    for wr, inline in ((128, 256), (128, 316), (128, 124), (102, 124), (128, 60), (64, 60), (32, 60), (16, 60), (16, 0)):
        wqe = mlx5_wqe(inline)
        rows.append((wr, inline, wqe, pow2(wr * wqe) // wqe, size(pow2(wr * wqe)), size(mlx5_qp(wr, inline))))
    return table(("sends", "inline", "entry", "sends that fit", "queue", "queue pair in user memory"), rows)


def cq_table():
    rows = []
    for wr, each in ((W["SQ"], W["CQ_LANES"]), (W["SQ"], cq_fit(W["SQ"])), (32, cq_fit(32)), (W["SQ"] // W["SIGNAL"] + 8, 1000)):
        total = mlx5_cq(W["SRQ"] + each * wr)
        rows.append((each, wr, f"{W['SRQ'] + each * wr:,}", f"{pow2(W['SRQ'] + each * wr + 1):,}", size(total), size(int(total / each))))
    return table(("lanes for a queue", "entries for a lane", "asked for", "made", "bytes", "for a lane"), rows)


def each_lane(name=None):
    """Bytes of one more lane: of that part, or of all; a whole number of completion queues, so that their share counts."""
    n = W["CQ_LANES"] * 100
    one, many = DESIGNS["rc-all"].parts(1), DESIGNS["rc-all"].parts(1 + n)
    return int(sum(many[k] - one[k] for k in one if name in (None, k)) / n)


def parts_table():
    zero = DESIGNS["rc-all"].parts(0)
    rows = []
    for name in zero:
        if name != "datagrams":
            each = each_lane(name)
            rows.append((name, size(zero[name]) if zero[name] else "", size(each) if each else ""))
    rows.append(("together", size(sum(zero.values())), size(each_lane())))
    return table(("", "a worker on a device", "each lane"), rows)


def pattern_table(ppn):
    rows = []
    for n in SIZES:
        for p in PATTERNS:
            c = case("rc", p, n, ppn)
            rows.append((f"{n:,}", p, f"{c['lanes']:,}", size(c["bytes"]) if c["lanes"] else "-", queue_pairs(c["qps"]), span(c["seconds"])))
    return table(("processes", "pattern", "lanes of the busiest", "its memory", "queue pairs of the adapter", "all up after"), rows)


def design_table(pattern, ppn):
    rows = []
    for n in (1000, 10_000, 100_000):
        for name, d in DESIGNS.items():
            c = case(name, pattern, n, ppn)
            rows.append((f"{n:,}", d.says, size(c["bytes"]), size(c["node_bytes"]), queue_pairs(c["qps"]), span(c["seconds"])))
    return table(("processes", "design", "the busiest process", "its node", "queue pairs of the adapter", "all up after"), rows)


def setup_table():
    """How much of a connection's time and memory goes when UD takes TCP's place in setting it up."""
    rows = []
    for command in (25e-6, 50e-6, 100e-6, 200e-6):
        saved = A["qp_command"]
        A["qp_command"] = command
        a, b = (case(name, "all", 1000, 64)["seconds"] for name in ("rc", "ud-setup"))
        c, d = (case(name, "all", 1000, 1)["seconds"] for name in ("rc", "ud-setup"))
        A["qp_command"] = saved
        rows.append((f"{command * 1e6:.0f} us", span(c), span(d), span(a), span(b)))
    return table(("a firmware command", "1 a node, TCP", "1 a node, UD", "64 a node, TCP", "64 a node, UD"), rows)


TABLES = {
    "constants": constants_table, "lane": lane_table, "cq": cq_table, "parts": parts_table,
    "patterns-1": lambda: pattern_table(1), "patterns-64": lambda: pattern_table(64),
    "designs-all": lambda: design_table("all", 64), "designs-stencil6": lambda: design_table("stencil6", 64), "setup": setup_table,
}


def ours(rails):
    """Of a peer that is reached over so many ports."""
    return own()["lane"] + rails * own()["qp"] + A["own_endpoint"]


def iwarp_recvs(credits):
    """Receive buffers that stand behind a lane over iWARP, in bytes (verbs_promise())."""
    return (credits + W["NOTES"]) * W["BUF"]


# Figures in the page's sentences, beside those of a case ("rc all 10000 64 node").
FACTS = {
    "worker": lambda: size(shared()), "lane": lambda: size(each_lane()), "ours": lambda: size(each_lane("ours")),
    "tcp": lambda: size(each_lane("TCP, kernel")), "cq": lambda: size(each_lane("completion queues")),
    "queue": lambda: size(pow2(W["SQ"] * mlx5_wqe(W["INLINE"]))), "qp": lambda: size(mlx5_qp(W["SQ"], W["INLINE"])),
    "beside": lambda: size(mlx5_qp(W["SQ"], W["INLINE"]) - pow2(W["SQ"] * mlx5_wqe(W["INLINE"]))),
    "short": lambda: size(mlx5_qp(32, 60)), "bound": lambda: f"{W['QPS']:,}", "cq-lanes": lambda: f"{W['CQ_LANES']}",
    "adapter-peers": lambda: f"{A['nic_qps'] // 64:,}", "bound-ppn": lambda: f"{A['nic_qps'] // W['QPS']:,}",
    "recvs": lambda: f"{W['SRQ']:,}", "recv-bytes": lambda: size(W["SRQ"] * W["BUF"]), "credits": lambda: f"{W['CREDITS']}",
    "promise": lambda: f"{W['SRQ'] // W['CREDITS'] + 1}", "sends-most": lambda: size(W["SENDS_MAX"] * W["BUF"]),
    "smalls-most": lambda: size(W["SMALLS_MAX"] * W["INLINE"]), "ud-buffers": lambda: size(DESIGNS["ud"].parts(0)["datagrams"]),
    "ours-4": lambda: size(ours(W["DEVS"])), "rails": lambda: f"{W['DEVS']}",
    "iwarp-lane": lambda: size(iwarp_recvs(W["CREDITS"])), "iwarp-few": lambda: size(iwarp_recvs(W["CREDITS_FEW"])),
    "iwarp-first": lambda: f"{W['SRQ'] // (W['CREDITS'] + W['NOTES'])}",
    "over-tcp": lambda: f"{case('rc', 'all', 10_000, 64)['lanes'] - W['QPS']:,}",
}
FIGURES = {"lanes": lambda c: f"{c['lanes']:,}", "bytes": lambda c: size(c["bytes"]), "node": lambda c: size(c["node_bytes"]),
           "qps": lambda c: f"{c['qps']:,}", "up": lambda c: span(c["seconds"])}


def figure(name):
    if name in FACTS:
        return FACTS[name]()
    design, pattern, n, ppn, what = name.split()
    return FIGURES[what](case(design, pattern, int(n), int(ppn)))


def filled(page):
    """The page's text with its tables between their marks and its figures in front of theirs made anew. An unknown mark is an error."""
    def put(m):
        return f"<!-- scale_sim: {m[1]} -->\n{TABLES[m[1]]()}\n<!-- end -->"
    page = re.sub(r"<!-- scale_sim: ([\w-]+) -->\n.*?<!-- end -->", put, page, flags=re.S)
    return re.sub(r"[\d.,]+(?: (?:[KMG]iB|m?s))?<!--= ([\w -]+) -->", lambda m: f"{figure(m[1])}<!--= {m[1]} -->", page)


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--write", type=Path, help="a page whose tables shall be made anew")
    ap.add_argument("-n", type=int, help="processes: one case")
    ap.add_argument("--ppn", type=int, default=64, help="processes of a node, which has one adapter (64)")
    ap.add_argument("--pattern", choices=PATTERNS, default="all")
    ap.add_argument("--design", choices=DESIGNS, default="rc")
    o = ap.parse_args()
    if o.write:
        o.write.write_text(filled(o.write.read_text()))
    elif o.n:
        c = case(o.design, o.pattern, o.n, o.ppn)
        print(f"{c['lanes']:,} lanes, {size(c['bytes'])}, {c['qps']:,} queue pairs of the adapter, all up after {span(c['seconds'])}")
        for name, b in DESIGNS[o.design].parts(c["lanes"]).items():
            print(f"  {size(b):>12}  {name}")
    else:
        for name, make in TABLES.items():
            print(f"\n{name}\n\n{make()}")


if __name__ == "__main__":
    main()
