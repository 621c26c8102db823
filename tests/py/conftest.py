# SPDX-License-Identifier: BSD-3-Clause
"""What the Python tests share: running a coroutine on either event loop, a connected pair on each transport, a peer in a
process of its own. Nothing sleeps and hopes: what is waited for has a limit."""
import asyncio
import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import weft

TRANSPORTS = os.environ.get("WEFT_TEST_TRANSPORTS", "loop,shm,tcp").split(",")
LIMIT = 30  # seconds that anything may take
LOOPS = ["asyncio", "uvloop"]
LONG = bool(os.environ.get("WEFT_TEST_LONG"))


def new_loop(kind):
    if kind == "uvloop":
        return pytest.importorskip("uvloop", reason="uvloop is not installed").new_event_loop()
    return asyncio.new_event_loop()


def run_on(kind, coro, limit=LIMIT):
    """As asyncio.run(), on a loop of that kind, with a limit."""
    loop = new_loop(kind)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(asyncio.wait_for(coro, limit))
    finally:
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=5))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


@pytest.fixture(params=LOOPS)
def run(request):
    """run(coro): on asyncio's loop and on uvloop's."""
    return lambda coro, limit=LIMIT: run_on(request.param, coro, limit)


@pytest.fixture
def run1():
    """run1(coro): on asyncio's loop only, for what does not depend on it."""
    return lambda coro, limit=LIMIT: run_on("asyncio", coro, limit)


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@contextlib.asynccontextmanager
async def pair(transport=None):
    """Both ends of a connection in this loop."""
    accepted = asyncio.get_running_loop().create_future()
    async with await weft.listen(accepted.set_result, "weft://127.0.0.1:0", transports=transport) as listener:
        a = await weft.connect(listener.url, transports=transport)
        b = await accepted
        try:
            yield a, b
        finally:
            await asyncio.wait_for(asyncio.gather(a.close(), b.close()), LIMIT)


class Peer:
    """A Python process that runs @code, with `url` and `transports` as variables, and talks by lines."""

    def __init__(self, code, *args):
        head = "import asyncio, os, sys, time\nimport weft\nargs = sys.argv[1:]\n"
        self.process = subprocess.Popen([sys.executable, "-c", head + textwrap.dedent(code), *map(str, args)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    async def line(self):
        """Its next line; what it wrote to stderr stands in the test's output."""
        loop = asyncio.get_running_loop()
        text = await asyncio.wait_for(loop.run_in_executor(None, self.process.stdout.readline), LIMIT)
        assert text, f"the peer ended with {self.process.wait(5)}"
        return text.strip()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)

    def end(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            return self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.process.stdout.close()


@pytest.fixture
def peer():
    """peer(code, *args): started now, ended with the test."""
    all_ = []

    def start(code, *args):
        all_.append(Peer(code, *args))
        return all_[-1]

    yield start
    for p in all_:
        if p.process.poll() is None:
            p.process.kill()
        p.process.wait()
        p.process.stdin.close()
        p.process.stdout.close()


def terminal_pair():
    """A terminal of our own and its other side; a machine without devpts has none."""
    try:
        return pty.openpty()
    except OSError as e:
        pytest.skip(f"no terminal is to be had here: {e}")


def read_until(fd, wanted):
    """What comes from a terminal, until it has @wanted."""
    seen, end = "", time.monotonic() + LIMIT
    while wanted not in seen:
        assert time.monotonic() < end and select.select([fd], [], [], LIMIT)[0], f"no {wanted!r} in {seen!r}"
        seen += os.read(fd, 4096).decode()
    return seen


def interrupt_amid(argv, begun, env=None):
    """Runs a measurement of an hour, whose only line is told to a terminal as @begun, and sends ^C amid it. Its exit status
    and what it printed."""
    terminal, its = terminal_pair()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=its, text=True, env=env) as tool:
        os.close(its)
        seen = read_until(terminal, begun)
        assert "[1/1] shm" in seen
        while seen.count("%") < 3:                   # said again only when a round is over
            seen += read_until(terminal, "%")
        tool.send_signal(signal.SIGINT)
        tool.send_signal(signal.SIGINT)              # as who signals the group, too
        out, _ = tool.communicate(timeout=LIMIT)
        read_until(terminal, "interrupted; what was measured")
    os.close(terminal)
    return tool.returncode, out


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
