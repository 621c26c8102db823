# SPDX-License-Identifier: BSD-3-Clause
"""python -m weft.dask under process launchers: MPICH's where it is there, the others played by their variables; files of earlier jobs,
more workers."""
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import LIMIT
from distributed import Client, Scheduler

from weft.dask import _rank, launch

BESIDE = Path(sys.executable).parent
MPIEXEC = shutil.which("mpiexec", path=BESIDE) or shutil.which("mpiexec")
LAUNCHER_NAMES = {name for _, ranks, sizes, jobs in _rank.LAUNCHERS for name in (*ranks, *sizes, *jobs)}
ENV = {k: v for k, v in os.environ.items() if k not in LAUNCHER_NAMES}


@pytest.fixture
def start(tmp_path):
    """start(env, *args): a process of a job, or its launcher with all of them; ended with the test."""
    all_ = []

    def go(env, *args, code=None, launcher=()):
        argv = [*launcher, sys.executable, *(["-c", code] if code else ["-m", "weft.dask"]), *map(str, args)]
        all_.append(subprocess.Popen(argv, env={**ENV, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path))
        return all_[-1]

    yield go
    for p in all_:
        if p.poll() is None:
            p.kill()
        p.communicate()


def job(start, n, *args, launcher=("PMI_RANK", "PMI_SIZE"), **env):
    return [start({launcher[0]: str(i), launcher[1]: str(n), **env}, *args) for i in range(n)]


def client_of(file, processes):
    """Of the scheduler that writes @file, which one of @processes is."""
    until = time.monotonic() + LIMIT
    while not file.exists():
        assert time.monotonic() < until and all(p.poll() is None for p in processes), ended(processes)
        time.sleep(0.05)
    return Client(scheduler_file=str(file), timeout=LIMIT)


def ended(processes):
    ends = [(p.wait(LIMIT), p.communicate()[1]) for p in processes]
    return [status for status, _ in ends], "".join(err for _, err in ends)


@pytest.mark.parametrize("launcher", [("PMI_RANK", "PMI_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")])
def test_a_job_computes_and_ends(start, tmp_path, launcher):
    file = tmp_path / "f.json"
    processes = job(start, 3, "--scheduler-file", file, "--dashboard-address", "", launcher=launcher)
    with client_of(file, processes) as client:
        client.wait_for_workers(2, timeout=LIMIT)
        assert client.scheduler.address.startswith("weft://")
        assert all(w.startswith("weft://") for w in client.scheduler_info()["workers"])
        assert client.submit(sum, range(10)).result(LIMIT) == 45
        client.shutdown()
    status, err = ended(processes)
    assert status == [0, 0, 0], err
    assert not file.exists()


def test_workers_come_later(start, tmp_path):
    file = tmp_path / "f.json"
    processes = job(start, 2, "--scheduler-file", file, "--dashboard-address", "")
    with client_of(file, processes) as client:
        client.wait_for_workers(1, timeout=LIMIT)
        processes += job(start, 2, "--scheduler-file", file, "--no-scheduler", "--nthreads", 2, "--name", "more", PMI_JOBID="another")
        processes.append(start({}, "--scheduler", client.scheduler.address, "--no-scheduler", "--nanny"))
        client.wait_for_workers(4, timeout=LIMIT)
        info = client.scheduler_info()["workers"].values()
        assert sorted(w["nthreads"] for w in info) == [1, 1, 2, 2] and {"more-0", "more-1"} < {w["name"] for w in info}
        processes[2].send_signal(signal.SIGTERM)          # and go
        assert processes[2].wait(LIMIT) == 0
        client.shutdown()
    status, err = ended(processes)
    assert status == [0] * 5, err


@pytest.mark.parametrize("earlier", ["yesterday's", ""])
def test_a_file_of_an_earlier_job_is_not_believed(start, tmp_path, earlier):
    file = tmp_path / "f.json"
    launch._write_file(file, {"address": "weft://127.0.0.1:1"}, earlier)
    processes = job(start, 2, "--scheduler-file", file, "--dashboard-address", "", PMI_JOBID="today's")
    until = time.monotonic() + LIMIT
    while json.loads(file.read_text())["weft_job"] != "today's":
        assert time.monotonic() < until
        time.sleep(0.05)
    with client_of(file, processes) as client:
        client.wait_for_workers(1, timeout=LIMIT)
        client.shutdown()
    status, err = ended(processes)
    assert status == [0, 0], err


def test_a_second_job_is_refused_the_file_of_one_that_runs(start, tmp_path):
    file = tmp_path / "f.json"
    first = job(start, 1, "--scheduler-file", file, "--dashboard-address", "", PMI_JOBID="first")
    with client_of(file, first) as client:
        before = file.read_text()
        status, said = ended(job(start, 1, "--scheduler-file", file, "--dashboard-address", "", PMI_JOBID="second"))
        assert status == [1] and "is that of a scheduler that runs" in said and "--scheduler-file" in said
        assert file.read_text() == before
        client.shutdown()
    status, err = ended(first)
    assert status == [0], err


@pytest.fixture
def mpiexec():
    """The argv that starts N processes, N to follow."""
    said = MPIEXEC and subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True, timeout=LIMIT).stdout
    if not said:
        pytest.skip("no mpiexec here (pip install mpich)")
    return [MPIEXEC, *(["--allow-run-as-root", "--oversubscribe"] if "Open MPI" in said or "OpenRTE" in said else []), "-n"]


