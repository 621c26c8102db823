#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""theirs.py - distributed's own tests over tcp://, those that pass over weft://, and which of them do not pass there.

    PYTHONPATH=build/py build/venv/bin/python tests/dask/theirs.py [--slow] [--each S] [WHAT...]

No package of distributed on PyPI has tests since 2023; Debian's python3-distributed has. They are fetched by `apt-get download`, or taken
from FOLDER (where comm/tests and tests lie), and run against the distributed that is installed. What has changed since fails over
either scheme; it is listed by what it says. For weft:// the default scheme is weft, the tests' own addresses say so, too, and a port
without a scheme is weft's.

WHAT: files of tests, called by their paths without `tests/test_`: comm/comms, client, shuffle/merge, deploy/local; or folders (shuffle), or
FILE::TEST, or `all` that the package has. By default DEFAULT: what weft is measured by.

Counted are the tests that pass over tcp: passed, failed, and skipped those in EXPECTED, which has the reasons; what fails or skips over
tcp is skipped, too, each reason with its number. Prints as pytest does at its end. Ends with 1 where one failed.
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
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import weft

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))

from theirs_run import Incomplete, Result, cases, run_pytest, tell_all  # noqa: E402

WORK = ROOT / "build/dask-theirs"
DEFAULT = ["comm/comms", "core", "batched", "nanny", "worker", "scheduler", "client", "shuffle"]
SLOW_S = 120                                 # for one that is marked slow
RELEASE = "trixie"                           # its distributed is of December 2024

# Names that moved since, so that their tests go on saying something: {(module, name): what it is now}
MOVED = {("distributed.compatibility", "to_thread"): "from asyncio import to_thread",
         ("distributed.utils_test", "async_wait_for"): "from distributed.utils_test import async_poll_for as async_wait_for",
         ("distributed.comm", "asyncio_tcp"): "import distributed.comm.tcp as asyncio_tcp"}

# What tests put in place of parts of the tcp backend, for weft.
IN_PLACE = {"tcp://": "weft://", '["inproc", "tcp"]': '["inproc", "weft"]', 'startswith("tcp")': 'startswith("weft")',
            **{f'setitem(backends, "tcp", {of}': f'setitem(backends, "weft", {of}' for of in ("Slow", "Blocked", "Unreliable")},
            "    return tcp\n": "    return theirs_head.Tcp\n",   # a fixture
            "from distributed.comm.tcp import TCPBackend, TCPConnector":
            "from weft.dask.comm import WeftBackend as TCPBackend, WeftConnector as TCPConnector"}

SINCE = {'@pytest.importorskip("pyarrow")\n': "",               # Debian's own: it has no pyarrow
         "from dask_expr.": "from dask.dataframe.dask_expr.",
         # forgets a worker's event, which a batch holds back for 2 ms, without waiting for it: a quick scatter came before it
         '{"z": 3}, workers=a.address)\n\n    s._broker.truncate()':
         '{"z": 3}, workers=a.address)\n    while not s.get_events("worker-get-client"): await asyncio.sleep(0.01)\n\n    s._broker.truncate()'}

# What is gone is a class that takes everything, so that only the tests which use it fail.
HEAD = ["import theirs_head", "class _Gone:", "    def __init__(self, *args, **kwargs): pass", "    def __call__(self, what): return what"]

# Before each file, also in processes that tests start. Server.listen(port) is tcp:// in Dask, whatever the default scheme is, while
# rpc(ip, port) follows it. The comm that tests hold up is derived from tcp's. A collection's persist() no longer asks a client that is
# asynchronous, the client's own does. Limits of time are ours alone: theirs end where somebody debugs.
THEIRS_HEAD = """\
import os
import types

import dask
import distributed
import distributed.utils_test as utils
from dask.base import DaskMethodsMixin
from distributed.comm import addressing, core, tcp
from weft.dask import WeftBackend, WeftComm, WeftConnector, WeftListener

Tcp = types.SimpleNamespace(**vars(tcp) | dict(TCPBackend=WeftBackend, TCPConnector=WeftConnector, TCPListener=WeftListener, TCP=WeftComm))


def persist(self, own=DaskMethodsMixin.persist, **kwargs):
    try:
        client = distributed.get_client()
    except ValueError:
        client = None
    return client.persist(self, **kwargs) if client and client.asynchronous else own(self, **kwargs)


DaskMethodsMixin.persist = persist

utils.is_debugging = lambda: True
utils.certs_dir = os.path.dirname(os.path.abspath(__file__))
core.parse_address = lambda addr, strict=False: addressing.parse_address(addr)
if dask.config.get("distributed.comm.default-scheme") == "weft":
    utils.TCP = WeftComm
    body = {k: v for k, v in vars(utils.LockedComm).items() if k not in ("__dict__", "__weakref__")}
    utils.LockedComm = type("LockedComm", (WeftComm,), body)
"""

