# SPDX-License-Identifier: BSD-3-Clause
"""The program `weft`: what it prints, what it refuses, and that it ends whatever happens to the other side."""
import asyncio
import csv
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import weft as binding
from conftest import interrupt_amid

TOOL = Path(os.environ.get("WEFT_TEST_BUILD", "build")) / "weft"
ENV = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS")}  # those are the interpreter's
CELL = ["--time", "0.02", "--json"]
LIMIT = 60
TAGGED = ["tag_lat", "tag_bw", "tag_rate"]
TESTS = [*TAGGED, "am_lat", "stream_bw", "put_lat", "put_bw", "get_lat", "get_bw", "atomic_lat"]

pytestmark = pytest.mark.skipif(not TOOL.exists(), reason="the program weft was not built")


def weft(*args, env=None, **kw):
    return subprocess.run([TOOL, *args], capture_output=True, text=True, timeout=LIMIT, env={**ENV, **(env or {})}, **kw)


def lines(result):
    assert result.returncode == 0, result.stderr
    return [json.loads(s) for s in result.stdout.splitlines()]


def test_info_names_transports_and_settings():
    (info,) = lines(weft("info", "--json", env={"WEFT_CMA": "no"}))
    assert {"loop", "shm", "tcp"} <= {t["name"] for t in info["transports"]}
    assert info["settings"]["cma"]["value"] == "no" and info["settings"]["cma"]["origin"] == "env"
    assert "tcp" in weft("info").stdout


def test_calibrate_writes_what_info_shows(tmp_path):
    result = weft("calibrate", "--time", "0.5", env={"XDG_CONFIG_HOME": str(tmp_path / "made/here")})
    if "WEFT_ENOTSUP" in result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode == 0, result.stderr
    path = tmp_path / "made/here/weft/calibration"
    assert result.stdout.startswith(path.read_text()) and f"WEFT_CALIBRATION={path}" in result.stdout
    rows = [s.split()[1:] for s in path.read_text().splitlines() if s.endswith((" eager", " rendezvous"))]
    assert [int(r[0]) for r in rows] == [1024 << i for i in range(len(rows))] and len(rows) > 3
    assert all(int(r[1]) > 0 and int(r[2]) > 0 for r in rows)
    (info,) = lines(weft("info", "--json", env={"WEFT_CALIBRATION": str(path)}))
    shm = info["thresholds"]["eager_max_shm"]
    assert shm["origin"] == "calibrated" and shm["measured"] in path.read_text()
    assert info["settings"]["eager_max_shm"]["origin"] == "calibrated"
    assert shm["measured"] in weft("info", env={"WEFT_CALIBRATION": str(path)}).stdout
    (info,) = lines(weft("info", "--json", env={"WEFT_CALIBRATION": str(path), "WEFT_EAGER_MAX_SHM": "2K"}))
    assert info["thresholds"]["eager_max_shm"] == {"value": "2K", "origin": "env", "measured": None}


def test_calibrate_needs_no_calibration_and_says_what_is_wrong(tmp_path):
    missing = {"WEFT_CALIBRATION": str(tmp_path / "missing")}
    refused = weft("info", env=missing)
    assert refused.returncode == 1 and str(tmp_path / "missing") in refused.stderr and "weft calibrate" in refused.stderr
    result = weft("calibrate", "--time", "0.5", missing["WEFT_CALIBRATION"], env=missing)
    if "WEFT_ENOTSUP" not in result.stderr:
        assert result.returncode == 0, result.stderr
        result = weft("calibrate", "--time", "0.2", str(tmp_path / "no/folder"))
        assert result.returncode == 1 and "no/folder" in result.stderr and not result.stdout
    for args in (["--time", "0"], ["--time"], ["--time", "soon"], ["a", "b"], ["--fast"], [""]):
        result = weft("calibrate", *args)
        assert result.returncode == 2 and "--help" in result.stderr, args
    result = weft("calibrate", env={"XDG_CONFIG_HOME": "", "HOME": ""})
    assert result.returncode == 2 and "give a FILE" in result.stderr


def test_explain_resolves_names():
    (plan,) = lines(weft("explain", "weft://localhost:7000", "--json"))
    assert any(a.endswith(":7000") for a in plan["addresses"]) and "tcp" in plan["order"]
    assert weft("explain", "http://localhost").returncode == 1


