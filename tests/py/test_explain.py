# SPDX-License-Identifier: BSD-3-Clause
"""`weft info` and `weft explain`: what there is and why something is not; the plan of a connection, and that measured
messages went as it says."""
import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from conftest import LIMIT

TOOL = Path(os.environ.get("WEFT_TEST_BUILD", "build")) / "weft"
ENV = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS")}  # those are the interpreter's

pytestmark = pytest.mark.skipif(not TOOL.exists(), reason="the program weft was not built")

SERVER = """
    async def main():
        async def serve(ep):
            try:
                await ep.recv(bytearray(1))
            except weft.Error as e:
                print("closed", type(e).__name__, flush=True)
        async with await weft.listen(serve, "weft://127.0.0.1:0", transports=args[0]) as listener:
            print(listener.url, flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    asyncio.run(main())
"""


def weft(*args, env=None):
    return subprocess.run([TOOL, *args], capture_output=True, text=True, timeout=LIMIT, env={**ENV, **(env or {})})


def one(result):
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def named(rows):
    return {row["name"]: row for row in rows}


# ---- info -----------------------------------------------------------------------------------------------------------


def test_info_says_what_is_not_there_and_why():
    info = one(weft("info", "--json"))
    absent = named(info["absent"])
    assert {"cuda_ipc", "rocm_ipc"} <= set(absent)
    for row in absent.values():
        assert row["state"] == "not in this version" and row["why"] and row["remedy"] and row["what"]
    assert not set(absent) & set(named(info["transports"]))
    text = weft("info").stdout
    for name in absent:
        assert f"\n  {name} " in text
    assert "\nthresholds" in text


@pytest.mark.parametrize("env, remedy", [({"WEFT_AVOID": "tcp"}, "unset WEFT_AVOID"),
                                         ({"WEFT_TRANSPORTS": "loop,shm"}, "unset WEFT_TRANSPORTS")])
def test_info_names_the_setting_that_forbids(env, remedy):
    tcp = named(one(weft("info", "--json", env=env))["transports"])["tcp"]
    assert tcp["state"] != "ready" and "(env)" in tcp["why"] and tcp["remedy"] == remedy


def test_info_names_the_file_that_forbids(tmp_path):
    (tmp_path / "conf").write_text("avoid = tcp\n")
    info = one(weft("info", "--json", env={"WEFT_CONFIG": str(tmp_path / "conf")}))
    assert info["settings"]["avoid"] | {"what": ""} == {"value": "tcp", "origin": "file", "what": ""}
    assert "(file)" in named(info["transports"])["tcp"]["why"] and "file" in named(info["transports"])["tcp"]["remedy"]


@pytest.mark.parametrize("command", [["info"], ["explain", "weft://127.0.0.1:1", "--no-connect"]])
def test_a_fault_that_is_none_is_named(command):
    result = weft(*command, env={"WEFT_FAULT": "seed=7,bogus=1"})
    assert result.returncode == 1 and not result.stdout, result.stdout
    assert '"bogus=1"' in result.stderr and "delay_us=" in result.stderr, result.stderr


def test_info_lists_devices():
    devices = one(weft("info", "--json"))["devices"]
    loopback = [d for d in devices["network"] if d["loopback"]]
    assert loopback and set(devices) == {"network", "rdma", "gpus", "gpus_on_bus"}
    assert {d["name"] for d in devices["network"]} >= {name for _, name in socket.if_nameindex()}
    assert "127.0.0.1" in loopback[0]["addresses"] or not loopback[0]["up"]


