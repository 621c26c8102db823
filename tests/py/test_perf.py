# SPDX-License-Identifier: BSD-3-Clause
"""python -m weft.perf: what it prints, what it refuses, and that ^C and peers of all kinds end it well."""
import asyncio
import csv
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import weft
from conftest import interrupt_amid, pair
from weft import _perf, perf

TOOL = Path(os.environ.get("WEFT_TEST_BUILD", "build")) / "weft"
ARGV = [sys.executable, "-m", "weft.perf"]
CELL = ["--time", "0.02", "--json"]
LIMIT = 60
TESTS = ["tag_lat", "tag_bw", "tag_rate", "am_lat", "stream_bw", "put_lat", "put_bw", "get_lat", "get_bw", "atomic_lat"]


def run_perf(*args, env=None, **kw):
    argv = [*ARGV, *map(str, args)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, env={**os.environ, **(env or {})}, **kw)


def lines(result):
    assert result.returncode == 0, result.stderr
    return [json.loads(s) for s in result.stdout.splitlines()]


def needs_matplotlib():
    if "san" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("matplotlib's C++ exceptions end a process in which a sanitizer was preloaded")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def check_row(row):
    if row["test"].endswith("_lat"):
        lat = row["lat_us"]
        assert 0 < lat["min"] <= lat["p50"] <= lat["p99"] <= lat["p99.9"] and "bw_GBps" not in row
    else:
        assert row["rate_Mps"] > 0 and row["bw_GBps"] >= 0 and "lat_us" not in row and row["window"] > 0
        assert row["bw_GBps_range"][0] <= row["bw_GBps"] <= row["bw_GBps_range"][1]
    assert row["iterations"] > 0 and row["rounds"] > 0 and row["lane"] and row["memory"] == "malloc"
    assert (row["noise"] is None or row["noise"] >= 0) and len(row["preempted"]) == 2 and "interrupted" not in row


@pytest.mark.parametrize("transport", ["shm", "tcp", "loop"])
def test_each_transport_and_test(transport):
    rows = lines(run_perf("--transport", transport, "--test", "all", "--size", "8,100K", *CELL))
    assert [(r["test"], r["size"]) for r in rows] == [(t, n) for t in TESTS[:-1] for n in (8, 102400)] + [("atomic_lat", 8)]
    for row in rows:
        assert row["transport"] == row["path"] == transport and row["loop"] == "asyncio"
        check_row(row)


def test_fields_are_those_of_the_program():
    if not TOOL.exists():
        pytest.skip("the program weft was not built")
    args = ["--transport", "shm", "--test", "tag_lat,tag_bw", "--size", "8", *CELL]
    env = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS")}
    theirs = lines(subprocess.run([TOOL, "perf", *args], capture_output=True, text=True, timeout=LIMIT, env=env))
    for mine, other in zip(lines(run_perf(*args)), theirs, strict=True):
        assert set(mine) == {*other, "loop"}


def test_loops_iterations_and_settings():
    pytest.importorskip("uvloop", reason="uvloop is not installed")
    rows = lines(run_perf("--transport", "shm,shm-ring", "--loop", "asyncio,uvloop", "--test", "tag_lat,get_bw",
                          "--size", "1M", "--iterations", "7", "--json"))
    assert [(r["loop"], r["transport"], r["test"]) for r in rows] == [
        (kind, way, t) for kind in ("asyncio", "uvloop") for way in ("shm", "shm-ring") for t in ("tag_lat", "get_bw")]
    assert all(r["iterations"] == 7 and r["path"] == "shm" for r in rows)
    (row,) = lines(run_perf("--transport", "shm", "--size", "1M", *CELL, env={"WEFT_CMA": "no"}))
    assert row["lane"] == rows[2]["lane"] and not row["both_copied"]
    if "both" in rows[0]["lane"]:
        assert rows[0]["both_copied"] and not rows[2]["both_copied"]


def test_gather_gap_and_memory():
    rows = lines(run_perf("--transport", "shm", "--test", "tag_rate,tag_lat,put_lat,get_lat", "--size", "8", "--memory", "weft",
                          "--gather", "50", "--gap", "2000", "--iterations", "110", "--json"))
    assert [r["iterations"] for r in rows] == [110] * 4 and [r["memory"] for r in rows] == ["weft"] * 4
    assert rows[0]["gather"] == rows[0]["window"] == 50 and "gap_us" not in rows[0] and "gather" not in rows[1]
    assert [r.get("gap_us") for r in rows] == [None, 2000, 2000, None]