def test_help_names_every_test_and_option():
    result = weft("perf", "--help")
    assert result.returncode == 0 and all(f"\n  {t} " in result.stdout for t in TESTS)
    assert "weft COMMAND --help" in weft("--help").stdout


def check_row(row):
    """What every line must have, whatever was measured."""
    if row["test"].endswith("_lat"):
        lat = row["lat_us"]
        assert 0 < lat["min"] <= lat["p50"] <= lat["p99"] <= lat["p99.9"] and "bw_GBps" not in row
    else:
        assert row["rate_Mps"] > 0 and (row["bw_GBps"] > 0) == (row["size"] > 0) and "lat_us" not in row
        assert row["bw_GBps_range"][0] <= row["bw_GBps"] <= row["bw_GBps_range"][1] and row["window"] > 0
    assert row["iterations"] > 0 and row["rounds"] > 0 and row["lane"] and row["memory"] == "malloc"
    assert row["noise"] is None or 0 <= row["noise"]
    assert len(row["preempted"]) == 2 and "interrupted" not in row


@pytest.mark.parametrize("transport", ["shm", "shm-ring", "tcp", "loop"])
def test_each_transport_and_test(transport):
    rows = lines(weft("perf", "--transport", transport, "--test", "all", "--size", "8,100K", *CELL))
    assert [(r["test"], r["size"]) for r in rows] == [(t, n) for t in TESTS[:-1] for n in (8, 102400)] + [("atomic_lat", 8)]
    for row in rows:
        assert row["transport"] == transport and row["path"] == transport.partition("-")[0]
        check_row(row)


def test_no_bytes_are_a_size_where_they_can_arrive():
    result = weft("perf", "--transport", "shm", "--test", "tag_lat,put_lat,tag_bw", "--size", "0", *CELL)
    assert [r["test"] for r in lines(result)] == ["tag_lat", "tag_bw"] and "put_lat" in result.stderr
    for row in lines(result):
        check_row(row)


def test_ranges_of_sizes():
    rows = lines(weft("perf", "--transport", "shm", "--size", "3,0:4,1K:4K,60:100", *CELL))
    assert [r["size"] for r in rows] == [3, 0, 1, 2, 4, 1024, 2048, 4096, 60]


def test_says_who_copied():
    rows = lines(weft("perf", "--transport", "shm,shm-ring", "--size", "1M", *CELL))
    if "both" not in rows[0]["lane"]:
        pytest.skip("processes may not reach each other's memory here: " + rows[0]["lane"])
    assert [r["both_copied"] for r in rows] == [True, False]
    (row,) = lines(weft("perf", "--transport", "shm", "--size", "1M", *CELL, env={"WEFT_CMA": "no"}))
    assert not row["both_copied"] and row["lane"] == rows[1]["lane"]     # settings hold here as everywhere


def test_iterations_are_obeyed():
    rows = lines(weft("perf", "--transport", "shm", "--test", "all", "--size", "8", "--iterations", "37", "--json"))
    assert len(rows) == len(TESTS) and all(r["iterations"] == 37 for r in rows)


def test_memory_of_weft():
    rows = lines(weft("perf", "--transport", "shm", "--test", "all", "--size", "64K", "--memory", "weft", *CELL))
    assert len(rows) == len(TESTS) and all(r["memory"] == "weft" for r in rows)
    rows = lines(weft("perf", "--test", "tag_bw,put_bw,get_bw", "--size", "64K", "--one-buffer", "--window", "3", *CELL))
    assert len(rows) == 6 and all(r["window"] == 3 for r in rows)


@pytest.mark.parametrize("how", ["one cpu", "--sleep", "--no-pin"])
def test_other_ways_of_waiting(how):
    one = sorted(os.sched_getaffinity(0))[:1] if how == "one cpu" else None
    args = ["--transport", "shm,tcp", "--test", "tag_lat,am_lat,put_lat,put_bw,atomic_lat", "--size", "64", *CELL]
    result = weft("perf", *args, *([] if one else [how]), preexec_fn=one and (lambda: os.sched_setaffinity(0, one)))
    rows = lines(result)
    assert len(rows) == 10 and result.stderr.count("share one CPU") == bool(one)
    for row in rows:
        check_row(row)
        if how != "--sleep":
            assert row["cpus"] is None
        if one:
            assert row["noise"] is None      # each side keeps the other from running, as it must be