def test_info_of_another_machines_rdma_devices(tmp_path):
    port = tmp_path / "sys/class/infiniband/fake0/ports/1"
    for folder in ("gids", "gid_attrs/types", "gid_attrs/ndevs"):
        (port / folder).mkdir(parents=True)
    for name, text in {"state": "4: ACTIVE", "link_layer": "Ethernet", "rate": "10 Gb/sec"}.items():
        (port / name).write_text(text + "\n")
    for i in range(12):
        (port / f"gids/{i}").write_text(f"0000:0000:0000:0000:0000:ffff:0a00:00{i:02x}\n" if i else ":".join(["0000"] * 8) + "\n")
        if i:                                   # an empty place has neither
            (port / f"gid_attrs/types/{i}").write_text("RoCE v2\n")
            (port / f"gid_attrs/ndevs/{i}").write_text("eth0\n" if i != 2 else "eth0.7\n")
    env = {"LD_LIBRARY_PATH": str(TOOL.resolve().parent / "fake"), "WEFT_TEST_IBV": str(tmp_path), "WEFT_TEST_IBV_MTUS": "1024",
           "WEFT_TEST_IBV_SRQS": "no"}
    (dev,) = one(weft("info", "--root", str(tmp_path), "--json", env=env))["devices"]["rdma"]
    (shown,) = dev["ports"]
    assert len(shown["gids"]) == 8 and shown["gids_left_out"] == 3 and shown["network"] == "eth0" and shown["lid"] == 0
    assert shown["gids"][1] == {"index": 2, "gid": "::ffff:10.0.0.2", "type": "RoCE v2", "network": "eth0.7"}
    text = weft("info", "--root", str(tmp_path), env=env).stdout
    assert "GID 1 ::ffff:10.0.0.1 (RoCE v2)\n" in text and "GID 2 ::ffff:10.0.0.2 (RoCE v2, eth0.7)\n" in text and "and 3 more\n" in text
    assert one(weft("info", "--root", str(tmp_path), "--json", env={"WEFT_AVOID": ""}))["devices"]["rdma"][0]["shared_receive_queues"] is None
    if not os.path.exists(env["LD_LIBRARY_PATH"]) or "LD_PRELOAD" in os.environ:
        pytest.skip("no devices in software here: they are not asked")
    assert shown["mtu"] == 1024 and dev["shared_receive_queues"] is False
    assert "fake0      no shared receive queues, so each peer takes receive buffers of its own\n" in text
    assert "port 1: ACTIVE, Ethernet, 10 Gb/sec, RDMA MTU 1024, over eth0 with MTU 0" in text


# ---- explain --------------------------------------------------------------------------------------------------------


def test_nobody_listens():
    with socket.socket() as s:                            # a port that is ours, and at which nobody listens
        s.bind(("127.0.0.1", 0))
        url = f"weft://127.0.0.1:{s.getsockname()[1]}"
        plan = one(weft("explain", url, "--json"))
        text = weft("explain", url)
    assert not plan["connected"] and "refused" in plan["why"] and "endpoint" not in plan
    assert text.returncode == 0 and "not connected" in text.stdout and "eager_max_tcp" in text.stdout
    transports = named(plan["transports"])
    assert "plan" not in transports["loop"]
    for name in "shm", "tcp":
        rows = transports[name]["plan"]
        assert rows[0]["protocol"] == "eager" and rows[0]["from"] == 0 and f"eager_max_{name}" in rows[0]["because"]
        assert all(r["protocol"] == "rendezvous" and r["from"] == rows[0]["to"] + 1 and r["to"] is None for r in rows[1:])
        assert sorted(m for r in rows[1:] for m in r["memory"]) == ["plain", "registered", "weft_mem_alloc"]


def test_the_threshold_is_the_settings():
    plan = one(weft("explain", "weft://127.0.0.1:1", "--no-connect", "--json", env={"WEFT_EAGER_MAX_TCP": "1000"}))
    row = named(plan["transports"])["tcp"]["plan"][0]
    assert row["to"] == 1000 and "1000 (env)" in row["because"]
    assert not plan["connected"] and plan["why"] == ""


def test_who_says_nothing_is_left_in_time():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        start = time.monotonic()
        plan = one(weft("explain", f"weft://127.0.0.1:{s.getsockname()[1]}", "--json", "--timeout", "0.3"))
    assert not plan["connected"] and plan["why"] and time.monotonic() - start < LIMIT / 2


