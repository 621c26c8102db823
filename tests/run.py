#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""run.py - runs all that `make check` built and counts every single test.

A job is one program with a time limit in a process group of its own. What it printed is read for results: TAP (unit and
conformance programs), pytest's closing line, or only the exit status (0 passed, 77 skipped). A failure prints the end of
the job's output and the line that reruns it. A skip must give a reason. The last line is "N passed, N failed, N skipped".

A conformance program says with `--list` which arguments it wants to be run with, one line for each run ("tcp", "shm");
every line is a job. An example NAME is run without arguments, or by docs/examples/NAME.sh BUILD if there is one.
"""
import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ["walls", "unit", "conform", "examples", "fuzz", "py", "faces", "dask", "torture"]
MORE = ["theirs", "vm"]  # only when asked for
LIMITS = {"walls": 60, "unit": 90, "conform": 240, "examples": 60, "fuzz": 60, "py": 900, "faces": 240, "dask": 1200, "theirs": 5460, "torture": 900, "vm": 1200}
DASK_THEIRS = ["comm/comms", "core", "batched", "nanny", "worker", "scheduler", "client", "shuffle"]  # what weft is measured by
THEIRS_S = 5400  # ends its tests itself: they are in sessions of their own, which nobody else knows
SLOWER = {"address": 3, "undefined": 2, "thread": 8}


class Job:
    def __init__(self, kind, name, argv, *, rerun=None, alone=False, extra_s=0, env=None, reader=None):
        self.kind, self.name, self.argv = kind, name, [str(a) for a in argv]
        self.rerun = (rerun or shlex.join(self.argv)).replace(f"{ROOT}/", "")
        self.alone = alone  # takes all places, because it measures or uses all CPUs itself
        self.limit_s = LIMITS[kind] + extra_s
        self.env = env or {}
        self.reader = reader or read_tap
        self.passed, self.skipped = 0, []  # a count, (name, reason)
        self.failed = []  # (name, the line that reruns it)
        self.output, self.seconds = "", 0.0


# ---- reading results ------------------------------------------------------------------------------------------------

TAP_LINE = re.compile(r"^(not )?ok\b\s*(\d+)?\s*-?\s*(.*)$")


def read_tap(job, status):
    """TAP as cmocka and tests/conform write it; a "# skip: why" line before a skipped test is its reason."""
    planned = done = 0
    why = ""
    for line in job.output.splitlines():
        if re.match(r"^1\.\.\d+", line):
            planned += int(line[3:].split()[0])
            continue
        if line.startswith("# skip: "):
            why = line[8:].strip()
            continue
        m = TAP_LINE.match(line)
        if not m:
            continue
        done += 1
        skip = re.search(r"#\s*SKIP\b\s*(.*)$", m[3], re.I)
        if skip:
            name = m[3][: skip.start()].strip(" -") or skip[1]
            reason = why or (skip[1] if name != skip[1] else "")
            job.skipped.append((f"{job.name}: {name}", reason or "no reason given"))
        elif m[1]:
            case = m[3].split(" ")[0]  # cmocka adds what went wrong
            one = f"{job.rerun} {case}" if job.kind in ("unit", "conform") else job.rerun
            job.failed.append((f"{job.name}: {m[3]}", one))
        else:
            job.passed += 1
        why = ""
    if planned > done:
        fail(job, f"ended after {done} of {planned} tests ({say_status(status)})")
    elif not planned and not done:
        read_status(job, status)
    elif status and not job.failed:
        fail(job, f"{say_status(status)} though no test failed")


def read_status(job, status):
    if status == 77:
        lines = [s for s in job.output.splitlines() if s.strip()]
        job.skipped.append((job.name, lines[-1] if lines else "no reason given"))
    elif status:
        fail(job, say_status(status))
    else:
        job.passed += 1


def read_pytest(job, status):
    """The closing line; one entry for each failure and skip from the short summary (-rfEs). tests/faces/theirs.py prints such."""
    last = next((s for s in reversed(job.output.splitlines()) if re.search(r"\d+ \w+.* in [\d.]+s", s)), "")
    count = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)", last)}
    job.passed += count.get("passed", 0) + count.get("xfailed", 0)
    for line in job.output.splitlines():
        m = re.match(r"^(FAILED|ERROR) (.+?)(?: - .*)?$", line)
        if m:
            job.failed.append((m[2], f"{job.rerun.rsplit(' ', 1)[0]} '{m[2]}'"))
        m = re.match(r"^SKIPPED \[(\d+)\] (.*?): (.*)$", line)
        if m:
            job.skipped += [(m[2], m[3])] * int(m[1])
    wrong = count.get("failed", 0) + count.get("error", 0) + count.get("errors", 0) + count.get("xpassed", 0)
    job.failed += [(f"{job.name}: not named", job.rerun)] * (wrong - len(job.failed))
    job.skipped += [(job.name, "no reason given")] * (count.get("skipped", 0) - len(job.skipped))
    if status == 5 and not count:  # pytest's word for "no test found"
        job.skipped.append((job.name, "pytest found no test"))
    elif status and not job.failed:
        fail(job, f"pytest: {say_status(status)}")


def fail(job, what):
    job.failed.append((f"{job.name}: {what}", job.rerun))


def say_status(status):
    if status == "time":
        return "time limit"
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    return f"exit status {status}"


# ---- finding jobs ---------------------------------------------------------------------------------------------------


def programs(folder):
    return sorted(p for p in folder.glob("*") if p.is_file() and os.access(p, os.X_OK)) if folder.is_dir() else []


def find_unit(o):
    for p in programs(o.build / "tests/unit"):
        yield Job("unit", f"unit/{p.name}", o.run + [p])


# A folder in which devices in software meet (tests/fake/ibverbs); each program gets one of its own.
FABRICS = []


def fake_rdma(o, variant="verbs"):
    if o.emulator or not (o.build / "fake/libibverbs.so.1").exists():
        return {}
    FABRICS.append(tempfile.TemporaryDirectory(prefix="weft-fabric-"))
    more = {"verbs-rails": {"WEFT_TEST_IBV_DEVICES": "2"}, "verbs-nosrq": {"WEFT_TEST_IBV_SRQS": "no"}}.get(variant, {})
    return {"LD_LIBRARY_PATH": str(o.build / "fake"), "WEFT_TEST_IBV": FABRICS[-1].name, **more}


def find_conform(o):
    for p in programs(o.build / "tests/conform"):
        try:
            out = subprocess.run(
                [*o.run, str(p), "--list"], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
            )
            lines = [s.split() for s in out.stdout.splitlines() if s.strip()] if out.returncode == 0 else []
        except subprocess.TimeoutExpired:
            lines = []
        for args in lines or [[]]:
            yield Job("conform", " ".join([f"conform/{p.name}", *args]), o.run + [p] + args, alone=o.jobs < 2,
                      env=fake_rdma(o, args[-1]) if args and "verbs" in args[-1] else {})


def find_examples(o):
    for p in programs(o.build / "examples"):
        script = ROOT / "docs/examples" / f"{p.name}.sh"
        argv = ["sh", script, o.build] if script.exists() else o.run + [p]
        yield Job("examples", f"examples/{p.name}", argv, reader=read_status)
    if o.san or o.emulator or not (o.build / "py").is_dir():
        return
    for p in sorted((ROOT / "docs/examples").glob("*.py")):
        if p.name == "demo.py":
            continue  # it is `make demo`
        yield Job("examples", f"examples/{p.name}", [sys.executable, p], env=python_env(o), reader=read_status)


def find_walls(o):
    tool = ROOT / "tools/check_layers.py"
    if tool.exists():
        yield Job("walls", "walls", [sys.executable, tool, "--build", o.build], reader=read_tap)


def find_fuzz(o):
    targets = programs(o.build / "tests/fuzz")
    seconds = max(1, o.fuzz_share // len(targets)) if o.fuzz_share and targets else o.fuzz_seconds
    for p in targets:
        corpus = ROOT / "tests/fuzz/corpus" / p.name
        found = o.build / "fuzz-found" / p.name
        found.mkdir(parents=True, exist_ok=True)
        argv = [p, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-error_exitcode=1", "-timeout_exitcode=2"]
        argv += [f"-artifact_prefix={found}/bad-", found] + ([corpus] if corpus.is_dir() else [])
        yield Job("fuzz", f"fuzz/{p.name}", argv, extra_s=seconds, reader=read_status)


def find_py(o):
    if not any((ROOT / "tests/py").glob("**/test_*.py")):
        return
    if o.san == "thread":
        return  # the interpreter is not built for it
    yield pytest_job(o, "py", ["tests/py"], 120)
    fake = fake_rdma(o)
    if fake:
        over = [f"tests/py/test_{name}.py" for name in ("messages", "am_obj", "stream", "remote", "cancel")]
        env = {"WEFT_TRANSPORTS": "loop,shm,verbs,tcp", "WEFT_TEST_TRANSPORTS": "verbs"}
        yield pytest_job(o, "py", over, 120, name="py-verbs", env={**fake, **env})


def find_faces(o):
    if o.san != "thread":
        yield pytest_job(o, "faces", ["tests/faces"], 60)


def find_dask(o):
    """As a part of everything without the long ones."""
    if o.san != "thread":
        short = [] if o.only else ["-m", "not long"]
        yield pytest_job(o, "dask", ["tests/dask", *short], 200)
        # comms inside a process, as most of these tests have, would never meet what carries them between processes
        for over in ("shm,tcp", "tcp"):
            yield pytest_job(o, "dask", ["tests/dask/test_comm.py", "tests/dask/test_leaks.py", *short], 200, name=f"dask over {over}",
                             env={"WEFT_TRANSPORTS": over})


def find_theirs(o):
    """Other projects' tests: Dask's own over weft, and those on the faces, as far as their wheels bring them."""
    if o.san == "thread":
        return
    env = python_env(o)
    pre = " ".join(f"{k}={shlex.quote(v)}" for k, v in env.items())
    jobs = [("faces", "tests/faces/theirs.py", [])] + [(f"dask: {what}", "tests/dask/theirs.py", ["--total", THEIRS_S, what]) for what in DASK_THEIRS]
    for name, script, what in jobs:
        yield Job("theirs", f"theirs, {name}", [sys.executable, script, *what], rerun=f"{pre} {sys.executable} {script} WHAT", alone=True,
                  env=env, reader=read_pytest)


def find_vm(o):
    """A job for each test: a guest is mostly one CPU's work, so that two run beside each other. Those that compare speeds run alone. A file
    whose tests look at what one boot brought (a fixture of the module) is one job."""
    argv = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "tests/vm"] + (["-k", o.k] if o.k else [])
    said = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **python_env(o)}).stdout
    cases = [s for s in said.splitlines() if re.match(r"tests/vm/\S+\.py::", s)]
    if not cases and not o.k:
        cases = ["tests/vm"]  # its failure says why there are none
    shared = {f for f in {c.partition("::")[0] for c in cases} if Path(ROOT, f).is_file() and 'scope="module"' in Path(ROOT, f).read_text()}
    if not o.k:
        cases = list(dict.fromkeys(f if (f := c.partition("::")[0]) in shared else c for c in cases))
    for case in sorted(cases, key=lambda c: "/test_conform" not in c and c not in shared):  # the longest first
        name = "vm" + case.removeprefix("tests/vm").replace("/test_", "/").replace(".py::test_", ": ").removesuffix(".py")
        compares = "bandwidth" in case or "keeps_up" in case  # with other programs' speed
        job = pytest_job(o, "vm", [case], 300, name=name, alone=compares)
        if compares and os.environ.get("WEFT_TEST_NO_SPEED"):
            job.argv, job.reader = ["true"], lambda j, status: j.skipped.append((j.name, "compares speeds: WEFT_TEST_NO_SPEED is set"))
        yield job


def pytest_job(o, kind, folders, stuck_s, name=None, env=None, alone=True):
    argv = [sys.executable, "-m", "pytest", "-q", "-rfEs", "--tb=short", "-p", "no:cacheprovider"]
    argv += ["-o", f"faulthandler_timeout={stuck_s}"] + (["-k", o.k] if o.k and kind != "vm" else []) + folders
    env = {**python_env(o), **(env or {})}
    pre = " ".join(f"{k}={shlex.quote(v)}" for k, v in env.items())
    return Job(kind, name or kind, argv, rerun=f"{pre} {shlex.join(argv)}", alone=alone, env=env, reader=read_pytest)


def find_torture(o):
    """All of it in the build with fault points; as a part of everything, half a minute of it."""
    short = not o.only
    for p in programs(o.build / ("faults/tests/torture" if short else "tests/torture")):
        yield Job("torture", f"torture/{p.name}", [p] + (["--short"] if short else []), env=fake_rdma(o))


def python_env(o):
    env = {"PYTHONPATH": str(o.build / "py"), "WEFT_TEST_BUILD": str(o.build)}
    if o.san in ("address", "undefined"):  # the interpreter was not linked with the sanitizer's library
        # and ASan must meet C++'s library when it begins, or what a module in C++ throws ends the process
        libs = ["libasan.so" if o.san == "address" else "libubsan.so", "libstdc++.so.6"]
        paths = [subprocess.run(["gcc", f"-print-file-name={lib}"], capture_output=True, text=True).stdout.strip() for lib in libs]
        env["LD_PRELOAD"] = ":".join(os.path.realpath(p) if os.path.isabs(p) else p for p in paths)
        env["ASAN_OPTIONS"] = "detect_leaks=0"  # the interpreter's own
        env["PYTHONMALLOC"] = "malloc"
    return env


def find_jobs(o):
    finders = {
        "walls": find_walls, "unit": find_unit, "conform": find_conform, "examples": find_examples,
        "fuzz": find_fuzz, "py": find_py, "faces": find_faces, "dask": find_dask, "theirs": find_theirs, "torture": find_torture,
        "vm": find_vm,
    }
    kinds = o.only.split(",") if o.only else KINDS
    jobs = [job for kind in kinds for job in finders[kind](o)]
    if o.k:
        jobs = [j for j in jobs if j.kind in ("py", "faces", "dask", "vm") or o.k in j.name]
    for job in jobs:
        job.limit_s *= SLOWER.get(o.san, 10 if o.emulator else 1)
    return jobs


# ---- running --------------------------------------------------------------------------------------------------------


def end_group(proc):
    """Ends what the job left behind, too."""
    try:
        os.killpg(proc.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_job(job, o):
    env = {k: v for k, v in os.environ.items() if not k.startswith("WEFT_") or k.startswith("WEFT_TEST_")}
    env |= {"CMOCKA_MESSAGE_OUTPUT": "TAP", "UBSAN_OPTIONS": "print_stacktrace=1", **job.env}
    if o.emulator:
        env["WEFT_TEST_EMULATED"] = "1"
    if o.san == "thread":
        env.setdefault("TSAN_OPTIONS", "halt_on_error=1 second_deadlock_stack=1")
    start = time.monotonic()
    proc = subprocess.Popen(
        job.argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    killer = threading.Timer(job.limit_s, lambda: (setattr(job, "late", True), end_group(proc)))
    job.late = False
    killer.start()
    raw = proc.stdout.read()  # ends when the whole group has closed it
    status = proc.wait()
    killer.cancel()
    end_group(proc)
    job.output = raw.decode("utf-8", "replace")
    job.seconds = time.monotonic() - start
    job.reader(job, "time" if job.late else status)


def show(job):
    word = "FAIL" if job.failed else "ok" if job.passed else "skip"
    counts = f"{job.passed} passed"
    counts += f", {len(job.failed)} failed" if job.failed else ""
    counts += f", {len(job.skipped)} skipped" if job.skipped else ""
    print(f"  {word:4s}  {job.name:44s} {counts:32s} {job.seconds:7.2f} s", flush=True)
    if not job.failed:
        return
    lines = job.output.rstrip().splitlines()
    keep = lines if len(lines) <= 120 else [f"... {len(lines) - 120} lines left out ..."] + lines[-120:]
    print("\n".join("      | " + s for s in keep))
    for name, rerun in job.failed:
        print(f"      failed: {name}\n      rerun:  {rerun}", flush=True)


def run_all(jobs, o):
    """Jobs that want to be alone run after all others, one by one."""
    lock = threading.Lock()
    queue = [j for j in jobs if not j.alone]

    def place():
        while True:
            with lock:
                if not queue:
                    return
                job = queue.pop(0)
            run_job(job, o)
            with lock:
                show(job)

    threads = [threading.Thread(target=place) for _ in range(o.jobs)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for job in (j for j in jobs if j.alone):
        run_job(job, o)
        show(job)
    for job in [j for j in jobs if j.kind == "vm" and j.failed and not j.alone]:
        # limits inside a guest count the host's time, and another was running: what is wrong fails alone, too
        print(f"  once more, alone: {job.name}", flush=True)
        job.passed, job.failed, job.skipped = 0, [], []
        run_job(job, o)
        show(job)


def summary(jobs, strict):
    passed = sum(j.passed for j in jobs)
    failed = [pair for j in jobs for pair in j.failed]
    skipped = [pair for j in jobs for pair in j.skipped]
    if skipped:
        print("\nskipped:")
        for name, reason in sorted(set(skipped)):
            print(f"  {name}: {reason}")
    if failed:
        print("\nfailed:")
        for name, rerun in failed:
            print(f"  {name}\n      {rerun}")
    if not jobs:
        print("no test was found")
    print(f"\n{passed} passed, {len(failed)} failed, {len(skipped)} skipped", flush=True)
    return 1 if failed or (strict and skipped) or not jobs else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--build", type=Path, default=ROOT / "build")
    ap.add_argument("--only", help="comma-separated kinds: " + ", ".join(KINDS + MORE))
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--san", default="", help="sanitizer that the build was made with")
    ap.add_argument("--emulator", default="", help="program that runs the test programs")
    ap.add_argument("--fuzz-seconds", type=int, default=5, help="for each fuzz target")
    ap.add_argument("--fuzz-share", type=int, default=0, help="for all fuzz targets together")
    ap.add_argument("-k", default="", help="only jobs (and pytest cases) whose name has this")
    o = ap.parse_args()
    o.build = o.build.resolve()
    o.run = shlex.split(o.emulator)
    if o.san == "thread":
        o.run = ["setarch", "-R"] + o.run  # its shadow memory does not stand wide address randomisation
    jobs = find_jobs(o)
    run_all(jobs, o)
    return summary(jobs, os.environ.get("STRICT") == "1")


if __name__ == "__main__":
    sys.exit(main())