def test_a_busy_cpu_is_told():
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        pytest.skip("one CPU only")
    with subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE,
                          preexec_fn=lambda: os.sched_setaffinity(0, cpus[:1])) as busy:
        busy.stdout.readline()
        (row,) = lines(weft("perf", "--transport", "shm", "--size", "8", "--time", "0.4", "--json"))
        table = weft("perf", "--transport", "shm", "--size", "8", "--time", "0.4").stdout
        busy.kill()
    if row["noise"] is None:
        pytest.skip("this kernel does not count how long a thread waits for a CPU")
    assert row["cpus"][0] == cpus[0] and row["noise"] >= 0.02 and row["preempted"][0] > 0
    assert "%!" in table.splitlines()[1] and "do not rely on" in table.splitlines()[-1]


def test_csv():
    result = weft("perf", "--transport", "shm", "--test", "tag_lat,tag_bw", "--size", "8,64", "--time", "0.02", "--csv")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [(r["test"], r["size"]) for r in rows] == [(t, n) for t in ("tag_lat", "tag_bw") for n in ("8", "64")]
    for row in rows:
        lat = row["test"] == "tag_lat"
        assert bool(row["lat_p99.9_us"]) == lat and bool(row["bw_GBps"]) != lat
        assert row["path"] == "shm" and row["interrupted"] == "0"


def test_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    out = tmp_path / "out.png"
    env = {"PYTHON": sys.executable}
    result = weft("perf", "--transport", "shm", "--test", "tag_lat,tag_bw", "--size", "8:64", "--plot", out, *CELL, env=env)
    assert len(lines(result)) == 8 and out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and out.stat().st_size > 20000
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')")
    result = weft("perf", "--size", "8", "--plot", out, env={**env, "PYTHONPATH": str(tmp_path)})
    assert result.returncode == 1 and "pip install matplotlib" in result.stderr and not result.stdout    # before it measures
    result = weft("perf", "--size", "8", "--plot", out, env={"PYTHON": "no-such-python"})
    assert result.returncode == 1 and "no-such-python" in result.stderr


# ---- interrupted ----------------------------------------------------------------------------------------------------


@pytest.fixture
def interrupted():
    """interrupted(*args): the exit status and what was printed, by a run of an hour that got ^C amid its only line."""

    def run(*args):
        argv = [TOOL, "perf", "--transport", "shm", "--size", "8", "--time", "3600", *args]
        return interrupt_amid(argv, "tag_lat 8: 0 %", {**ENV, "PYTHON": sys.executable})

    return run


def test_interrupt_keeps_what_was_measured(interrupted, tmp_path):
    status, out = interrupted("--json")
    row = json.loads(out)
    assert status == 128 + signal.SIGINT and row.pop("interrupted") is True
    check_row(row)
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    status, out = interrupted("--csv", "--plot", tmp_path / "out.png")
    (row,) = csv.DictReader(out.splitlines())
    assert row["interrupted"] == "1" and float(row["lat_p50_us"]) > 0 and (tmp_path / "out.png").stat().st_size > 10000


def test_interrupt_between_lines():
    argv = [TOOL, "perf", "--transport", "tcp", "--size", "8:1M", "--time", "0.1", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV) as tool:
        first = json.loads(tool.stdout.readline())
        tool.send_signal(signal.SIGTERM)
        rest, errors = tool.communicate(timeout=LIMIT)
    assert first["size"] == 8 and len([json.loads(s) for s in rest.splitlines()]) < 17
    assert tool.returncode == 128 + signal.SIGTERM and "interrupted" in errors


# ---- two programs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def listener():
    """listener(*args): the process of `weft perf --listen` and the place to connect to."""
    all_ = []

    def start(*args):
        argv = [TOOL, "perf", "--listen", "127.0.0.1:0", *args]
        p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)
        all_.append(p)
        word, _, url = p.stdout.readline().strip().rpartition(" ")
        assert word == "listening on", p.stderr.read()
        return p, url.removeprefix("weft://")

    yield start
    for p in all_:
        p.kill()
        p.wait()
        p.stdout.close()
        p.stderr.close()