def test_mpiexec_starts_it(start, tmp_path, mpiexec):
    """MPICH's names no job: the file of an earlier one that was killed is beside the way."""
    file = tmp_path / "f.json"
    launch._write_file(file, {"address": "weft://127.0.0.1:1"}, "")
    all_ = start({}, "--scheduler-file", file, "--dashboard-address", "", launcher=[*mpiexec, "4"])
    until = time.monotonic() + LIMIT
    while launch._read_file(file, "") in ("weft://127.0.0.1:1", None):
        assert time.monotonic() < until and all_.poll() is None, ended([all_])
        time.sleep(0.05)
    with client_of(file, [all_]) as client:
        client.wait_for_workers(3, timeout=LIMIT)
        assert {w["name"] for w in client.scheduler_info()["workers"].values()} == {"1", "2", "3"}
        assert client.submit(sum, range(10)).result(LIMIT) == 45
        more = start({}, "--scheduler-file", file, "--no-scheduler", launcher=[*mpiexec, "2"])
        client.wait_for_workers(5, timeout=LIMIT)
        client.shutdown()
    status, err = ended([all_, more])
    assert status == [0, 0], err


@pytest.mark.long
def test_mpiexec_starts_a_program_of_ones_own(start, mpiexec):
    all_ = start({}, code=PROGRAM, launcher=[*mpiexec, "4"])
    out, err = all_.communicate(timeout=LIMIT)
    assert all_.returncode == 0 and out.split() == ["10", "weft"], err


@pytest.mark.parametrize("env, args, words", [
    ({"PMI_RANK": "0", "PMI_SIZE": "2"}, [], "find each other by --scheduler-file"),
    ({"PMI_RANK": "none"}, [], "PMI_RANK='none' of PMI is no number"),
    ({}, ["--no-scheduler"], "where is the scheduler"),
    ({}, ["--scheduler", "weft://127.0.0.1:1"], "add --no-scheduler"),
    ({"PMI_RANK": "1", "PMI_SIZE": "2"}, ["--scheduler-file", "nowhere.json", "--timeout", "0.2"], "has written nowhere.json within 0.2 s"),
])
def test_what_cannot_be_is_said(start, env, args, words):
    (status,), err = ended([start(env, *args)])
    assert status == 1 and words in err


@pytest.fixture
def taken():
    """A port that somebody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


NOBODY = ["--no-scheduler", "--scheduler", "weft://127.0.0.1:1"]


@pytest.mark.parametrize("args, words", [
    (["--host", "127.0.0.1", "--port", "TAKEN"], "--port TAKEN does not start: 127.0.0.1:TAKEN: cannot listen there"),
    (["--host", "127.0.0.1", "--port", "TAKEN", "--protocol", "tcp"], "Address already in use; name another --port"),
    (["--protocol", "wefts"], "--protocol wefts does not start: wefts:// is not there yet"),
    (["--protocol", "nonsense"], "--protocol nonsense does not start: unknown address scheme"),
    (["--host", "192.0.2.1"], "--host 192.0.2.1 does not start"),
    (["--scheduler-file", "file/f.json"], "file cannot be written to (File exists): name another folder (--scheduler-file)"),
    (["--scheduler-file", "file/below/f.json"], "(Not a directory): name another folder (--scheduler-file)"),
    (["--scheduler-file", "."], "is a folder: name a file in it (--scheduler-file)"),
    ([*NOBODY, "--local-directory", "file/d"], "(Not a directory): name another folder (--local-directory)"),
    ([*NOBODY, "--death-timeout", "0.5 s"], "(Connection refused) (WEFT_EREFUSED). Does the scheduler run"),
    ([*NOBODY[:-1], "weft://127.0.0.1:TAKEN", "--death-timeout", "0.5 s"], "timed out after 0.5s. Does the scheduler run"),
    ([*NOBODY, "--nanny", "--death-timeout", "0.5 s"], "Does the scheduler run"),
])
def test_a_mistake_is_one_line(start, tmp_path, taken, args, words):
    (tmp_path / "file").write_text("")
    line = said_once(start({}, "--dashboard-address", "", *(a.replace("TAKEN", taken) for a in args)))
    assert words.replace("TAKEN", taken) in line


@pytest.mark.parametrize("args", [[], NOBODY])
def test_encryption_that_is_required_is_refused_in_one_line(start, args):
    line = said_once(start({"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}, *args))
    assert "require-encryption, and weft does not encrypt: --protocol tls" in line


def said_once(process):
    """The line of ours among those that Dask logs; no traceback is."""
    (status,), err = ended([process])
    lines = [line for line in err.splitlines() if " - distributed." not in line]
    assert status == 1 and len(lines) == 1 and lines[0].startswith("python -m weft.dask: "), err
    return lines[0]


def test_a_bug_keeps_its_traceback(start):
    code = """
