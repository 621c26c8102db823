# SPDX-License-Identifier: BSD-3-Clause
"""What one kernel cannot show, in guests with kernels of their own (tests/vm/rdma-vm): tcp between two hosts, over a wire that
loses, delays and reorders, and one that is cut; and what the tools say of a machine with an RDMA device.

Software emulation: everything is ten times slower, so nothing here is measured."""
import json
import re
import shlex

import pytest

from guest import BUILD, rows, vm

# Host 1 serves, host 0 comes when it listens.
SERVE = "touch $RDMA_VM_JOB/ready; wait $served"
AWAIT = "until [ -e $RDMA_VM_JOB/ready ]; do sleep 0.1; done"


def two_hosts(host0, host1, *options):
    """What host 0 printed, its status, and everything."""
    script = f"if [ $RDMA_VM_HOST = 1 ]; then\n{host1}\nelse\n{AWAIT}\n{host0}\nfi"
    status, out, err = vm(script, "--two-hosts", *options)
    mine = "\n".join(s[3:] for s in out.splitlines() if s.startswith("0: "))
    return status, mine, out + err


def test_tools_know_the_devices():
    """A soft-RoCE device: what the kernel says of it is shown, and whether weft can use it."""
    status, out, err = vm("$weft info --json; $weft doctor --json")
    assert status == 0, out + err
    info, doctor = (json.loads(s) for s in re.split(r"(?<=\})\n(?=\{)", out.strip()))
    (dev,) = info["devices"]["rdma"]
    (port,) = dev["ports"]
    assert dev["name"] == "rxe0" and dev["firmware"] == "" and port["state"] == "ACTIVE" and port["link_layer"] == "Ethernet"
    assert port["network"] == "eth0" and port["network_mtu"] == 9000
    gids = {g["gid"]: g for g in port["gids"]}
    assert gids["::ffff:192.168.100.1"]["type"] == gids["fd00:100::1"]["type"] == "RoCE v2" and len({g["index"] for g in port["gids"]}) == len(gids)
    assert port["mtu"] == 4096 and port["lid"] == 0 and dev["shared_receive_queues"] is True and port["gids_left_out"] == 0
    assert {g["network"] for g in port["gids"]} == {"eth0"}
    found = {c["check"]: c for c in doctor["checks"]}
    assert ", RDMA MTU 4096, over eth0 with MTU 9000, GIDs " in found["rdma"]["found"]
    assert re.search(r" \d+ ::ffff:192\.168\.100\.1 \(RoCE v2\)[,;] ", found["rdma"]["found"]), found["rdma"]["found"]
    assert "rxe0" in found["rdma"]["found"] and found["rdma"]["state"] == "ok"
    assert "libibverbs.so.1 can be loaded" in found["rdma"]["found"]


def test_two_hosts_talk_over_tcp_and_say_why():
    status, out, all_ = two_hosts("export WEFT_AVOID=verbs; $weft explain --timeout 30 weft://$RDMA_VM_PEER:7470",
                                  f"$weft perf --listen 0.0.0.0:7470 --once & served=$!; sleep 0.5; {SERVE}; true")
    assert status == 0, all_
    assert re.search(r"messages: path \d+, tcp: ", out), all_
    assert re.search(r"^  not used: shm: not on the same host", out, re.M), all_


@pytest.mark.parametrize("netem", ["", "loss 1%", "loss 5%", "delay 3ms 1ms reorder 25% 50%", "duplicate 5%"])
def test_a_bad_wire_changes_no_byte(netem):
    """weft perf compares every size byte by byte before it times it, and counts what came."""
    tests = "tag_lat,tag_bw,stream_bw,put_bw,get_bw,am_lat"
    status, out, all_ = two_hosts(
        f"export WEFT_AVOID=verbs; $weft perf $RDMA_VM_PEER --test {tests} --size 8,3000,300K --iterations 12 --time 2 --json",
        f"$weft perf --listen 0.0.0.0:7470 --once & served=$!; sleep 0.5; {SERVE}",
        *(["--netem", netem] if netem else []))
    assert status == 0, all_
    found = rows(out)
    assert len(found) == 6 * 3 and all(r["path"] == "tcp" and r["iterations"] > 0 for r in found), all_


def test_a_cut_wire_is_noticed():
    """The peer's host is alive and its wire is cut: no reset comes, and the reason is in words."""
    status, out, all_ = two_hosts(
        "export WEFT_AVOID=verbs; s=$(date +%s); WEFT_FAILURE_DETECT=2s timeout 60 $weft perf $RDMA_VM_PEER --test tag_lat --size 8 --time 40; "
        "echo status $? after $(($(date +%s) - s)); touch $RDMA_VM_JOB/noticed",
        "$weft perf --listen 0.0.0.0:7470 --once & served=$!; sleep 0.5; touch $RDMA_VM_JOB/ready; sleep 6; "
        "/sbin/ip link set eth0 down; until [ -e $RDMA_VM_JOB/noticed ]; do sleep 0.2; [ $((n += 1)) -lt 300 ] || break; done; kill $served; true")
    assert "the peer's host does not answer" in all_, all_
    took = re.search(r"status 1 after (\d+)", out)
    assert took and 6 <= int(took[1]) < 20, all_        # cut after 6 s, 2 s to be noticed, and an emulated machine