def test_listen_and_host(listener):
    server, place = listener()
    rows = lines(weft("perf", place, "--test", "all", "--size", "8,64K", *CELL))
    assert len(rows) == 2 * len(TESTS) - 1 and {r["transport"] for r in rows} == {"shm"}      # what weft itself takes
    for row in rows:
        check_row(row)
    rows = lines(weft("perf", "weft://" + place, "--transport", "tcp,shm-ring", "--size", "8", *CELL))
    assert [(r["transport"], r["path"]) for r in rows] == [("tcp", "tcp"), ("shm-ring", "shm")]
    host, _, port = place.rpartition(":")
    assert len(lines(weft("perf", "localhost", "--port", port, "--size", "8", *CELL))) == 1
    busy = weft("perf", "--listen", host, "--port", port)
    assert busy.returncode == 1 and "WEFT_EADDRINUSE" in busy.stderr and "another port" in busy.stderr
    server.send_signal(signal.SIGINT)
    assert server.wait(LIMIT) == 0 and server.stderr.read() == ""


def test_a_second_peer_is_turned_away(listener):
    server, place = listener("--once")
    argv = [TOOL, "perf", place, "--size", ",".join(["8"] * 60), "--time", "0.5", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV) as first:
        json.loads(first.stdout.readline())          # it is let in, and there is much to come
        second = weft("perf", place, "--size", "8", *CELL)
        assert second.returncode == 1 and "one peer at a time" in second.stderr
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=LIMIT)
        assert first.returncode == 128 + signal.SIGINT
    assert server.wait(LIMIT) == 0                   # with --once it ends with its peer


def test_a_listener_outlives_its_peers(listener):
    server, place = listener()
    for _ in range(2):
        argv = [TOOL, "perf", place, "--test", "put_bw", "--time", "3600"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENV) as peer:
            peer.stdout.readline()
            peer.kill()
    end = time.monotonic() + LIMIT
    while (result := weft("perf", place, "--size", "8", *CELL)).returncode:
        assert "one peer at a time" in result.stderr and time.monotonic() < end
    assert len(lines(result)) == 1 and server.poll() is None


def test_interrupt_of_the_serving_side(listener):
    server, place = listener()
    argv = [TOOL, "perf", place, "--size", ",".join(["8"] * 60), "--time", "0.5", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV) as peer:
        json.loads(peer.stdout.readline())
        server.send_signal(signal.SIGINT)
        _, errors = peer.communicate(timeout=LIMIT)
    assert server.wait(LIMIT) == 0 and peer.returncode == 1
    assert any(words in errors for words in ("the serving side: interrupted", "the peer is gone", "closed by the peer"))


# ---- peers that are something else ----------------------------------------------------------------------------------


class Fake:
    """A serving side in this process, to which every step may be given another word."""

    CMD = struct.Struct("<IIIIQQII64s")
    ANSWER = struct.Struct("<Q4QII64s700s4x")
    HELLO, TAG_CMD, TAG_ANSWER, DATA = 1, 2, 3, 4
    QUIT, SETUP, RUN, VERIFY, NOISE = range(5)

    def __init__(self, hello=b"weft-perf 1 serves cpu -1", verified=2**64 - 1, data=None, why=b""):
        self.hello, self.verified, self.data, self.why = hello, verified, data, why

    async def serve(self, ep):
        try:
            if self.hello:
                await ep.send(self.hello.ljust(64, b"\0"), self.HELLO)
            while await self.obey(ep):
                pass
        except binding.Error:
            pass                                     # the tool has had enough

    async def obey(self, ep):
        room = bytearray(self.CMD.size)
        await ep.recv(room, self.TAG_CMD)
        what, _, _, _, size, count, *_ = self.CMD.unpack(room)
        if what == self.RUN:
            for _ in range(count):
                await ep.recv(bytearray(size), self.DATA)
                await ep.send(self.data or bytes(size), self.DATA)
        elif what != self.QUIT:
            value = self.verified if what == self.VERIFY else 0
            await ep.send(self.ANSWER.pack(value, 0, 0, 0, 0, 0, bool(self.why), b"", self.why), self.TAG_ANSWER)
        return what != self.QUIT


