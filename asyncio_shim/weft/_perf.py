# SPDX-License-Identifier: BSD-3-Clause
"""What python -m weft.perf measures: the two sides of an endpoint, the tests, their loops.

The measuring side sends words, JSON in tagged messages ("make buffers", "echo 1000 messages"); the serving side obeys
them until it is told to quit. Loops are written out for each test where a helper function in between would cost a tenth of
what is measured. They are what a program on asyncio would write: await ep.send(), await ep.recv().
"""
import asyncio
import collections
import hashlib
import itertools
import json
import os
import resource
import time
from dataclasses import dataclass, field

import weft

PROGRAM, PROTOCOL = "weft.perf", 1
HELLO, TALK = 1, 2  # tags; data has tag 0
WORDS_MAX = 8192
PING_MORE = 2  # round trips of a ping-pong that do not count: the first, and the last
HELLO_S, STALL_S, SERVE_STALL_S = 3, 30, 600

stop = []  # has something in it after ^C

PING_PONG, ROUND_TRIP, ONE_WAY = range(3)
LAT_SIZES = (8, 1 << 10, 64 << 10, 1 << 20)
BW_SIZES = (4 << 10, 64 << 10, 1 << 20, 16 << 20)


class PerfError(Exception):
    """What went wrong, in words for people."""


@dataclass(frozen=True)
class Test:
    pattern: int
    sizes: tuple
    window: int
    what: str
    size_min: int = 0
    size_max: int = 1 << 60
    one_sided: bool = False


TESTS = {
    "tag_lat": Test(PING_PONG, LAT_SIZES, 2, "send() there and back, into recv(); half the round trip"),
    "tag_bw": Test(ONE_WAY, BW_SIZES, 64, "send() one way, into recv() that were called before"),
    "tag_rate": Test(ONE_WAY, (8,), 64, "the same, of small messages"),
    "am_lat": Test(PING_PONG, LAT_SIZES, 2, "am_send() there and back, into am_recv(); half the round trip"),
    "stream_bw": Test(ONE_WAY, BW_SIZES, 64, "write() one way, into readinto()", 1),
    "put_lat": Test(PING_PONG, LAT_SIZES, 2, "put_signal() there and back, awaited by signalled(): nobody polls memory on "
                    "asyncio; half the round trip", 1, one_sided=True),
    "put_bw": Test(ONE_WAY, BW_SIZES, 64, "put(), ended by flush()", 1, one_sided=True),
    "get_lat": Test(ROUND_TRIP, LAT_SIZES, 1, "one get() at a time; all of it", 1, one_sided=True),
    "get_bw": Test(ONE_WAY, BW_SIZES, 64, "a window of get()", 1, one_sided=True),
    "atomic_lat": Test(ROUND_TRIP, (8,), 1, "one fetch_add() at a time; all of it", 8, 8, one_sided=True),
}

# ---- what others took of a side's time ------------------------------------------------------------------------------


def noise(cpu, alone):
    """Counters of this thread: the time, how long it could have run and did not (None: not known), how often preempted."""
    lost = None
    if alone:
        try:
            with open("/proc/thread-self/schedstat") as f:
                lost = int(f.read().split()[1])
            with open("/proc/stat") as f:
                stolen = [line.split()[8] for line in f if line.startswith(f"cpu{cpu} ")]
            lost += sum(map(int, stolen)) * 10**9 // os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            lost = None
    return time.monotonic_ns(), lost, resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def noise_share(then, now):
    if then[1] is None or now[1] is None or now[0] == then[0]:
        return None
    return (now[1] - then[1]) / (now[0] - then[0])


# ---- sides ----------------------------------------------------------------------------------------------------------