# As distributed's own: its fixtures, and each test with the configuration from before.
CONFTEST = f"""\
import copy
import os

import theirs_head
from distributed.utils_test import *

import dask
import pytest

before = copy.deepcopy(dask.config.config)


@pytest.fixture(autouse=True)
def same_configuration():
    with dask.config.set(copy.deepcopy(before)):
        yield


def pytest_collection_modifyitems(items):
    for item in (i for i in items if "slow" in i.keywords):
        item.add_marker(pytest.mark.timeout(max({SLOW_S}, item.config.getoption("timeout"))))
        if not os.environ.get("THEIRS_SLOW"):
            item.add_marker(pytest.mark.skip("marked slow: --slow runs it"))
    if os.path.exists("wanted"):
        wanted = open("wanted").read().splitlines()
        items[:] = [i for i in items if i.name in wanted or getattr(i, "originalname", None) in wanted]
"""

# Tests that need not pass over weft, by a part of FILE::TEST, each with its reason.
EXPECTED: dict[str, str] = {
    "test_tcp_specific": "looks at the class TCPListener itself",
    "test_comm_closed_on_write_error": "puts a fault into the stream of tcp's comm",
    "test_share_buffer_with_header": "wants buffers that share memory with what describes them, as tcp's do below a length; weft's never do",
    "client::test_file_descriptors_dont_leak": "counts before its loop first uses weft, whose worker, with its five descriptors, stays as long as the loop",
    "local::test_transports_tcp": "names no protocol and wants tcp's",
    "local::test_protocol_tcp": "names no protocol and wants tcp's",
    "worker_metrics::test_new_metrics_during_heartbeat": "wants ten turns of the loop while a heartbeat goes through it; weft takes fewer",
    "utils_comm::test_gather_from_workers_busy": "wants a task that was woken first to run before a message in the same loop has gone and been answered",
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


def named(top: Path) -> dict[str, Path]:
    """All files of tests, by their names."""
    found = {}
    for path in sorted(top.rglob("tests/test_*.py")):
        folder = path.relative_to(top).parent.parent
        found[str(folder / path.stem.removeprefix("test_"))] = path
    return found


def chosen(word: str, names: list[str]) -> list[str]:
    found = [n for n in names if word in (n, "all") or n.startswith(f"{word}/")]
    if not found:
        raise SystemExit(f"theirs.py: distributed has no tests {word!r}; there are {', '.join(names)}")
    return found


# ---- adapting --------------------------------------------------------------------------------------------------------


def present(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}") is not None
    except Exception:
        return False


def imports(module: str, names: list[ast.alias]) -> list[str]:
    """The same import of what is still there; a name that is gone fails where it is used."""
    lines = []
    for alias in names:
        as_ = alias.asname or alias.name
        if present(module, alias.name):
            lines.append(f"from {module} import {alias.name} as {as_}")
        else:
            lines.append(MOVED.get((module, alias.name), f"class {as_}(_Gone): pass"))
    return lines


def put(source: Path, folder: Path, as_: str, top: Path, scheme: str) -> Path:
    """A file of theirs, adapted, in @folder, and what it takes from other files of tests beside it."""
    text = source.read_text()
    lines = text.splitlines()
    for node in reversed(ast.parse(text).body):
        if not isinstance(node, ast.ImportFrom) or node.level or not node.module or node.module == "__future__":
            continue
        beside = top.joinpath(*node.module.split(".")[1:]).with_suffix(".py")
        if ".tests." in node.module and beside.exists():
            helper = put(beside, folder, node.module.replace(".", "_"), top, scheme)
            new = [f"from {helper.stem} import {', '.join(ast.unparse(a) for a in node.names)}"]
        else:
            new = imports(node.module, node.names)
        lines[node.lineno - 1:node.end_lineno] = new
    after = next(n.end_lineno for n in ast.parse(text).body if not isinstance(n, ast.Expr))   # from __future__
    lines[after:after] = HEAD
    text = "\n".join(lines) + "\n"
    for old, new_ in (SINCE | (IN_PLACE if scheme == "weft" else {})).items():
        text = text.replace(old, new_)
    path = folder / f"{as_}.py"
    path.write_text(text)
    return path


def prepare(name: str, source: Path, top: Path, scheme: str) -> Path:
    """The file of tests, in a folder of its own."""
    folder = WORK / scheme / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "theirs_head.py").write_text(THEIRS_HEAD)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\n")     # or this repository's options would be theirs
    for data in (p for p in top.glob("tests/*") if p.suffix != ".py"):
        shutil.copy(data, folder)
    return put(source, folder, source.stem, top, scheme)


# ---- running ---------------------------------------------------------------------------------------------------------


def reason(said: ElementTree.Element) -> str:
    """Why a test failed or skips, short, and the same for all for which it is the same."""
    text = said.get("message") or said.text or "no reason given"
    if fixture := re.search(r"fixture '\w+' not found", said.text or ""):
        return fixture[0]
    line = next((s for s in text.splitlines() if s.strip()), "")
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "N", line)[:110]