def test_names_and_bad_urls():
    plan = one(weft("explain", "weft://localhost:7000", "--json", "--no-connect"))
    assert any(a.endswith(":7000") for a in plan["addresses"])
    bad = weft("explain", "weft://no.such.name.invalid:7000")
    assert bad.returncode == 1 and "no.such.name.invalid" in bad.stderr


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_connection_is_explained(peer, run1, transport):
    server = peer(SERVER, transport)
    url = run1(server.line())
    plan = one(weft("explain", url, "--json"))
    ep = plan["endpoint"]
    assert plan["connected"] and plan["connect_ms"] > 0 and ep["transport"] == transport and ep["lane"]
    rejected = named(ep["rejected"])
    assert set(rejected) == {"loop", "shm", "verbs", "ofi", "ucx", "tcp"} - {transport} and all(r["why"] for r in rejected.values())
    short = [r for r in ep["plan"] if r["protocol"] != "rendezvous"]
    assert [r["protocol"] for r in short] == (["inline", "eager"] if transport == "shm" else ["eager"])
    assert [r["to"] for r in short] == [n for n in (ep["inline_max"], ep["eager_max"]) if n]
    assert [r["from"] for r in ep["plan"]][:len(short) + 1] == [0] + [r["to"] + 1 for r in short]
    assert run1(server.line()).startswith("closed")       # it hung up
    text = weft("explain", url)
    assert text.returncode == 0 and "connected in" in text.stdout and f", {transport}: " in text.stdout
    assert "not used: loop: " in text.stdout


def measured(plan):
    assert plan["measured"]["rows"]
    return plan["measured"]["rows"]


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_measured_messages_went_by_the_plan(transport):
    plan = one(weft("explain", "weft://127.0.0.1:1", "--no-connect", "--measure", "--time", "0.02", "--json",
                    env={"WEFT_TRANSPORTS": transport}))
    assert plan["measured"]["transport"] == transport
    limit = named(plan["transports"])[transport]["plan"][0]["to"]
    rows = measured(plan)
    assert {96, 97} <= {r["size"] for r in rows} or transport != "shm"    # what a slot holds
    assert {r["memory"] for r in rows} == {"plain", "registered", "weft_mem_alloc"}
    assert {limit, limit + 1, 1 << 20} <= {r["size"] for r in rows}
    for r in rows:
        copied = r["copied_here"] + r["copied_peer"]
        assert r["protocol"] == ("eager" if r["size"] <= limit else "rendezvous"), r
        assert r["rounds"] > 0 and 0 < r["min_us"] <= r["p50_us"], r
        assert copied in (0, 2 * r["rounds"] * r["size"]), r
        if transport == "tcp" or r["size"] <= limit:
            assert copied == 0, r
        if transport == "shm" and r["size"] > limit and r["memory"] == "weft_mem_alloc":
            assert copied and r["syscalls_per_message"] < 0.5, r    # mapped


def test_measured_without_rights():
    plan = one(weft("explain", "weft://127.0.0.1:1", "--no-connect", "--measure", "--time", "0.02", "--size", "100K", "--json",
                    env={"WEFT_TRANSPORTS": "shm", "WEFT_CMA": "no"}))
    assert "ring only" in plan["measured"]["lane"]
    copied = {r["memory"]: r["copied_here"] + r["copied_peer"] for r in measured(plan)}
    assert copied["plain"] == copied["registered"] == 0 and copied["weft_mem_alloc"] > 0


def test_measured_as_text():
    text = weft("explain", "weft://127.0.0.1:1", "--no-connect", "--measure", "--time", "0.01", "--size", "0,8,1M")
    assert text.returncode == 0, text.stderr
    rows = [s.split() for s in text.stdout.splitlines() if s.split()[:1] in (["plain"], ["registered"], ["weft_mem_alloc"])]
    assert [(r[0], r[1]) for r in rows] == [(m, n) for m in ("plain", "registered", "weft_mem_alloc") for n in ("0", "8", "1048576")]


@pytest.mark.parametrize("args", [
    ["weft://127.0.0.1:1", "weft://127.0.0.1:2"], ["--nope"], ["weft://127.0.0.1:1", "--timeout"],
    ["weft://127.0.0.1:1", "--timeout", "0"], ["weft://127.0.0.1:1", "--time", "x"], ["weft://127.0.0.1:1", "--size", "8,,9"],
    ["weft://127.0.0.1:1", "--size", "99999999999999999999"], ["weft://127.0.0.1:1", "--size", "-1"],
])
def test_bad_arguments(args):
    result = weft("explain", *args)
    assert result.returncode == 2 and "weft explain" in result.stderr and not result.stdout


@pytest.mark.parametrize("command", ["info", "doctor", "explain", "perf", "calibrate"])
def test_each_command_has_help(command):
    own, whole = weft(command, "--help"), weft("--help")
    assert own.returncode == 0 and f"weft {command}" in own.stdout.splitlines()[0] and own.stdout in whole.stdout
    assert f"\n  weft {command} " in whole.stdout