@pytest.mark.parametrize("fake, words", [
    (Fake(hello=b"weft-perf 9 serves cpu 0"), ["version 9", "version 1", "WEFT_EVERSION"]),
    (Fake(hello=b"weft.perf 1 serves cpu 0"), ["weft.perf", "the same program"]),
    (Fake(hello=b"\xff" * 64), ["the same program"]),
    (Fake(hello=b"weft-perf 1 measures cpu 0"), ["measures"]),
    (Fake(verified=5), ["the peer has wrong data from byte 5"]),
    (Fake(data=b"12345678"), ["wrong data came from byte 0"]),
    (Fake(data=b"1234567"), ["wrong data came from byte 0"]),
    (Fake(data=b"123456789"), ["WEFT_ETRUNCATED"]),
    (Fake(why=b"it \x1b[2Jrains"), ["the serving side: it ?[2Jrains"]),
    (Fake(hello=None), ["does not answer as weft perf does", "--listen"]),
])
def test_a_peer_that_is_something_else(run1, fake, words):
    async def main():
        async with await binding.listen(fake.serve, "weft://127.0.0.1:0", transports="tcp") as listener:
            argv = [TOOL, "perf", listener.url, "--size", "8", *CELL]
            p = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
            out, err = await asyncio.wait_for(p.communicate(), LIMIT)
            return p.returncode, out.decode(), err.decode(errors="replace")

    status, out, err = run1(main(), limit=LIMIT)
    assert status == 1 and not out
    for word in words:
        assert word in err


def command(what, test=0, window=2, size=8, count=0, token_len=0):
    return Fake.CMD.pack(what, test, window, 0, size, count, token_len, 0, b"")


@pytest.mark.parametrize("bad, words", [
    (command(77), b"unknown command"),
    (command(Fake.RUN, count=5), b"nothing to run"),
    (command(Fake.VERIFY), b"nothing to verify"),
    (command(Fake.SETUP, test=99), b"a test that is none"),
    (command(Fake.SETUP, size=1 << 63), b"a test that is none"),
    (command(Fake.SETUP, size=1 << 60), b"more than a third"),
    (command(Fake.SETUP, test=TESTS.index("put_lat"), size=0), b"a test that is none"),
    (command(Fake.SETUP, window=1), b"a window of 1"),
    (command(Fake.SETUP, test=1, window=2**32 - 1), b"a window of"),
    (command(Fake.SETUP, token_len=65), b"a test that is none"),
    (command(Fake.SETUP, test=TESTS.index("get_lat"), window=1), b"the peer's memory"),
    (command(Fake.SETUP)[:-1], b"instead of"),
])
def test_a_stranger_says_nonsense(run1, listener, bad, words):
    """The serving side says what it does not like, and goes on with the next peer."""
    server, place = listener("--transport", "tcp")

    async def main():
        async with await binding.connect("weft://" + place) as ep:
            await ep.send(b"weft-perf 1 measures cpu -1".ljust(64, b"\0"), Fake.HELLO)
            await ep.recv(bytearray(64), Fake.HELLO)
            await ep.send(bad, Fake.TAG_CMD)
            answer = bytearray(Fake.ANSWER.size)
            await ep.recv(answer, Fake.TAG_ANSWER)
        return Fake.ANSWER.unpack(answer)

    *_, failed, _, why = run1(main())
    assert failed == 1 and words in why
    assert len(lines(weft("perf", place, "--size", "8", *CELL))) == 1 and server.poll() is None


def test_hosts_that_do_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:       # the kernel accepts, nobody speaks
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        result = weft("perf", place, "--size", "8", env={"WEFT_CONNECT_TIMEOUT": "300ms"})
        assert result.returncode == 1 and place in result.stderr and "WEFT_ETIMEDOUT" in result.stderr
    result = weft("perf", place)
    assert result.returncode == 1 and place in result.stderr and "WEFT_EREFUSED" in result.stderr
    result = weft("perf", "no-such-host.invalid")
    assert result.returncode == 1 and "no-such-host.invalid" in result.stderr