class Slots:
    """Buffers for a window of messages. Ping-pong: 0 is sent, 1 is received into; else k goes to k of the other side.
    What a side sends is filled before the first message; what it received is compared with what the other has filled."""

    def __init__(self, side, test, size, window, memory="malloc", one_buffer=False):
        pattern = TESTS[test].pattern
        self.test, self.size, self.window, self.serves = test, size, window, side.serves
        stride = 0 if one_buffer and pattern == ONE_WAY else -(-size // 64) * 64
        total = (stride * window or size) + 64
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 3
        if total > most:
            raise PerfError(f"{window} buffers of {size} bytes are more than a third of this machine's memory")
        self.whole = weft.alloc(total) if memory == "weft" else bytearray(total)
        self.memory = self.whole if memory == "weft" else weft.register(self.whole) if TESTS[test].one_sided else None
        view = memoryview(self.whole)
        self.views = [view[k * stride:k * stride + size] for k in range(window)]
        self.offsets = [k * stride for k in range(window)]
        self.token = self.memory.grant(side.ep, "rwa") if TESTS[test].one_sided else None
        self.remote = None
        self.signals = 0                             # put_lat: how many came
        for k, view in enumerate(self.views):
            if self.sends(k):
                view[:] = pattern_of(size, self.serves)

    def sends(self, k):
        if self.test == "atomic_lat":
            return False
        if TESTS[self.test].pattern == PING_PONG:
            return k == 0
        return self.serves == (self.test in ("get_lat", "get_bw"))

    def wrong(self):
        """Place of the first byte that did not come as it should; None: all did."""
        if self.test == "atomic_lat":
            return 0 if self.serves and int.from_bytes(self.views[0], "little") != 1 else None
        want = pattern_of(self.size, not self.serves)
        for k, view in enumerate(self.views):
            got = b"" if self.sends(k) else bytes(view)
            if got and got != want:
                return next(i for i, (a, b) in enumerate(zip(got, want)) if a != b)
        return None

    async def close(self):
        if self.token:
            await self.memory.revoke(self.token)
        for view in self.views:
            view.release()
        if self.memory:
            self.memory.close()


def pattern_of(size, serves):
    tile = hashlib.shake_128(b"served" if serves else b"measured").digest(65521)
    return (tile * (size // len(tile) + 1))[:size]


class Side:
    def __init__(self, ep, serves, cpu, alone):
        self.ep, self.serves, self.cpu, self.alone = ep, serves, cpu, alone
        self.room = bytearray(WORDS_MAX)
        self.slots = None

    async def tell(self, **words):
        await self.ep.send(json.dumps(words).encode(), TALK)

    async def hear(self, limit=STALL_S):
        n = await within(self.ep.recv(self.room, TALK), limit)
        try:
            words = json.loads(self.room[:n])
        except ValueError:
            words = None
        if not isinstance(words, dict):
            raise PerfError("the peer sent no words but something else")
        if words.get("failed"):
            raise PerfError(f"the serving side: {printable(str(words['failed']))}")
        return words

    async def ask(self, **words):
        await self.tell(**words)
        return await self.hear()

    async def hello(self, role=None):
        """Both sides introduce themselves; gives the other one's CPU."""
        role = role or ("serves" if self.serves else "measures")
        await self.ep.send(f"{PROGRAM} {PROTOCOL} {role} cpu {self.cpu}".encode().ljust(64, b"\0"), HELLO)
        room = bytearray(64)
        try:
            await within(self.ep.recv(room, HELLO), HELLO_S)
        except (weft.Error, PerfError) as exc:
            raise PerfError(f"{self.ep.peer} does not answer as {PROGRAM} does ({exc}); run `python -m {PROGRAM} --listen` "
                            "there") from exc
        text = printable(room.rstrip(b"\0").decode(errors="replace")).split()
        if len(text) < 3 or text[0] != PROGRAM:
            raise PerfError(f"{self.ep.peer} is \"{''.join(text[:1])}\" and not {PROGRAM}; run the same program on both "
                            "sides")
        if text[1] != str(PROTOCOL):
            raise PerfError(f"{self.ep.peer} speaks version {text[1]} of the protocol of {PROGRAM}, this program version "
                            f"{PROTOCOL} (WEFT_EVERSION); run the same weft on both sides")
        if text[2] == "busy":
            raise PerfError(f"{self.ep.peer} measures one peer at a time, and has one; try again later")
        if text[2] != ("measures" if self.serves else "serves") or not text[-1].lstrip("-").isdigit():
            raise PerfError(f"{self.ep.peer} said \"{' '.join(text)}\"")
        return int(text[-1])


def printable(text):
    """What a peer has written, fit to be shown on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


async def within(awaitable, limit):
    try:
        return await asyncio.wait_for(awaitable, limit)
    except asyncio.TimeoutError:
        raise PerfError(f"nothing came from the peer for {limit:.0f} s") from None


# ---- ping-pong ------------------------------------------------------------------------------------------------------
#
# The clock is read just after a message was sent, while it is under way, so that it costs the exchange nothing. A sample is
# the time from one sending to the next.


async def tag_ping(side, count):
    send, recv, (out, into) = side.ep.send, side.ep.recv, side.slots.views
    clock, stamps = time.perf_counter_ns, []
    stamp = stamps.append
    for _ in range(count):
        await send(out)
        stamp(clock())
        await recv(into)
    return stamps


async def tag_echo(side, count):
    send, recv, (out, into) = side.ep.send, side.ep.recv, side.slots.views
    for _ in range(count):
        await recv(into)
        await send(out)


async def am_ping(side, count):
    send, recv, (out, into) = side.ep.am_send, side.ep.am_recv, side.slots.views
    clock, stamps = time.perf_counter_ns, []
    stamp = stamps.append
    for _ in range(count):
        await send(b"", out)
        stamp(clock())
        await recv(into)
    return stamps


async def am_echo(side, count):
    send, recv, (out, into) = side.ep.am_send, side.ep.am_recv, side.slots.views
    for _ in range(count):
        await recv(into)
        await send(b"", out)


async def put_ping(side, count):
    slots = side.slots
    put, signalled, token = slots.remote.put_signal, slots.memory.signalled, slots.token
    out, offset = slots.views[0], slots.offsets[1]
    clock, stamps = time.perf_counter_ns, []
    stamp = stamps.append
    for n in range(slots.signals + 1, slots.signals + count + 1):
        await put(out, offset)
        stamp(clock())
        await signalled(token, n)
    slots.signals += count
    return stamps


async def put_echo(side, count):
    slots = side.slots
    put, signalled, token = slots.remote.put_signal, slots.memory.signalled, slots.token
    out, offset = slots.views[0], slots.offsets[1]
    for n in range(slots.signals + 1, slots.signals + count + 1):
        await signalled(token, n)
        await put(out, offset)
    slots.signals += count


PINGS = {"tag_lat": tag_ping, "am_lat": am_ping, "put_lat": put_ping}
ECHOES = {"tag_lat": tag_echo, "am_lat": am_echo, "put_lat": put_echo}


async def ping_with_gaps(side, ping, count, gap_s):
    """Round trips one by one, each after a pause in which the other side has gone to sleep. Gives their times."""
    times = []
    for _ in range(count):
        time.sleep(gap_s)                            # precise, and this side has nothing else to do
        begun = time.perf_counter_ns()
        await ping(side, 1)
        times.append(time.perf_counter_ns() - begun)
    return times


# ---- round trips, one way -------------------------------------------------------------------------------------------


async def trips(side, count, batch):
    """[(ns, operations)]. An operation may be done when it is posted: nothing hides the clock, it is read once a batch."""
    slots, remote, clock, out = side.slots, side.slots.remote, time.perf_counter_ns, []
    post, args = (remote.fetch_add, (0, 1)) if slots.test == "atomic_lat" else (remote.get, (slots.views[0],))
    begun = clock()
    while count:
        n = min(batch, count)
        for _ in range(n):
            await post(*args)
        now = clock()
        out.append((now - begun, n))
        begun, count = now, count - n
    return out


def poster(side):
    """What is called for each message of a one-way test on this side, and with what."""
    slots, ep = side.slots, side.ep
    if slots.test in ("put_bw", "get_bw"):
        return slots.remote.put if slots.test == "put_bw" else slots.remote.get, list(zip(slots.views, slots.offsets))
    if slots.test == "stream_bw":
        post = ep.readinto if side.serves else ep.write
    else:
        post = ep.recv if side.serves else ep.send
    return post, [(view,) for view in slots.views]


async def flow(side, count, gather=False):
    """Keeps a window of messages under way; with @gather they are begun together and awaited together."""
    post, items = poster(side)
    if gather:
        for at in range(0, count, len(items)):
            await asyncio.gather(*[post(*item) for item in items[:count - at]])
        return
    ops = collections.deque()
    push, pop, turn = ops.append, ops.popleft, itertools.cycle(items)
    for item in itertools.islice(turn, min(count, len(items))):
        push(post(*item))
    for item in itertools.islice(turn, max(0, count - len(items))):
        await pop()
        push(post(*item))
    while ops:
        await pop()


# ---- serving --------------------------------------------------------------------------------------------------------


async def set_up(side, test=None, size=None, window=None, memory="malloc", one_buffer=False, token=""):
    t = TESTS.get(test)
    if not t or not isinstance(size, int) or not t.size_min <= size <= t.size_max or type(window) is not int or \
            not (2 if t.pattern == PING_PONG else 1) <= window <= 65536:
        raise PerfError("a test that is none was asked for")
    side.slots = Slots(side, test, size, window, memory, one_buffer)
    if t.one_sided:
        side.slots.remote = side.ep.remote(bytes.fromhex(token))
    return {"token": (side.slots.token or b"").hex()}


async def run(side, count=0, gather=False):
    echo = ECHOES.get(side.slots.test)
    if echo:
        await echo(side, count)
        return None
    await flow(side, count, gather)
    return {"count": count}


async def verify(side):
    return {"wrong": side.slots.wrong()}


async def tell_noise(side):
    return {"noise": noise(side.cpu, side.alone)}


async def clear(side):
    if side.slots.remote:
        side.slots.remote.close()
    await side.slots.close()
    side.slots = None
    return {}


COMMANDS = {"set_up": set_up, "run": run, "verify": verify, "noise": tell_noise, "clear": clear}


async def serve(side):
    """Obeys until it is told to quit. What fails is told to the other side, which may be far from our stderr."""
    while (words := await side.hear(SERVE_STALL_S)).get("do") != "quit":
        command = COMMANDS.get(words.pop("do", None))
        try:
            if not command or (command is not set_up and command is not tell_noise and not side.slots):
                raise PerfError("an unknown command")
            answer = await command(side, **words)
        except Exception as exc:
            await side.tell(failed=str(exc)[:500] or type(exc).__name__)
            await side.ep.flush()
            raise
        if answer is not None:
            await side.tell(**answer)


def digits(value):
    """As many as mean something."""
    return float(f"{value:.6g}")


# ---- measuring ------------------------------------------------------------------------------------------------------


@dataclass
class Cell:
    """One line of the result, and how it comes about: as in perftest/measure.c."""

    side: Side
    options: object
    test: str
    size: int
    progress: object = None                          # called with the share of the time that is over
    counts: collections.Counter = field(default_factory=collections.Counter)   # samples, ns: how many
    rates: list = field(default_factory=list)        # one way: messages per us of each round
    batch: int = 1
    each_ns: float = 0.0                             # a message or round trip, in the best round so far
    iterations: int = 0
    rounds: int = 0

    ROUND_S, LONG_S, BATCH_MAX, WINDOW_BYTES, ALL_TIMES = 0.02, 0.001, 256, 64 << 20, 3

    def __post_init__(self):
        o, self.t = self.options, TESTS[self.test]
        fit = self.WINDOW_BYTES // max(self.size, 1)
        self.window = self.t.window
        if self.t.pattern == ONE_WAY:
            self.window = o.window or max(1, min(self.t.window, fit))
        self.gather = o.gather if self.test == "tag_rate" else 0
        self.window = self.gather or self.window
        self.gap_s = o.gap * 1e-6 if self.t.pattern == PING_PONG else 0
        self.started = time.monotonic()

    async def measure(self):
        """The line as a dict; None: interrupted before there was a figure."""
        side, talk = self.side, self.side.ask
        await self.set_up()
        await self.check()
        await self.warm_up()
        before, there, here = self.path(), (await talk(do="noise"))["noise"], noise(side.cpu, side.alone)
        await self.all_rounds()
        now = noise(side.cpu, side.alone)
        there_now = (await talk(do="noise"))["noise"]
        after = self.path()
        if side.slots.remote:
            side.slots.remote.close()
        await talk(do="clear")
        await side.slots.close()
        side.slots = None
        if not self.rounds:
            return None
        shares = [noise_share(here, now), noise_share(there, there_now)]
        row = self.figures() | {
            "noise": None if None in shares else digits(max(shares)),
            "preempted": [now[2] - here[2], there_now[2] - there[2]],
            "rounds": self.rounds, "path": after[0], "lane": after[1], "memory": self.options.memory,
            "copied_bytes": [b - a for a, b in zip(before[2], after[2])],
        }
        row["both_copied"] = after[0] != "loop" and all(row["copied_bytes"])
        return row | ({"interrupted": True} if stop else {})

    async def set_up(self):
        side, o = self.side, self.options
        side.slots = Slots(side, self.test, self.size, self.window, o.memory, o.one_buffer)
        token = (side.slots.token or b"").hex()
        answer = await side.ask(do="set_up", test=self.test, size=self.size, window=self.window, memory=o.memory,
                                one_buffer=o.one_buffer, token=token)
        if self.t.one_sided:
            side.slots.remote = side.ep.remote(bytes.fromhex(answer["token"]))

    def path(self):
        what, counts = json.loads(self.side.ep.explain(json=True)), json.loads(weft.stats())
        return what["transport"], what["lane"], (counts["copy_bytes_here"], counts["copy_bytes_peer"])

    # -- rounds

    async def one_round(self, count):
        limit = STALL_S + count * (self.gap_s + self.size / (1 << 26))
        took_ns = await within(self.rounds_of[self.t.pattern](self, count), limit)
        each = took_ns / count
        self.each_ns = min(self.each_ns or each, each)

    async def ping_round(self, count):
        ping = PINGS[self.test]
        if self.gap_s:
            await self.side.tell(do="run", count=count)
            times = await ping_with_gaps(self.side, ping, count, self.gap_s)
            self.counts.update(times)
            return sum(times) + count * self.gap_s * 1e9
        more = PING_MORE if 0 < self.each_ns < self.LONG_S * 1e9 else 0     # the very first one is the check
        await self.side.tell(do="run", count=count + more)
        stamps = await ping(self.side, count + more)
        if not more:
            stamps.append(time.perf_counter_ns())
        times = stamps[more // 2:]
        self.counts.update(b - a for a, b in zip(times, times[1:]))
        return times[-1] - times[0]

    async def trip_round(self, count):
        samples = await trips(self.side, count, self.batch)
        self.counts.update(ns / n if n > 1 else ns for ns, n in samples)
        return sum(ns for ns, _ in samples)

    async def flow_round(self, count):
        side, served = self.side, self.test not in ("put_bw", "get_bw")
        if served:
            await side.tell(do="run", count=count, gather=bool(self.gather))
        begun = time.perf_counter_ns()
        await flow(side, count, self.gather)
        if self.test == "put_bw":
            await side.ep.flush()
        if served and (got := (await side.hear()).get("count")) != count:
            raise PerfError(f"{count} messages sent, {got} received")
        took = time.perf_counter_ns() - begun
        self.rates.append(count * 1e3 / max(took, 1))
        return took

    rounds_of = {PING_PONG: ping_round, ROUND_TRIP: trip_round, ONE_WAY: flow_round}

    # -- how much

    async def check(self):
        """What is timed later is done once, and every byte of it is looked at."""
        await self.one_round(self.window if self.t.pattern == ONE_WAY else 1)
        theirs = (await self.side.ask(do="verify")).get("wrong")
        for who, wrong in (("the peer has", theirs), ("here is", self.side.slots.wrong())):
            if wrong is not None:
                raise PerfError(f"{self.test} of {self.size} bytes: {who} wrong data from byte {wrong} on")
        self.checked = time.monotonic()

    def spent(self):
        """Share of the time that is over; making and checking the buffers is no part of it, unless that takes long."""
        now = time.monotonic()
        return max(now - self.checked, (now - self.started) / self.ALL_TIMES) / self.options.time

    async def warm_up(self):
        whole = self.options.time
        least, most = min(0.1, 0.5 / whole), min(0.25, 1 / whole)
        wanted_ns = min(self.ROUND_S, whole / 10) * 1e9
        n = 1 + int(wanted_ns / 4 / self.each_ns)
        while not stop and self.spent() < most:
            await self.one_round(n)
            if self.each_ns * n < wanted_ns / 2:
                n *= 2
            elif self.spent() >= least or self.options.iterations:
                break
        self.per_round = n
        if self.t.pattern == ROUND_TRIP:
            clock_ns = min(-time.perf_counter_ns() + time.perf_counter_ns() for _ in range(100))
            self.batch = min(self.BATCH_MAX, 1 + int(100 * clock_ns / (self.each_ns + 1)))
        self.counts.clear()
        self.rates.clear()

    async def all_rounds(self):
        left = self.options.iterations or 1 << 62
        while not stop and left:
            n = min(self.per_round, left)
            await self.one_round(n)
            self.iterations += n
            self.rounds += 1
            left -= n
            if self.progress:
                self.progress(self.spent())
            if self.spent() >= 1:
                break

    # -- figures

    def quantile(self, share):
        rank, seen = int(share * sum(self.counts.values())), 0
        for ns in sorted(self.counts):
            seen += self.counts[ns]
            if seen > rank:
                break
        return digits(ns / (2000 if self.t.pattern == PING_PONG else 1000))

    def figures(self):
        row = {"iterations": self.iterations}
        if self.t.pattern != ONE_WAY:
            row["lat_us"] = {"min": self.quantile(0), "p50": self.quantile(0.5), "p99": self.quantile(0.99),
                             "p99.9": self.quantile(0.999)}
            row |= {"gap_us": self.options.gap} if self.gap_s else {"batch": self.batch}
            return row
        rates = sorted(self.rates)
        rate, gb = rates[len(rates) // 2], self.size / 1000
        row |= {"bw_GBps": digits(rate * gb), "rate_Mps": digits(rate),
                "bw_GBps_range": [digits(rates[0] * gb), digits(rates[-1] * gb)], "window": self.window}
        return row | ({"gather": self.gather} if self.gather else {})
