#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""theirs.py - the own tests of distributed-ucxx, of ucxx and of ucx-py's low level on weft.ucxx and weft.ucp.

    PYTHONPATH=build/py build/venv/bin/python tests/faces/theirs.py [--tests FOLDER]... [--limit S] [WHAT...]

WHAT: suites of SUITES (all), or SUITE/FILE, or SUITE/FILE::TEST. The wheels of WHEELS are fetched by `pip download` into
build/faces-theirs and unpacked, not installed; nothing of them in C is used. distributed-ucxx ships its tests. ucxx ships what
its tests lean on and no tests, and ucx-py has no wheel on PyPI: their tests are taken from a FOLDER, a checkout of the
repository, and left out without it. Helpers that FOLDER has are used before the wheel's.

A process for each file. Prints as pytest does at its end: a SKIPPED for each reason, a FAILED for each test. What EXPECTED
names counts as skipped, with its reason. Ends with 1 where another fails or a file does not end in time.
"""
from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))

from theirs_run import Incomplete, Result, cases, run_pytest, tell_all  # noqa: E402

WORK = ROOT / "build/faces-theirs"
WHEELS = {"ucxx": "ucxx-cu13==0.52.0", "distributed_ucxx": "distributed-ucxx-cu13==0.52.0"}
TOOLS = ["pytest-asyncio==1.5.0", "typing_extensions==4.16.0"]
HELPERS = {"ucxx": ("benchmarks", "_lib_async/utils_test.py", "_lib_async/pytest_stash_keys.py"), "ucp": ("_libs/utils_test.py",)}


class Suite(NamedTuple):
    """Tests of a package."""

    face: str
    tests: str                           # their folder, in the wheel and here
    places: tuple[str, ...] = ()         # ... in a checkout
    options: tuple[str, ...] = ()


SUITES = {
    "distributed_ucxx": Suite("ucxx", "distributed_ucxx/tests"),
    "ucxx._lib": Suite("ucxx", "ucxx/_lib/tests", ("python/ucxx/ucxx/_lib/tests", "ucxx/_lib/tests")),
    "ucxx._lib_async": Suite("ucxx", "ucxx/_lib_async/tests", ("python/ucxx/ucxx/_lib_async/tests", "ucxx/_lib_async/tests"),
                             ("--runslow",)),
    "ucp._libs": Suite("ucp", "ucp/_libs/tests", ("ucp/_libs/tests",)),
}

# Tests that need not pass, by a part of SUITE/FILE::TEST, each with its reason.
EXPECTED: dict[str, str] = {
    "ucxx._lib/test_cython.py": "Cython on ucxx's C++ classes",
    "ucxx._lib/test_future_task_shutdown.py": "runs ucxx.examples, which is C++",
    "ucxx._lib_async/test_listener.py::test_listener_handler": "calls functions inside ucxx's listener",
    "test_config.py::test_init_unknown_option": "UCX takes unknown options since 1.12, and so does a face; newer versions skip it",
}


# ---- fetching --------------------------------------------------------------------------------------------------------


def pip(*args: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", args[0], "-q", "--disable-pip-version-check", "--no-deps", *args[1:]], check=True)


def wheel(package: str) -> Path:
    """The folder of an unpacked wheel. Of any platform: what it has in C is not used."""
    folder = WORK / "wheels" / re.sub(r"\W+", "-", WHEELS[package])
    if not folder.exists():
        pip("download", "--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64", "-d", WORK / "wheels",
            WHEELS[package])
        (archive,) = (WORK / "wheels").glob(f"{package}_cu*.whl")
        shutil.unpack_archive(archive, folder, "zip")
    return folder


def tools() -> Path:
    folder = WORK / "tools"
    if not folder.exists():
        pip("install", "--target", folder, *TOOLS)
    return folder


def find(suite: Suite, folders: list[Path]) -> tuple[Path, Path] | None:
    """(tests, the package) in the first of the folders that has them."""
    for folder in folders:
        for place in suite.places:
            if list((folder / place).glob("test_*.py")):
                return folder / place, folder / (place.rpartition(f"{suite.face}/")[0] + suite.face)
    return None


def put(source: Path, name: str, top: Path) -> None:
    if (source / name).is_dir():
        shutil.copytree(source / name, top / name, dirs_exist_ok=True)
    elif (source / name).exists():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, top / name)


AHEAD = '''import importlib
from weft.faces._alias import become
for part in {parts}:
    importlib.import_module("weft.{face}" + part).__path__.append({top!r} + part[1:])
become("{face}", "weft.{face}")
'''


def prepare(suite: Suite, folders: list[Path]) -> Path | None:
    """The folder with the tests, and in WORK/ahead the package `ucxx` or `ucp`: weft's, which finds helpers in theirs, too."""
    top = WORK / suite.face
    ahead = WORK / "ahead" / suite.face
    ahead.mkdir(parents=True, exist_ok=True)
    parts = ["", *sorted({f".{name.split('/')[0]}" for name in HELPERS[suite.face] if name.startswith("_")})]
    (ahead / "__init__.py").write_text(AHEAD.format(face=suite.face, parts=parts, top=f"{top}/"))
    if not suite.places:
        return wheel("distributed_ucxx") / suite.tests
    found = find(suite, folders)
    if found is None:
        return None
    tests, package = found
    shutil.rmtree(top, ignore_errors=True)
    for source in ([wheel("ucxx") / "ucxx"] if suite.face == "ucxx" else []) + [package]:
        for name in HELPERS[suite.face]:
            put(source, name, top)
    return shutil.copytree(tests, WORK / suite.tests)


