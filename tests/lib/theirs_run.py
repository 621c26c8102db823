# SPDX-License-Identifier: BSD-3-Clause
"""theirs_run.py - other projects' tests, in a pytest of their own: within a limit, and with nothing of theirs left behind."""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple


class Result(NamedTuple):
    """What came of a file: counts, {reason of skips: how many}, [(test, reason)] of failures."""

    passed: int = 0
    skipped: Counter[str] = Counter()
    failed: Sequence[tuple[str, str]] = ()

    def tell(self, where: str) -> None:
        """As pytest does at its end: a SKIPPED for each reason, a FAILED for each test. tests/run.py reads that."""
        for why, n in self.skipped.items():
            print(f"SKIPPED [{n}] {where}: {why}")
        for test, why in self.failed:
            print(f"FAILED {test} - {why}")
        sys.stdout.flush()


def tell_all(results: Sequence[Result], seconds: float) -> int:
    """The closing line; the exit status."""
    failed = sum(len(r.failed) for r in results)
    print(f"{sum(r.passed for r in results)} passed, {failed} failed, {sum(r.skipped.total() for r in results)} skipped in {seconds:.2f}s")
    return 1 if failed else 0


class Incomplete(Exception):
    """What the report says is not all that was asked for."""


def run_pytest(args: Sequence[str], folder: Path, env: Mapping[str, str], log: IO[str], limit_s: int) -> None:
    """Runs it in @folder. Incomplete: it did not come to its end. What its tests left running is ended, too."""
    # native: the other styles parse the tests' source, which after a test of recursion ends CPython 3.11's parser, and pytest
    proc = subprocess.Popen([sys.executable, "-m", "pytest", "-q", "--tb=native", "-W", "ignore", *args], cwd=folder, env=env, stdout=log,
                            stderr=subprocess.STDOUT, start_new_session=True)
    try:
        status = proc.wait(limit_s)
    except subprocess.TimeoutExpired:
        raise Incomplete(f"not done after {limit_s} s: {log.name}") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(proc.pid, signal.SIGKILL)
        proc.wait()
    if status not in (0, 1, 5):              # all passed, some failed, none found
        raise Incomplete(f"pytest ended with {status}: {log.name}")


def cases(report: Path) -> Iterator[tuple[str, ElementTree.Element | None, ElementTree.Element | None]]:
    """Of --junitxml=@report: each test's name, its failure or error, its skip."""
    for case in ElementTree.parse(report).iter("testcase"):
        bad = next((said for kind in ("failure", "error") if (said := case.find(kind)) is not None), None)
        yield case.get("name", ""), bad, case.find("skipped")