def test_a_peer_of_another_version_of_weft():
    text = b"this side speaks versions 7 to 9 of the protocol"
    reject = struct.pack("<IIBBHIQ", len(text), 0, 3, 0, 25, 0, 0) + text
    with socket.create_server(("127.0.0.1", 0)) as server:
        argv = [TOOL, "perf", f"127.0.0.1:{server.getsockname()[1]}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV) as tool:
            server.settimeout(LIMIT)
            with server.accept()[0] as peer:
                peer.settimeout(LIMIT)
                assert peer.recv(4096)
                peer.sendall(reject)
                _, errors = tool.communicate(timeout=LIMIT)
    assert tool.returncode == 1
    for word in ("WEFT_EVERSION", "versions 7 to 9", f"this is weft {binding.__version__}"):
        assert word in errors


@pytest.mark.parametrize("args", [
    [], ["frobnicate"], ["info", "extra"], ["info", "--root"], ["explain"], ["perf", "--nope"], ["perf", "a", "b"], ["perf", "--transport", "rdma"],
    ["perf", "--test", "x"], ["perf", "--size", "8x"], ["perf", "--size", "-1"], ["perf", "--size", "8,,9"],
    ["perf", "--size", "99999999999999999999"], ["perf", "--time", "0"], ["perf", "--time", "nan"],
    ["perf", "--iterations", "0"], ["perf", "--window", "1.5"], ["perf", "--size", "8:"], ["perf", "--size", ":8"],
    ["perf", "--size", "8:4"], ["perf", "--size", "1:2:4"], ["perf", "--size", "8-16"], ["perf", "--size", ""],
    ["perf", "--size", "1:1G,1:1G,1:1G"], ["perf", "--json", "--csv"], ["perf", "--memory", "stone"], ["perf", "--cpus", "1"],
    ["perf", "--port", "65536"], ["perf", "--transport", "loop", "localhost"], ["perf", "--listen", "--transport", "shm,tcp"],
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


def test_a_device_is_added_to_what_the_setting_says_beside_devices(tmp_path):
    env = {"LD_LIBRARY_PATH": str(TOOL.resolve().parent / "fake"), "WEFT_TEST_IBV": str(tmp_path), "WEFT_TEST_IBV_DEVICES": "2"}
    args = ["perf", "-d", "fake1", "-i", "1", "--size", "8", *CELL]
    (row,) = lines(weft(*args, env={**env, "WEFT_TEST_IBV_PKEYS": "0xffff,0x8005", "WEFT_RDMA": "fake0,pkey=0x8005,sl=1"}))
    assert row["transport"] == "verbs"
    result = weft(*args, env={**env, "WEFT_TEST_IBV_PKEYS": "0xffff", "WEFT_RDMA": "fake0,pkey=0x8005"})
    assert result.returncode == 1 and "fake1:1: its port is not of the partition 0x8005" in result.stderr


def test_options_that_users_of_perftest_know(tmp_path):
    """-m is the largest packet, with -d and without, in place of what WEFT_RDMA says of it; -q says what to do instead."""
    env = {"LD_LIBRARY_PATH": str(TOOL.resolve().parent / "fake"), "WEFT_TEST_IBV": str(tmp_path)}
    for args, says in (["-m", "1024", "-d", "fake0"], "mtu=256"), (["-m", "512"], "fake0,mtu=4096,sl=1"):
        (row,) = lines(weft("perf", *args, "--size", "8", *CELL, env={**env, "WEFT_RDMA": says}))
        assert row["transport"] == "verbs" and f"MTU {args[1]}" in row["lane"], row
    result = weft("perf", "-m", "1500", "--size", "8", *CELL, env=env)
    assert result.returncode == 1 and "mtu=1500" in result.stderr and "256, 512, 1024, 2048 or 4096" in result.stderr
    result = weft("perf", "-m", "1024", "--size", "8", *CELL, env={**env, "WEFT_RDMA": "cm"})
    assert result.returncode == 1 and "mtu beside cm" in result.stderr
    result = weft("perf", "-q", "4", *CELL, env=env)
    assert result.returncode == 2 and "-t N" in result.stderr and "beside each other" in result.stderr


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_killed_peer_ends_it(transport):
    argv = [TOOL, "perf", "--transport", transport, "--size", ",".join(["8"] * 50), "--time", "0.2", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV) as tool:
        json.loads(tool.stdout.readline())           # it measures; there are many to come
        (child,) = Path(f"/proc/{tool.pid}/task/{tool.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        _, errors = tool.communicate(timeout=20)
    assert tool.returncode == 1 and "signal 9" in errors and "WEFT_ERESET" in errors
