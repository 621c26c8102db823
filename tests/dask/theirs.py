#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""theirs.py - distributed's own tests over tcp://, those that pass over weft://, and which of them do not pass there.

    PYTHONPATH=build/py build/venv/bin/python tests/dask/theirs.py [--only comms,core] [--limit S] [--tests FOLDER]

No package of distributed on PyPI has tests since 2023; Debian's python3-distributed has. They are fetched by `apt-get download`, or taken
from FOLDER (where comm/tests and tests lie), and run against the distributed that is installed. What has changed since fails over
either scheme and says nothing. For weft:// the default scheme is weft, the tests' own addresses say so, too, and a port without a
scheme is weft's.

Ends with 1 where a test that passes over tcp fails over weft and is not in EXPECTED, which has the reasons.
"""
from __future__ import annotations

import argparse
import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import weft

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))

from theirs_run import cases, run_pytest  # noqa: E402

WORK = ROOT / "build/dask-theirs"
FILES = {name: f"{'comm/' if name == 'comms' else 'shuffle/' if name == 'shuffle' else ''}tests/test_{name}.py"
         for name in ("comms", "core", "batched", "nanny", "worker", "scheduler", "client", "shuffle")}
SCHEMES = ("tcp", "weft")
TEST_S = 15                                  # for one test: where the tests do not fit, they wait for what does not come
RELEASE = "trixie"                           # its distributed is of December 2024

# Names that moved since, so that their tests go on saying something: {(module, name): what it is now}
MOVED = {("distributed.compatibility", "to_thread"): "from asyncio import to_thread",
         ("distributed.utils_test", "async_wait_for"): "from distributed.utils_test import async_poll_for as async_wait_for",
         ("distributed.comm", "asyncio_tcp"): "import distributed.comm.tcp as asyncio_tcp"}

# What tests put in place of parts of the tcp backend, for weft.
IN_PLACE = {"tcp://": "weft://", '["inproc", "tcp"]': '["inproc", "weft"]', 'startswith("tcp")': 'startswith("weft")',
            'setitem(backends, "tcp", Slow': 'setitem(backends, "weft", Slow',
            "from distributed.comm.tcp import TCPBackend, TCPConnector":
            "from weft.dask.comm import WeftBackend as TCPBackend, WeftConnector as TCPConnector"}

# What is gone is a class that takes everything, so that only the tests which use it fail.
PREPARED = ["class _Gone:", "    def __init__(self, *args, **kwargs): pass", "    def __call__(self, what): return what",
            "import os as _os", "import distributed.utils_test as _utils",
            "_utils.get_cert = lambda name: _os.path.join(_os.path.dirname(_os.path.abspath(__file__)), name)"]

# Server.listen(port) is tcp:// in Dask, whatever the default scheme is, while rpc(ip, port) follows it. The comm that tests hold up is
# derived from tcp's.
CONFTEST = """\
import os

import dask
import distributed.utils_test as utils
from distributed.comm import addressing, core
from weft.dask import WeftComm

core.parse_address = lambda addr, strict=False: addressing.parse_address(addr)
if dask.config.get("distributed.comm.default-scheme") == "weft":
    utils.TCP = WeftComm
    body = {k: v for k, v in vars(utils.LockedComm).items() if k not in ("__dict__", "__weakref__")}
    utils.LockedComm = type("LockedComm", (WeftComm,), body)


def pytest_collection_modifyitems(items):
    if os.path.exists("wanted"):
        wanted = open("wanted").read().splitlines()
        items[:] = [i for i in items if i.name in wanted]