def test_one_cpu():
    one = sorted(os.sched_getaffinity(0))[:1]
    args = ["--test", "tag_lat,put_lat,stream_bw", "--size", "64", *CELL]
    result = run_perf(*args, preexec_fn=lambda: os.sched_setaffinity(0, one))
    rows = lines(result)
    assert len(rows) == 6 and all(r["cpus"] is None and r["noise"] is None for r in rows)
    assert result.stderr.count("share one CPU") == 1 and "--cpus A,B" in result.stderr
    result = run_perf(*CELL, "--test", "tag_lat", "--size", "64", "--transport", "loop", preexec_fn=lambda: os.sched_setaffinity(0, one))
    assert len(lines(result)) == 1 and not result.stderr


def test_csv_and_pictures(tmp_path):
    needs_matplotlib()
    out = tmp_path / "out.png"
    args = ["--transport", "shm", "--test", "tag_lat,tag_bw", "--size", "8:32", "--time", "0.02"]
    result = run_perf(*args, "--csv", "--plot", out)
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [r["size"] for r in rows] == ["8", "16", "32"] * 2 and {r["loop"] for r in rows} == {"asyncio"}, result.stderr
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and out.stat().st_size > 20000
    results = tmp_path / "results.json"
    results.write_text('{"test":"get_lat","transport":"tcp","size":8,"lat_us":{"min":1,"p50":2,"p99":3}}\n\n')
    assert perf.main(["--plot-json", str(results), str(out)]) == 0 and out.stat().st_size > 10000


@pytest.mark.parametrize("text, word", [("", "no results"), ("{\n", "line 1"), ("[]\n", "line 1"), ('\n{"size":1}\n', "line 2"),
                                        ('{"test":"x","transport":"y","size":8}\n', "neither")])
def test_pictures_of_nothing(tmp_path, capsys, text, word):
    needs_matplotlib()
    (tmp_path / "results").write_text(text)
    assert perf.main(["--plot-json", str(tmp_path / "results"), str(tmp_path / "out.png")]) == 1
    assert word in capsys.readouterr().err and not (tmp_path / "out.png").exists()


def test_pictures_that_cannot_be_written(tmp_path, capsys):
    needs_matplotlib()
    for out, word in ((tmp_path / "no" / "out.png", "cannot write"), (tmp_path / "out.xyz", "must end in")):
        assert perf.main(["--plot-json", "--check", str(out)]) == 1
        assert word in capsys.readouterr().err


@pytest.mark.parametrize("args", [
    ["--size", "8:"], ["--size", ":8"], ["--size", "8:4"], ["--size", "1:2:4"], ["--size", "8x"], ["--size", "-1"], ["--size", ""],
    ["--size", "8,,9"], ["--size", "1:1G,1:1G,1:1G"], ["--size", "9" * 30], ["--time", "0"], ["--time", "nan"], ["--iterations", "0"],
    ["--window", "1.5"], ["--transport", "rdma"], ["--test", "x"], ["--loop", "twisted"], ["--cpus", "1"], ["--json", "--csv"],
    ["--port", "65536"], ["--transport", "loop", "localhost"], ["--listen", "--transport", "shm,tcp"], ["--memory", "stone"],
    ["--gap", "soon"], ["--gather", "0"], ["a", "b"], ["--nope"],
])
def test_bad_arguments_are_refused(args, capsys):
    with pytest.raises(SystemExit) as ended:
        perf.parse(args)
    assert ended.value.code == 2 and "weft.perf: error: " in capsys.readouterr().err


@pytest.mark.parametrize("place, url", [
    ("", "weft://x:7471"), ("h", "weft://h:7471"), ("h:1", "weft://h:1"), (":1", "weft://x:1"), ("::1", "weft://[::1]:7471"),
    ("[::1]", "weft://[::1]:7471"), ("[::1]:2", "weft://[::1]:2"), ("weft://h:3", "weft://h:3"),
])
def test_places(place, url):
    assert perf.url_of(perf.parse([place]), "x") == url


def test_interrupt_keeps_what_was_measured():
    argv = [*ARGV, "--transport", "shm", "--size", "8", "--time", "3600", "--json"]
    status, out = interrupt_amid(argv, "[1/1] shm tag_lat 8: 0%")
    row = json.loads(out)
    assert status == 128 + signal.SIGINT and row.pop("interrupted") is True
    check_row(row)


