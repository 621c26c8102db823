# SPDX-License-Identifier: BSD-3-Clause
"""A scheduler and workers as the processes of one job, and more workers whenever somebody starts them.

    srun -n 8 python -m weft.dask --scheduler-file F        rank 0 is the scheduler, the others are workers
    srun -n 4 python -m weft.dask --scheduler-file F --no-scheduler        four workers more, at any time

or a program of one's own, of which each process calls initialize(): rank 0 becomes the scheduler, rank 1 goes on and is the client,
the others become workers.

Processes find each other by the scheduler file alone, or by --scheduler ADDRESS. A file that an earlier job left behind is not
believed: it names another job, or a scheduler that does not answer.
"""
from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import errno
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import weft

from . import _rank

DEFAULT_PROTOCOL = "weft"
TWICE_S = 1.0                                # signals that come within this time are one
ANSWER_S = 2                                 # a scheduler that its file names answers within
LOOK_S = 0.05                                # how often a worker looks for the scheduler file


class LaunchError(RuntimeError):
    """The job cannot be as it was asked for; the text says what to change."""


def _write_file(path: Path, identity: dict[str, Any], job: str) -> None:
    """In one step: who reads it finds all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(fd, "w") as f:
        json.dump({**identity, "weft_job": job}, f, indent=2)
    os.chmod(name, 0o644)
    os.replace(name, path)


def _read_file(path: Path, job: str) -> str | None:
    """The scheduler's address, if the file is there and of this job (any, where @job is empty)."""
    try:
        found = json.loads(path.read_text())
        address = found["address"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return address if not job or found.get("weft_job") == job else None


def _security() -> dict[str, Any]:
    from distributed.security import Security

    return dict(Security().get_connection_args("client"))


async def _answers(address: str, limit_s: float = ANSWER_S) -> bool:
    from distributed.comm.core import connect

    try:                                     # Dask's own limit is that of the connection, not of the handshake
        comm = await asyncio.wait_for(connect(address, timeout=limit_s, **_security()), limit_s)
    except Exception:                        # of many kinds, by what is there instead
        return False
    comm.abort()
    return True


async def _answers_unless_newer(path: Path, job: str, address: str, limit_s: float) -> bool:
    """No, too, as soon as the file names another: one that was left behind may keep silent for all that time."""
    answer = asyncio.ensure_future(_answers(address, limit_s))
    try:
        while not (await asyncio.wait([answer], timeout=LOOK_S))[0]:
            if _read_file(path, job) != address:
                return False
        return answer.result()
    finally:
        answer.cancel()


async def _scheduler_address(o: argparse.Namespace, job: str) -> str:
    """That in the scheduler file, once who is there answers: a scheduler listens before it writes. The answer may take all the time
    there is, for many may ask at once."""
    if o.scheduler:
        return str(o.scheduler)
    path, until = Path(o.scheduler_file), time.monotonic() + o.timeout
    while True:
        address = _read_file(path, job)
        if address and await _answers_unless_newer(path, job, address, max(ANSWER_S, until - time.monotonic())):
            return address
        if time.monotonic() > until:
            silent = f" ({address}, which it names, does not answer)" if address else ""
            raise LaunchError(f"no scheduler of this job has written {o.scheduler_file} within {o.timeout:g} s{silent}: is the folder one that "
                              "all hosts see, and did rank 0 start? (--timeout)")
        await asyncio.sleep(LOOK_S)


async def _check_file_is_free(path: Path) -> None:
    """A second job in the same folder would take the file from the first, whose late workers and clients then miss it or join the second."""
    address = _read_file(path, "")
    if address and await _answers(address):
        raise LaunchError(f"{path} is that of a scheduler that runs, {address}: give this job a file of its own (--scheduler-file), or end that one")


def _check_folder(folder: Path, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as exc:
        raise LaunchError(f"{folder} cannot be written to ({exc.strerror}): name another folder ({option})") from exc


def _check_encryption(o: argparse.Namespace) -> None:
    """Dask finds it, too, but logs a traceback first."""
    from distributed.security import Security

    if Security().require_encryption and o.protocol in ("weft", "weft://"):
        raise LaunchError("Dask's configuration has distributed.comm.require-encryption, and weft does not encrypt: "
                          "--protocol tls, or take that out")


def _root(exc: BaseException, contexts: bool = False) -> BaseException:
    while nearer := exc.__cause__ or (exc.__context__ if contexts else None):
        exc = nearer
    return exc


def _why(exc: Exception, what: str, o: argparse.Namespace) -> str:
    """What kept a server of Dask from starting, in a line; "" where that is no mistake of the user's."""
    if isinstance(exc, asyncio.TimeoutError):
        last = str(_root(exc, contexts=True))
        text = f"{exc}{last and f' Last: {last}.'} Does the scheduler run, and does this host reach it? (--death-timeout)"
    else:
        root = _root(exc)
        if not (isinstance(root, (OSError, ValueError, weft.Error)) or type(root) is RuntimeError and "encrypt" in str(root)):
            return ""
        taken = getattr(root, "errno", None) in (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
        ours = isinstance(root, weft.Error)                  # its text has the remedy
        text = f"{root}{'; name another --port or --host' if taken and not ours else ''}"
    asked = " ".join(f"--{name} {value}" for name in ("protocol", "host", "port", "interface") if (value := getattr(o, name)))
    return " ".join(f"{what} with {asked} does not start: {text}".split())


@contextlib.asynccontextmanager
async def _running(server: Any, what: str, o: argparse.Namespace) -> AsyncIterator[Any]:
    """As `async with server`; a mistake that keeps it from starting is a LaunchError."""
    try:
        await server
    except (RuntimeError, asyncio.TimeoutError) as exc:      # Dask's "failed to start", "timed out"
        why = _why(exc, what, o)
        if not why:
            raise
        raise LaunchError(why) from exc
    async with server:
        yield server


def _end_at_once(numbers: Sequence[int]) -> None:
    since = time.monotonic()

    def end(number: int, _: object) -> None:
        if time.monotonic() - since > TWICE_S:
            os._exit(128 + number)

    for number in numbers:
        signal.signal(number, end)           # not the loop's, which may be what stands still


def _on_signals(stop: asyncio.Event) -> None:
    """The first one ends it in order, a second one at once, whatever the end waits for; but not what comes with the first, for a terminal
    and a launcher may both send it."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)
        _end_at_once(numbers)

    for number in numbers:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):   # not in the main thread: initialize() of a test
            loop.add_signal_handler(number, first)


async def _until(server: Any, stop: asyncio.Event) -> None:
    """Until @server ends by itself, or @stop."""
    ends = [asyncio.ensure_future(server.finished()), asyncio.ensure_future(stop.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()


async def run_scheduler(o: argparse.Namespace, job: str) -> None:
    from distributed import Scheduler

    stop = asyncio.Event()
    path = Path(o.scheduler_file) if o.scheduler_file else None
    _check_encryption(o)
    if path:
        if path.is_dir():
            raise LaunchError(f"{path} is a folder: name a file in it (--scheduler-file)")
        _check_folder(path.parent, "--scheduler-file")
        await _check_file_is_free(path)
    scheduler = Scheduler(protocol=o.protocol, host=o.host, port=o.port, interface=o.interface, dashboard_address=o.dashboard_address,
                          dashboard=o.dashboard_address != "")
    async with _running(scheduler, "the scheduler", o):
        _on_signals(stop)                    # from here on there is something to end in order
        if path:
            _write_file(path, scheduler.identity(), job)
        print(f"weft.dask: scheduler at {scheduler.address}", file=sys.stderr, flush=True)
        try:
            await _until(scheduler, stop)
        finally:
            if path and _read_file(path, "") == scheduler.address:   # not that of a scheduler that came after us
                path.unlink(missing_ok=True)


async def run_worker(o: argparse.Namespace, rank: _rank.Rank) -> None:
    from distributed import Nanny, Worker

    stop = asyncio.Event()
    _check_encryption(o)
    if o.local_directory:
        _check_folder(Path(o.local_directory), "--local-directory")
    address = await _scheduler_address(o, rank.job if o.with_scheduler else "")
    name = f"{o.name}-{rank.rank}" if o.name else None if not rank.launcher or not o.with_scheduler else str(rank.rank)
    options: dict[str, Any] = dict(nthreads=o.nthreads, name=name, memory_limit=o.memory_limit, local_directory=o.local_directory,
                                   interface=o.interface, host=o.host, death_timeout=o.death_timeout, protocol=o.protocol)
    async with _running((Nanny if o.nanny else Worker)(address, **options), f"a worker of {address}", o) as worker:
        _on_signals(stop)
        await _until(worker, stop)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m weft.dask", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--scheduler-file", metavar="F", help="where the scheduler says how it is reached; in a folder that all hosts see")
    p.add_argument("--scheduler", metavar="ADDRESS", help="workers go to this scheduler; with --no-scheduler")
    p.add_argument("--no-scheduler", dest="with_scheduler", action="store_false", help="rank 0 is a worker, too: adds to a job that runs")
    p.add_argument("--protocol", default=DEFAULT_PROTOCOL, help="scheme of the addresses (%(default)s)")
    p.add_argument("--host", help="address or name of this host that is listened at")
    p.add_argument("--port", type=int, default=0, help="of the scheduler (any free one)")
    p.add_argument("--interface", help="network interface, such as ib0")
    p.add_argument("--dashboard-address", default=":0", help="of the scheduler (any free port); \"\": none")
    p.add_argument("--nthreads", type=int, default=1, help="threads of each worker (%(default)s)")
    p.add_argument("--memory-limit", default="auto", help="of each worker, as of dask worker (%(default)s)")
    p.add_argument("--local-directory", help="for what workers spill to disk")
    p.add_argument("--name", help="workers are called NAME-RANK")
    p.add_argument("--nanny", action=argparse.BooleanOptionalAction, default=False, help="a process that watches each worker and starts it again")
    p.add_argument("--death-timeout", default="60 s", help="a worker ends when the scheduler was not there for so long (%(default)s)")
    p.add_argument("--timeout", type=float, default=120, help="seconds that a worker waits for the scheduler file (%(default)g)")
    return p


def _checked(o: argparse.Namespace, rank: _rank.Rank) -> None:
    if not o.with_scheduler and not (o.scheduler or o.scheduler_file):
        raise LaunchError("--no-scheduler needs --scheduler-file or --scheduler: where is the scheduler?")
    if o.with_scheduler and o.scheduler:
        raise LaunchError("--scheduler names one that runs: add --no-scheduler")
    if o.with_scheduler and not o.scheduler_file and rank.size != 1:
        raise LaunchError(f"{rank.size or 'all'} processes ({rank.launcher}) find each other by --scheduler-file F, in a folder that all of them see")


def main(argv: Sequence[str] | None = None) -> int:
    o = parser().parse_args(argv)
    try:
        rank = _rank.find()
        _checked(o, rank)
        asyncio.run(run_scheduler(o, rank.job) if o.with_scheduler and not rank.rank else run_worker(o, rank))
    except (LaunchError, ValueError) as exc:
        print(f"python -m weft.dask: {exc}", file=sys.stderr)
        return 1
    return 0


def initialize(scheduler_file: str | None = None, *, protocol: str = DEFAULT_PROTOCOL, **options: Any) -> str | None:
    """Makes of the processes of a job a cluster: rank 0 becomes the scheduler and rank 2 and later become workers: there this call does
    not return, the process ends with the cluster. In rank 1 it returns the scheduler's address, and the cluster ends with that
    process. scheduler_file: in a folder that all hosts see; where it is not given, .weft-dask-JOB.json in the current one (.weft-dask.json
    where the launcher does not name the job). options: as of `python -m weft.dask`, nthreads=2, interface="ib0". LaunchError: fewer than three processes, or no launcher."""
    rank = _rank.find()
    if rank.size in (1, 2):                      # 0: the launcher does not say
        raise LaunchError(f"initialize() wants three processes at least, for a scheduler, this program and a worker; there are {rank.size}: "
                          "start it by srun or mpiexec")
    path = scheduler_file or f".weft-dask{rank.job and '-' + rank.job}.json"
    o = parser().parse_args(["--scheduler-file", path, "--protocol", protocol])
    unknown = [k for k in options if not hasattr(o, k)]
    if unknown:
        raise TypeError(f"initialize() has no option {unknown[0]!r}")
    vars(o).update(options)
    if rank.rank != 1:
        asyncio.run(run_scheduler(o, rank.job) if not rank.rank else run_worker(o, rank))
        sys.exit(0)
    address = asyncio.run(_scheduler_address(o, rank.job))
    atexit.register(_shut_down, address)
    return address


def _shut_down(address: str) -> None:
    """As Client.shutdown(), without the thread that a Client has: at exit none can be started any more."""
    from distributed.core import rpc

    async def terminate() -> None:
        async with rpc(address, timeout=10, connection_args=_security()) as scheduler:
            await asyncio.wait_for(scheduler.terminate(), 10)

    with contextlib.suppress(OSError, asyncio.TimeoutError):
        asyncio.run(terminate())
