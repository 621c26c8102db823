# SPDX-License-Identifier: BSD-3-Clause
"""theirs_run.py - other projects' tests, in a pytest of their own: within a limit, and with nothing of theirs left behind."""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO


def run_pytest(args: Sequence[str], folder: Path, env: Mapping[str, str], log: IO[str], limit_s: int) -> bool:
    """Runs it in @folder. True: it came to its end in time. What its tests left running is ended, too."""
    proc = subprocess.Popen([sys.executable, "-m", "pytest", "-q", "--tb=short", "-W", "ignore", *args], cwd=folder, env=env, stdout=log,
                            stderr=subprocess.STDOUT, start_new_session=True)
    try:
        proc.wait(limit_s)
    except subprocess.TimeoutExpired:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(proc.pid, signal.SIGKILL)
        proc.wait()
    return True


def cases(report: Path) -> Iterator[tuple[str, ElementTree.Element | None, ElementTree.Element | None]]:
    """Of --junitxml=@report: each test's name, its failure or error, its skip."""
    for case in ElementTree.parse(report).iter("testcase"):
        bad = next((said for kind in ("failure", "error") if (said := case.find(kind)) is not None), None)
        yield case.get("name", ""), bad, case.find("skipped")