def test_a_killed_peer_ends_it():
    argv = [*ARGV, "--transport", "shm", "--size", ",".join(["8"] * 50), "--time", "0.2", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tool:
        json.loads(tool.stdout.readline())
        (child,) = Path(f"/proc/{tool.pid}/task/{tool.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        _, errors = tool.communicate(timeout=LIMIT)
    assert tool.returncode == 1 and "SIGKILL" in errors


def test_listen_and_host():
    argv = [*ARGV, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().split()[-1]
        rows = lines(run_perf(url, "--test", "tag_lat,put_lat,stream_bw", "--size", "8", *CELL))
        assert [r["transport"] for r in rows] == ["shm"] * 3
        for row in rows:
            check_row(row)
        first = [*ARGV, url, "--size", ",".join(["8"] * 60), "--time", "0.5", "--json"]
        with subprocess.Popen(first, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as peer:
            json.loads(peer.stdout.readline())       # it is let in, and there is much to come
            second = run_perf(url, "--size", "8", *CELL)
            assert second.returncode == 1 and "one peer at a time" in second.stderr
            peer.kill()
            peer.communicate()
        (row,) = lines(run_perf(url, "--transport", "tcp", "--size", "8", *CELL))
        assert row["transport"] == "tcp"
        if TOOL.exists():
            env = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS")}
            other = subprocess.run([TOOL, "perf", url], capture_output=True, text=True, timeout=LIMIT, env=env)
            assert other.returncode == 1 and "the same program" in other.stderr
        busy = run_perf("--listen", url)
        assert busy.returncode == 1 and "WEFT_EADDRINUSE" in busy.stderr
        server.send_signal(signal.SIGINT)
        assert server.wait(LIMIT) == 0


def against(run1, serve, *args):
    """Exit status and errors of a run against a serving side in this process, which does what serve(ep) does."""

    async def main():
        async with await weft.listen(serve, "weft://127.0.0.1:0", transports="tcp") as listener:
            p = await asyncio.create_subprocess_exec(*ARGV, listener.url, "--size", "8", *CELL, *args, stdout=subprocess.PIPE,
                                                     stderr=subprocess.PIPE)
            _, errors = await asyncio.wait_for(p.communicate(), LIMIT)
            return p.returncode, errors.decode()
    return run1(main(), limit=LIMIT)


@pytest.mark.parametrize("hello, words", [
    (b"weft.perf 9 serves cpu 0", ["version 9", "version 1", "WEFT_EVERSION"]),
    (b"\xff" * 64, ["the same program"]),
    (b"weft.perf 1 measures cpu 0", ["said"]),
])
def test_a_peer_that_is_something_else(run1, hello, words):
    async def serve(ep):
        await ep.send(hello.ljust(64, b"\0"), _perf.HELLO)
        try:
            await ep.recv(bytearray(1), 99)          # until it has enough
        except weft.Error:
            pass

    status, errors = against(run1, serve)
    assert status == 1 and "Traceback" not in errors
    for word in words:
        assert word in errors


def test_a_peer_that_says_nothing(run1, monkeypatch):
    async def main():
        async with pair("tcp") as (a, _):
            with pytest.raises(_perf.PerfError, match="does not answer as weft.perf does .*--listen"):
                await _perf.Side(a, False, -1, False).hello()

    monkeypatch.setattr(_perf, "HELLO_S", 0.1)
    run1(main())


@pytest.mark.parametrize("test", TESTS)
def test_wrong_data_is_found(run1, monkeypatch, test):
    async def serve(ep):
        side = _perf.Side(ep, True, -1, False)
        await side.hello()
        try:
            await _perf.serve(side)
        except weft.Error:
            pass

    monkeypatch.setattr(_perf, "pattern_of", lambda size, serves: bytes(size))
    if test == "atomic_lat":
        monkeypatch.setattr(_perf.Slots, "wrong", lambda slots: 0)
    elif test in ("tag_lat", "am_lat", "put_lat", "get_lat", "get_bw"):
        monkeypatch.setattr(_perf.Slots, "wrong", lambda slots: None)       # then it is the other side that must see it
    status, errors = against(run1, serve, "--test", test)
    assert status == 1 and "wrong data from byte 0" in errors and "Traceback" not in errors
    assert ("here is" in errors) == (test in ("tag_lat", "am_lat", "put_lat", "get_lat", "get_bw"))


def test_hosts_that_do_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        result = run_perf(place, env={"WEFT_CONNECT_TIMEOUT": "300ms"})
        assert result.returncode == 1 and place in result.stderr and "WEFT_ETIMEDOUT" in result.stderr
    result = run_perf(place)
    assert result.returncode == 1 and "WEFT_EREFUSED" in result.stderr and "Traceback" not in result.stderr
