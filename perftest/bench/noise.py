# SPDX-License-Identifier: BSD-3-Clause
"""noise.py - how quiet the machine is: what other programs and the host of a virtual machine take from us, whether a loop
that does nothing else is interrupted, and whether our CPUs are as far apart as they were a moment ago; and how to keep
them there."""
import os
import resource
import time
from dataclasses import dataclass

SPIN_S = 0.01
GAP_NS = 20_000  # the loop takes less than 1 us a turn: this long, something else ran
DISTURBED = 0.05  # of the CPUs' time
MOVED = 1.3  # the cache line takes so many times as long, or as short
WIDE = 0.15  # (75th percentile - 25th) / median of a contender's runs


@dataclass
class Round:
    """What was seen around one round of a cell."""

    foreign: float  # CPU time of others, as a share of our CPUs' time
    steal: float  # what the host took, likewise
    jitter: float  # share of a spinning loop's time that was lost

    def disturbed(self):
        return self.foreign + self.steal > DISTURBED or self.jitter > DISTURBED


def same_distance(lines):
    """Were our CPUs equally far apart, each time that a cache line's trip was measured?"""
    return not lines or max(lines) <= MOVED * min(lines)


class Awake:
    """While it is entered, idle CPUs wait in a loop instead of halting. A virtual machine's CPU that halts may wake on
    another core: the distance between ours then changes from one program to the next. Where that is not allowed, `why`."""

    PLACE = "/dev/cpu_dma_latency"  # the kernel heeds it for as long as the file is open

    def __init__(self):
        self.fd, self.why = None, ""

    def __enter__(self):
        try:
            self.fd = os.open(self.PLACE, os.O_WRONLY)
            os.write(self.fd, bytes(4))  # us that waking may take
        except OSError as exc:
            self.why = f"{self.PLACE}: {exc.strerror}"
        return self

    def __exit__(self, *exc):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Watch:
    """From its making to its end(): the CPUs' time, less our own children's."""

    def __init__(self):
        self.start = self.read()

    @staticmethod
    def read():
        with open("/proc/stat") as f:
            user, nice, system, _, _, irq, softirq, steal = (int(v) for v in f.readline().split()[1:9])
        tick = os.sysconf("SC_CLK_TCK")
        ours = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return time.monotonic(), (user + nice + system + irq + softirq) / tick, steal / tick, ours

    def end(self):
        """(foreign, steal) as shares of all CPUs' time."""
        wall, busy, steal, ours = (b - a for a, b in zip(self.start, self.read(), strict=True))
        room = max(wall, 1e-3) * os.cpu_count()
        return max(0.0, busy - ours) / room, steal / room


def jitter(cpus):
    """The worst CPU's share of lost time."""
    before = os.sched_getaffinity(0)
    worst = 0.0
    try:
        for cpu in set(cpus):
            os.sched_setaffinity(0, {cpu})
            worst = max(worst, lost_share())
    finally:
        os.sched_setaffinity(0, before)
    return worst


def lost_share():
    clock = time.perf_counter_ns
    start = last = clock()
    end, lost = start + int(SPIN_S * 1e9), 0
    while last < end:
        now = clock()
        if now - last > GAP_NS:
            lost += now - last
        last = now
    return lost / (last - start)


def quantile(values, q):
    """Of a sorted list, interpolated."""
    at = q * (len(values) - 1)
    low = int(at)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (at - low)


def median(values):
    return quantile(sorted(values), 0.5)


def spread(values):
    """(75th percentile - 25th) / median; None for fewer than three, which tell nothing."""
    if len(values) < 3 or not median(values):
        return None
    values = sorted(values)
    return (quantile(values, 0.75) - quantile(values, 0.25)) / median(values)