# ---- running ---------------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    given = [Path(p).resolve() for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]     # tests run elsewhere
    path = [WORK / "ahead", wheel("distributed_ucxx"), tools(), *given]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("UCX", "DASK_"))}
    return env | {"PYTHONPATH": os.pathsep.join(map(str, path)), "UCXPY_IFNAME": "lo"}       # every machine has it


def first_line(said: ElementTree.Element) -> str:
    if said.get("message") == "collection skipped":      # the whole file; (path, line, reason)
        return str(ast.literal_eval(said.text or "")[2]).removeprefix("Skipped: ")
    text = said.get("message") or said.text or ""
    return text.strip().partition("\n")[0][:200] or "no reason given"


def read(report: Path, where: str) -> Result:
    passed, skipped, failed = 0, Counter[str](), []
    for name, bad, skip in cases(report):
        if bad is not None:
            failed.append((f"{where}::{name}", first_line(bad)))
        elif skip is not None:
            skipped[first_line(skip)] += 1
        else:
            passed += 1
    return Result(passed, skipped, failed)


def run(suite: Suite, where: str, folder: Path, file: str, one: str, limit_s: int) -> Result:
    logs = WORK / "logs"
    logs.mkdir(exist_ok=True)
    report = logs / f"{where.replace('/', '-')}.xml"
    report.unlink(missing_ok=True)
    (WORK / "pytest.ini").write_text("[pytest]\n")       # or this repository's options would be theirs
    args = ["-c", str(WORK / "pytest.ini"), "-o", f"cache_dir={WORK}/cache", f"--junitxml={report}", *suite.options, f"{folder / file}{one}"]
    with open(report.with_suffix(".log"), "w") as log:
        try:
            run_pytest(args, folder, environment(), log, limit_s)
        except Incomplete as exc:
            return Result(failed=[(where, str(exc))])
    result = read(report, where) if report.exists() else Result()
    return result if any(result) else Result(failed=[(where, f"no test ran: {log.name}")])


def excused(result: Result) -> Result:
    """Failures that EXPECTED names become skips."""
    skipped, failed = Counter(result.skipped), []
    for test, why in result.failed:
        known = next((reason for part, reason in EXPECTED.items() if part in test), None)
        if known is None:
            failed.append((test, why))
        else:
            skipped[known] += 1
    return Result(result.passed, skipped, failed)


def run_suite(name: str, what: str, folders: list[Path], limit_s: int) -> Result:
    """Runs the files of a suite, or the one that `what` names, and says what came of each."""
    suite = SUITES[name]
    folder = prepare(suite, folders)
    if folder is None:
        result = Result(skipped=Counter(["not in a wheel; --tests FOLDER names a checkout"]))
        result.tell(name)
        return result
    file, colons, one = what.partition("::")
    total = Result()
    for path in [folder / file] if file else sorted(folder.glob("test_*.py")):
        where, start = f"{name}/{path.name}", time.monotonic()
        result = excused(run(suite, where, folder, path.name, colons + one, limit_s))
        print(f"{where}: {result.passed} passed, {len(result.failed)} failed, {result.skipped.total()} skipped, "
              f"{time.monotonic() - start:.0f} s", flush=True)
        result.tell(where)
        total = Result(total.passed + result.passed, total.skipped + result.skipped, [*total.failed, *result.failed])
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=list(SUITES), metavar="WHAT", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--tests", type=Path, action="append", default=[], metavar="FOLDER", help="a checkout of ucxx or ucx-py")
    parser.add_argument("--limit", type=int, default=600, help="seconds for one file (%(default)s)")
    o = parser.parse_args()
    start = time.monotonic()
    results = []
    for what in o.what:
        name, _, rest = what.partition("/")
        if name not in SUITES:
            parser.error(f"there is no suite {name}")
        results.append(run_suite(name, rest, [folder.resolve() for folder in o.tests], o.limit))
    return tell_all(results, time.monotonic() - start)


if __name__ == "__main__":
    sys.exit(main())