from distributed import Scheduler
from weft.dask import launch

async def start_unsafe(self):
    return None.nothing

Scheduler.start_unsafe = start_unsafe
launch.main(["--dashboard-address", ""])
"""
    (status,), err = ended([start({}, code=code)])
    assert status == 1 and "Traceback" in err and "AttributeError" in err and "start_unsafe" in err


@contextlib.contextmanager
def closing_scheduler(start, code):
    """One that runs @code, which prints "closes" when a signal has begun its end; killed after LIMIT."""
    p = start({}, code=code)
    limit = threading.Timer(LIMIT, p.kill)
    limit.start()
    while "scheduler at" not in (line := p.stderr.readline()):
        assert line, "it has ended"
    p.send_signal(signal.SIGINT)
    assert p.stdout.readline() == "closes\n"
    yield p
    limit.cancel()


@pytest.mark.parametrize("close", ["await asyncio.sleep(1000)", "time.sleep(1000)"])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_close_that_hangs(start, close, second):
    code = f"""
import asyncio, sys, time
from distributed import Scheduler
from weft.dask import launch

async def close(self, *args, **more):
    print("closes", flush=True)
    {close}

Scheduler.close = close
sys.exit(launch.main(["--dashboard-address", ""]))
"""
    with closing_scheduler(start, code) as p:
        while p.poll() is None:              # those that come with the first are no second one
            p.send_signal(second)
            time.sleep(0.1)
        assert p.wait() == 128 + second


def test_a_signal_that_comes_twice_at_once_is_one(start, tmp_path):
    """As from a terminal and from a launcher."""
    code = """
import asyncio, os, sys
from distributed import Scheduler
from weft.dask import launch

close_it = Scheduler.close

async def close(self, *args, **more):
    print("closes", flush=True)
    while not os.path.exists("go on"):
        await asyncio.sleep(0.01)
    await close_it(self, *args, **more)
    print("closed", flush=True)

Scheduler.close = close
sys.exit(launch.main(["--dashboard-address", ""]))
"""
    with closing_scheduler(start, code) as p:
        p.send_signal(signal.SIGINT)
        (tmp_path / "go on").touch()
        assert p.stdout.readline() == "closed\n" and p.wait() == 0


def options(file, timeout=LIMIT):
    return launch.parser().parse_args(["--scheduler-file", str(file), "--timeout", str(timeout), "--dashboard-address", ""])


@pytest.mark.parametrize("job", ["", "77.0"])
@pytest.mark.parametrize("silent", ["nobody", "who says nothing"])
def test_a_file_is_believed_when_its_scheduler_answers(tmp_path, job, silent):
    """Also one of a job that was started again under its name. The new file is not kept waiting by the old one."""
    file = tmp_path / "f.json"

    async def main(old):
        file.write_text(json.dumps({"address": old, "weft_job": job}))
        with pytest.raises(launch.LaunchError, match=f"{old}, which it names, does not answer"):
            await launch._scheduler_address(options(file, 0), job)
        found = asyncio.ensure_future(launch._scheduler_address(options(file), job))
        async with Scheduler(protocol="weft", dashboard=False, host="127.0.0.1") as scheduler:
            assert not found.done()
            launch._write_file(file, scheduler.identity(), job)
            assert await asyncio.wait_for(found, LIMIT / 2) == scheduler.address
            with pytest.raises(launch.LaunchError, match="give this job a file of its own"):
                await launch.run_scheduler(options(file), "")
            assert launch._read_file(file, "") == scheduler.address

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(main(f"weft://127.0.0.1:{listener.getsockname()[1] if silent != 'nobody' else 1}"))


@pytest.mark.parametrize("scheme", ["tcp", "tls", "weft", "nonsense"])
def test_who_says_nothing_does_not_answer(scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert not asyncio.run(launch._answers(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"))
        assert time.monotonic() - began < 2 * launch.ANSWER_S + 2


PROGRAM = """
import sys
import threading
from distributed import Client
import weft.dask

def main():
    client = Client(weft.dask.initialize("job.json", dashboard_address=""))
    client.wait_for_workers(2, timeout=60)
    print(client.submit(sum, range(5)).result(), client.scheduler.address.partition(":")[0])
    client.close()
    threading.Thread.start = None            # as from Python 3.12 on when a program ends

if __name__ == "__main__":
    main()
"""


def test_a_program_of_ones_own(start, tmp_path):
    processes = [start({"PMI_RANK": str(i), "PMI_SIZE": "4"}, code=PROGRAM) for i in range(4)]
    out, err = processes[1].communicate(timeout=LIMIT)
    assert out.split() == ["10", "weft"], err
    with contextlib.suppress(ValueError):
        status, err = ended([p for p in processes if p is not processes[1]])
        assert status == [0, 0, 0], err


def test_a_program_alone_is_told(start):
    (status,), err = ended([start({}, code="import weft.dask; weft.dask.initialize()")])
    assert status == 1 and "start it by srun or mpiexec" in err