Outcomes = dict[str, str]                    # {test, as it is called over tcp: "" for passed, SKIPS and why, or why it failed}
SKIPS = "skips: "


class Limits(NamedTuple):
    """Seconds; when all is to be over; whether tests that are marked slow run, too."""

    file: int
    test: int
    until: float
    slow: bool


def run(test: Path, scheme: str, limits: Limits, which: list[str] | None = None) -> Outcomes:
    report, log = test.parent / "report.xml", test.parent / "log"
    report.unlink(missing_ok=True)
    if which:
        (test.parent / "wanted").write_text("\n".join(w.replace("tcp://", f"{scheme}://") for w in which))
    env = {k: v for k, v in os.environ.items() if not k.startswith("DASK_")}
    env |= {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(Path(weft.__file__).parents[1]),   # from another folder, too
            "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": scheme, "DASK_DISTRIBUTED__ADMIN__LOG_LENGTH": "100"}
    if limits.slow:
        env["THEIRS_SLOW"] = "1"
    args = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-o", "junit_logging=no", f"--junitxml={report}",
            f"--timeout={limits.test}", "--timeout-method=signal", test.name]
    with open(log, "a") as out:
        run_pytest(args, test.parent, env, out, min(limits.file, max(1, round(limits.until - time.monotonic()))))
    found: Outcomes = {}
    for name, bad, skip in cases(report):
        why = reason(bad) if bad is not None else SKIPS + reason(skip) if skip is not None else ""
        found[name.replace("weft://", "tcp://")] = why
    return found


def cases_of(name: str, found: Outcomes) -> list[str]:
    """A test's, by its name with parameters or without; itself, if it was not run."""
    return [t for t in found if t == name or t.startswith(f"{name}[")] or [name]


def run_twice(test: Path, scheme: str, limits: Limits, which: list[str] | None = None) -> Outcomes:
    """Many measure times: those that fail once more, by themselves. Which of them pass then is said."""
    found = run(test, scheme, limits, which)
    asked = [t for name in which for t in cases_of(name, found)] if which else found
    missed = {t: why for t in asked if (why := found.get(t, "not run")) and not why.startswith(SKIPS)}
    again = run(test, scheme, limits._replace(test=2 * limits.test), list(missed)) if missed else {}
    for t in passing(again):
        print(f"{test.parent.relative_to(WORK)}::{t} passed at its second try; at its first: {missed.get(t)}", flush=True)
    return found | again


def passing(found: Outcomes) -> list[str]:
    return [test for test, why in found.items() if not why]


def expected(test: str) -> str | None:
    """Of FILE::TEST."""
    return next((why for part, why in EXPECTED.items() if part in test), None)


def compare(name: str, source: Path, top: Path, limits: Limits, one: str = "") -> Result:
    start = time.monotonic()
    try:
        tcp = run_twice(prepare(name, source, top, "tcp"), "tcp", limits, [one] if one else None)
        asked = passing(tcp)
        got = run_twice(prepare(name, source, top, "weft"), "weft", limits, asked) if asked else {}
    except Incomplete as exc:
        result = Result(failed=[(name, str(exc))])
        result.tell(name)
        return result
    worse = {t: got.get(t, "not run") for t in asked if got.get(t, "not run")}
    result = Result(len(asked) - len(worse), Counter(why if why.startswith(SKIPS) else f"fails over tcp, too: {why}" for why in tcp.values() if why),
                    [(f"{name}::{t}", why) for t, why in worse.items() if not expected(f"{name}::{t}")] or
                    ([] if asked else [(name, f"nothing passes over tcp: {WORK}/tcp/{name}/log")]))
    result.skipped.update(why for t in worse if (why := expected(f"{name}::{t}")))
    print(f"{name}: of {len(tcp)} tests {len(asked)} pass over tcp, of these {result.passed} over weft; {time.monotonic() - start:.0f} s")
    result.tell(name)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=DEFAULT, metavar="WHAT", help=f"{' '.join(DEFAULT)}")
    parser.add_argument("--limit", type=int, default=2400, help="seconds for one file over one scheme (%(default)s)")
    parser.add_argument("--total", type=int, default=4 * 3600, help="seconds for all; what is not done by then has failed (%(default)s)")
    parser.add_argument("--each", type=int, default=30, help="seconds for one test; on a busy machine more (%(default)s)")
    parser.add_argument("--slow", action="store_true", help="tests that are marked slow, too")
    parser.add_argument("--tests", type=Path, help="a folder `distributed` with its tests")
    o = parser.parse_args()
    start = time.monotonic()
    limits = Limits(o.limit, o.each, start + o.total, o.slow)
    top = o.tests or fetch()
    files = named(top)
    results = []
    for what in o.what:
        name, _, one = what.partition("::")
        results += [compare(n, files[n], top, limits, one) for n in chosen(name, list(files))]
    return tell_all(results, time.monotonic() - start)


if __name__ == "__main__":
    sys.exit(main())