"""

NO_NANNY = "Dask tells a worker without a nanny which of its addresses faces the scheduler for tcp and tls only"

# Tests that need not pass over weft, by a part of their name, each with its reason.
EXPECTED: dict[str, str] = {
    "test_tcp_specific": "looks at the class TCPListener itself",
    "test_comm_closed_on_write_error": "puts a fault into the stream of tcp's comm",
    "test_worker_listens_on_same_interface_by_default": NO_NANNY,
    "test_service_hosts_match_worker": NO_NANNY,
    "test_unrunnable_task_runs": NO_NANNY,
}


def fetch() -> Path:
    """The folder `distributed` of Debian's package, whatever this machine's own release is."""
    found = WORK / "deb/usr/lib/python3/dist-packages/distributed"
    if found.exists():
        return found
    for folder in ("lists/partial", "cache/archives/partial"):
        (WORK / folder).mkdir(parents=True, exist_ok=True)
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(SITE)", "Created-By: Packages"],
                             capture_output=True, text=True, check=True).stdout.splitlines()
    site = next(t.split()[2] for t in targets if t.startswith("Debian main"))
    (WORK / "sources.list").write_text(f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {site} {RELEASE} main\n")
    options = [f"Dir::Etc::sourcelist={WORK}/sources.list", "Dir::Etc::sourceparts=/dev/null", f"Dir::State::lists={WORK}/lists",
               f"Dir::Cache={WORK}/cache", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-qq", *(word for o in options for word in ("-o", o))]
    subprocess.run([*apt, "update"], cwd=WORK, check=True)
    subprocess.run([*apt, "download", "python3-distributed"], cwd=WORK, check=True)
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
    text = "\n".join(lines).replace('@pytest.importorskip("pyarrow")\n', "") + "\n"   # Debian's own: it has no pyarrow
    for old, new in IN_PLACE.items() if scheme == "weft" else ():
        text = text.replace(old, new)
    return text


def outcomes(report: Path) -> dict[str, str]:
    """{test, as it is called over tcp: passed, failed, skipped}"""
    found: dict[str, str] = {}
    for name, bad, skip in cases(report):
        found[name.replace("weft://", "tcp://")] = "failed" if bad is not None else "skipped" if skip is not None else "passed"
    return found


def prepare(name: str, top: Path, scheme: str) -> Path:
    """The file of tests, in a folder of its own."""
    folder = WORK / scheme / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    test = folder / f"test_{name}.py"
    test.write_text(adapt(name, (top / FILES[name]).read_text(), scheme))
    (folder / "conftest.py").write_text(CONFTEST)
    for pem in top.glob("tests/*.pem"):
        shutil.copy(pem, folder)
    return test


def run(test: Path, scheme: str, limit_s: int, which: list[str] | None = None, test_s: int = TEST_S) -> dict[str, str]:
    report, log = test.parent / "report.xml", test.parent / "log"
    report.unlink(missing_ok=True)
    if which:
        (test.parent / "wanted").write_text("\n".join(w.replace("tcp://", f"{scheme}://") for w in which))
    env = {k: v for k, v in os.environ.items() if not k.startswith("DASK_")}
    env |= {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(Path(weft.__file__).parents[1]),   # from another folder, too
            "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": scheme, "DASK_DISTRIBUTED__ADMIN__LOG_LENGTH": "100"}
    args = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-m", "not slow and not avoid_ci", "-o", "junit_logging=no",
            f"--junitxml={report}", f"--timeout={test_s}", "--timeout-method=signal", test.name]
    with open(log, "a") as out:
        if not run_pytest(args, test.parent, env, out, limit_s):
            print(f"{test.name} over {scheme}: not done after {limit_s} s; {log}", flush=True)
            return {}
    return outcomes(report) if report.exists() else {}


def expected(test: str) -> str | None:
    return next((why for part, why in EXPECTED.items() if part in test), None)


def compare(name: str, top: Path, limit_s: int) -> bool:
    tcp = run(prepare(name, top, "tcp"), "tcp", limit_s)
    asked = worse = [t for t, r in tcp.items() if r == "passed"]
    test = prepare(name, top, "weft")
    got: dict[str, str] = {}
    for test_s in (TEST_S, 4 * TEST_S):      # many measure times: those that fail once more, by themselves
        if worse:
            got |= run(test, "weft", limit_s, worse, test_s)
            worse = [t for t in worse if got.get(t) != "passed"]
    print(f"{name}: of {len(tcp)} tests {len(asked)} pass over tcp; of these {len(asked) - len(worse)} over weft", flush=True)
    for t in worse:
        print(f"  {got.get(t, 'not run')} over weft: {t}" + (f" (expected: {why})" if (why := expected(t)) else ""), flush=True)
    return bool(asked) and not [t for t in worse if not expected(t)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(FILES), help="of %(default)s")
    parser.add_argument("--limit", type=int, default=1500, help="seconds for one file over one scheme (%(default)s)")
    parser.add_argument("--tests", type=Path, help="a folder `distributed` with its tests")
    o = parser.parse_args()
    folder = o.tests or fetch()
    well = True
    for name in o.only.split(","):
        well &= compare(name, folder, o.limit)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
