#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""theirs.py - distributed's own tests over tcp:// and over weft://, and the tests that pass over the first and not over the second.

    PYTHONPATH=build/py build/venv/bin/python tests/dask/theirs.py [--only comms,core] [--limit S] [--tests FOLDER]

No package of distributed on PyPI has tests since 2023; Debian's python3-distributed (2022.12) has. They are fetched by `apt-get
download`, or taken from FOLDER (where comm/tests and tests lie), and run against the distributed that is installed. What has changed
since then fails over either scheme and says nothing. For weft:// the default scheme is weft; of the comms the tests' own addresses say so, too. The others' do not: where they name tcp://, or
listen at a port without a scheme, which is tcp:// in Dask, they test tcp over either.

Ends with 1 where a test that passes over tcp fails over weft and is not in EXPECTED, which has the reasons.
"""
from __future__ import annotations

import argparse
import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build/dask-theirs"
FILES = {name: f"{'comm/' if name == 'comms' else 'shuffle/' if name == 'shuffle' else ''}tests/test_{name}.py"
         for name in ("comms", "core", "batched", "nanny", "worker", "scheduler", "client", "shuffle")}
SCHEMES = ("tcp", "weft")

# Names that moved since, so that their tests go on saying something: {(module, name): what it is now}
MOVED = {("distributed.compatibility", "to_thread"): "from asyncio import to_thread",
         ("distributed.utils_test", "async_wait_for"): "from distributed.utils_test import async_poll_for as async_wait_for",
         ("distributed.comm", "asyncio_tcp"): "import distributed.comm.tcp as asyncio_tcp"}

# What tests put in place of parts of the tcp backend, for weft.
IN_PLACE = {"tcp://": "weft://", 'setitem(backends, "tcp"': 'setitem(backends, "weft"',
            "from distributed.comm.tcp import TCPBackend, TCPConnector":
            "from weft.dask.comm import WeftBackend as TCPBackend, WeftConnector as TCPConnector"}

# What is gone is a class that takes everything, so that only the tests which use it fail.
PREPARED = ["class _Gone:", "    def __init__(self, *args, **kwargs): pass", "    def __call__(self, what): return what",
            "import os as _os", "import distributed.utils_test as _utils",
            "_utils.get_cert = lambda name: _os.path.join(_os.path.dirname(_os.path.abspath(__file__)), name)"]

# Server.listen(port) is tcp:// in Dask, whatever the default scheme is, while rpc(ip, port) follows it.
CONFTEST = """\
from distributed.comm import addressing, core

core.parse_address = lambda addr, strict=False: addressing.parse_address(addr)
"""

# Tests that need not pass over weft, by a part of their name, each with its reason.
EXPECTED: dict[str, str] = {
    "test_tcp_specific": "looks at the class TCPListener itself",
    "test_default_client_server": "Dask's listen() takes an address without a scheme for tcp://, whatever the default scheme is",
}


def fetch() -> Path:
    """The folder `distributed` of Debian's package."""
    found = WORK / "deb/usr/lib/python3/dist-packages/distributed"
    if not found.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-qq", "download", "python3-distributed"], cwd=WORK, check=True)
        (package,) = WORK.glob("python3-distributed_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, WORK / "deb"], check=True)
    return found


def present(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}") is not None
    except Exception:
        return False


def imports(node: ast.ImportFrom) -> list[str]:
    """The same import of what is still there; a name that is gone fails where it is used."""
    lines = []
    for alias in node.names:
        as_ = alias.asname or alias.name
        if (node.module, alias.name) in MOVED and not present(str(node.module), alias.name):
            lines.append(MOVED[str(node.module), alias.name])
        elif present(str(node.module), alias.name):
            lines.append(f"from {node.module} import {alias.name} as {as_}")
        else:
            lines.append(f"class {as_}(_Gone): pass")
    return lines


def adapt(name: str, text: str, scheme: str) -> str:
    lines = text.splitlines()
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__" and not node.level:
            lines[node.lineno - 1:node.end_lineno] = imports(node)
    after = next(n.end_lineno for n in ast.parse(text).body if not isinstance(n, ast.Expr))   # from __future__
    lines[after:after] = PREPARED
    text = "\n".join(lines) + "\n"
    for old, new in IN_PLACE.items() if scheme == "weft" else ():
        text = text.replace(old, new)
    return text


def outcomes(report: Path) -> dict[str, str]:
    """{test: passed, failed, skipped}; what Dask chooses between its two TCPs is one test."""
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = re.sub(r"\[(tornado|asyncio)\]|(?<=\[)(tornado|asyncio)-|-(tornado|asyncio)(?=\])", "", case.get("name", ""))
        name = name.replace("weft://", "tcp://")
        bad = case.find("failure") is not None or case.find("error") is not None
        result = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
        if found.get(name) != "passed":
            found[name] = result
    return found


def run(name: str, top: Path, scheme: str, limit_s: int) -> dict[str, str]:
    folder = WORK / scheme
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / name).mkdir(parents=True)
    test = folder / name / f"test_{name}.py"
    test.write_text(adapt(name, (top / FILES[name]).read_text(), scheme))
    (test.parent / "conftest.py").write_text(CONFTEST)
    for pem in top.glob("tests/*.pem"):
        shutil.copy(pem, test.parent)
    report = folder / name / "report.xml"
    env = {k: v for k, v in os.environ.items() if not k.startswith("DASK_")}
    env |= {"PYTHONUNBUFFERED": "1", "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": scheme, "DASK_DISTRIBUTED__ADMIN__LOG_LENGTH": "100"}
    with open(folder / name / "log", "w") as log:
        try:
            subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not avoid_ci and not gpu",
                            "-o", "junit_logging=no", f"--junitxml={report}", "--tb=short", "-W", "ignore",
                            "--timeout=60", "--timeout-method=signal", test.name], cwd=test.parent,
                           env=env, stdout=log, stderr=subprocess.STDOUT, timeout=limit_s)
        except subprocess.TimeoutExpired:
            print(f"{name} over {scheme}: not done after {limit_s} s; {log.name}", flush=True)
            return {}
    return outcomes(report) if report.exists() else {}


def expected(test: str) -> str | None:
    return next((why for part, why in EXPECTED.items() if part in test), None)


def compare(name: str, got: dict[str, dict[str, str]]) -> bool:
    tcp, weft = (got[s] for s in SCHEMES)
    count = {s: sum(r == "passed" for r in got[s].values()) for s in SCHEMES}
    worse = [t for t, r in tcp.items() if r == "passed" and weft.get(t) != "passed"]
    better = [t for t, r in weft.items() if r == "passed" and tcp.get(t) != "passed"]
    print(f"{name}: {len(tcp)} tests; tcp passes {count['tcp']}, weft {count['weft']}; only over tcp {len(worse)}, only over weft {len(better)}",
          flush=True)
    for test in worse:
        print(f"  {weft.get(test, 'not run')} over weft: {test}" + (f" (expected: {why})" if (why := expected(test)) else ""), flush=True)
    return bool(tcp) and not [t for t in worse if not expected(t)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(FILES), help="of %(default)s")
    parser.add_argument("--limit", type=int, default=1500, help="seconds for one file over one scheme (%(default)s)")
    parser.add_argument("--tests", type=Path, help="a folder `distributed` with its tests")
    o = parser.parse_args()
    folder = o.tests or fetch()
    well = True
    for name in o.only.split(","):
        well &= compare(name, {s: run(name, folder, s, o.limit) for s in SCHEMES})
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
