# SPDX-License-Identifier: BSD-3-Clause
"""The program `weft`: what it prints, what it refuses, and that it ends whatever happens to the other side."""
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

TOOL = Path(os.environ.get("WEFT_TEST_BUILD", "build")) / "weft"
ENV = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS")}  # those are the interpreter's
CELL = ["--time", "0.05", "--json"]

pytestmark = pytest.mark.skipif(not TOOL.exists(), reason="the program weft was not built")


def weft(*args, env=None):
    return subprocess.run([TOOL, *args], capture_output=True, text=True, timeout=60, env={**ENV, **(env or {})})


def lines(result):
    assert result.returncode == 0, result.stderr
    return [json.loads(s) for s in result.stdout.splitlines()]


def test_info_names_transports_and_settings():
    (info,) = lines(weft("info", "--json", env={"WEFT_CMA": "no"}))
    assert {"loop", "shm", "tcp"} <= {t["name"] for t in info["transports"]}
    assert info["settings"]["cma"]["value"] == "no" and info["settings"]["cma"]["origin"] == "env"
    assert "tcp" in weft("info").stdout


def test_explain_resolves_names():
    (plan,) = lines(weft("explain", "weft://localhost:7000", "--json"))
    assert any(a.endswith(":7000") for a in plan["addresses"]) and "tcp" in plan["order"]
    assert weft("explain", "http://localhost").returncode == 1


@pytest.mark.parametrize("transport", ["shm", "shm-ring", "tcp", "loop"])
def test_each_transport_and_test(transport):
    rows = lines(weft("perf", "--transport", transport, "--test", "tag_lat,tag_bw,tag_rate", "--size", "0,8,100K", *CELL))
    assert [(r["test"], r["size"]) for r in rows] == [
        (t, n) for t in ("tag_lat", "tag_bw", "tag_rate") for n in (0, 8, 102400)
    ]
    for row in rows:
        assert row["transport"] == transport and row["path"] == transport.partition("-")[0] and row["iterations"] > 0
        if row["test"] == "tag_lat":
            assert 0 < row["lat_us"]["min"] <= row["lat_us"]["p50"] <= row["lat_us"]["p99"]
        else:
            assert row["rate_Mps"] > 0 and (row["bw_GBps"] > 0) == (row["size"] > 0)


def test_says_who_copied():
    rows = lines(weft("perf", "--transport", "shm,shm-ring", "--size", "1M", *CELL))
    if "both" not in rows[0]["lane"]:
        pytest.skip("processes may not reach each other's memory here: " + rows[0]["lane"])
    assert [r["both_copied"] for r in rows] == [True, False]


def test_iterations_are_obeyed():
    (row,) = lines(weft("perf", "--transport", "shm", "--size", "8", "--iterations", "37", "--json"))
    assert row["iterations"] == 37


@pytest.mark.parametrize("args", [
    [], ["frobnicate"], ["info", "extra"], ["explain"], ["perf", "--nope"], ["perf", "extra"], ["perf", "--transport", "rdma"],
    ["perf", "--test", "x"], ["perf", "--size", "8x"], ["perf", "--size", "-1"], ["perf", "--size", "8,,9"],
    ["perf", "--size", "99999999999999999999"], ["perf", "--time", "0"], ["perf", "--time", "nan"],
    ["perf", "--iterations", "0"], ["perf", "--window", "1.5"],
])
def test_bad_arguments_are_refused(args):
    result = weft(*args)
    assert result.returncode == 2 and "weft" in result.stderr and not result.stdout


def test_what_the_library_refuses_is_said():
    result = weft("perf", "--transport", "shm", *CELL, env={"WEFT_AVOID": "shm"})
    assert result.returncode == 1 and "no transport that is allowed" in result.stderr
    result = weft("info", env={"WEFT_SPINN": "1us"})
    assert result.returncode == 1 and "WEFT_SPIN" in result.stderr
    result = weft("perf", "--transport", "tcp", "--size", "8", *CELL, env={"WEFT_FAULT": "seed=3,cut=0.05"})
    assert result.returncode == 1 and "cut by the setting fault" in result.stderr


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_killed_peer_ends_it(transport):
    argv = [TOOL, "perf", "--transport", transport, "--size", ",".join(["8"] * 50), "--time", "0.2", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV) as tool:
        json.loads(tool.stdout.readline())           # it measures; there are many to come
        (child,) = Path(f"/proc/{tool.pid}/task/{tool.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        _, errors = tool.communicate(timeout=20)
    assert tool.returncode == 1 and "signal 9" in errors and "WEFT_ERESET" in errors
