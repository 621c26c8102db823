# SPDX-License-Identifier: BSD-3-Clause
"""A soft-RoCE device that this user, these limits or these settings keep from being used: all goes over tcp, or in frames, and the reason is
said. And hosts whose network is not the same, or changes under traffic."""
import re

import pytest

from guest import rows, vm
from several import case, run

USER = "setpriv --reuid=65534 --regid=65534 --clear-groups"   # root may lock memory, and open files, whatever the limits say
TCP, VERBS = "messages: path 2, tcp: ", "messages: path 1, verbs: rxe0:1 "

# what both sides are started with; what explain says then, of the path and of verbs
BAD = {
    "a user": (USER, VERBS, ""),
    "memlock 64 KiB": (f"{USER} prlimit --memlock=65536:65536", TCP, r"verbs: rxe0:1: registering \d+ KiB for buffers: Cannot allocate memory \(ulimit"),
    "memlock 12 MiB": (f"{USER} prlimit --memlock=12582912:12582912", VERBS, ""),
    "no such GID": ("env WEFT_RDMA=rxe0:1:77", TCP, r"verbs: rxe0:1: it has no address \(GID\) .* at the index that the setting rdma names"),
    "no such port": ("env WEFT_RDMA=rxe0:2", TCP, "verbs: the setting rdma names none of this machine's devices"),
    "no such device": ("env WEFT_RDMA=mlx5_7", TCP, "verbs: the setting rdma names none of this machine's devices"),
    "may not open it": (USER, TCP, "verbs: rxe0: it cannot be opened: is /dev/infiniband/uverbs0 there, and may this user open it"),   # the last one
}


@pytest.fixture(scope="module")
def bad():
    """{name: what it printed}, all in one boot."""
    script = "export WEFT_TRANSPORTS=verbs,tcp WEFT_CONNECT_TIMEOUT=30s WEFT_FAILURE_DETECT=30s; cd /tmp\n"   # the machine may be slow
    for n, (name, (prefix, _, _)) in enumerate(BAD.items()):
        port = 7500 + n
        if name == "may not open it":
            script += "chmod 600 /dev/infiniband/uverbs0\n"
        script += f"""
            {prefix} $weft perf --listen 0.0.0.0:{port} >/dev/null 2>&1 & served=$!
            until grep -q ":{port:04X} .* 0A " /proc/net/tcp; do sleep 0.1; done
            echo '== {name}'; {prefix} $weft explain --timeout 30 weft://$RDMA_VM_IP:{port} 2>&1
            {prefix} $weft perf $RDMA_VM_IP:{port} --test tag_lat,put_bw --size 300K --iterations 5 --time 0.2 --json
            kill $served
        """
    script += f"echo '== doctor'; {USER} prlimit --memlock=65536:65536 $weft doctor 2>&1; true"
    status, out, err = vm(script, limit_s=300)
    assert status == 0, out + err
    return dict(re.findall(r"^== (.*)\n((?:(?!== ).*\n)*)", out, re.M))


@pytest.mark.parametrize("name", BAD)
def test_it_goes_another_way_and_says_why(bad, name):
    _, path, words = BAD[name]
    assert path in bad[name] and re.search(f"not used: {words}" if words else "", bad[name]), bad[name]
    found = rows(bad[name])      # weft perf compares every byte before it times it
    assert len(found) == 2 and all(r["path"] == ("tcp" if path == TCP else "verbs") for r in found), bad[name]


def test_what_cannot_be_locked_goes_in_frames(bad):
    assert "could not be registered with the adapter (Cannot allocate memory): sent in frames" in bad["memlock 12 MiB"], bad["memlock 12 MiB"]


def test_doctor_says_both(bad):
    for words in r"^note +memlock +65536 bytes may be locked(\n .*)*ulimit -l unlimited", r"^problem +rdma .*(\n .*)*chmod 666 /dev/infiniband":
        assert re.search(words, bad["doctor"], re.M), bad["doctor"]


# ---- networks that are not the same, or change ----

OPTIONS = "WEFT_RDMA=rxe0 WEFT_TRANSPORTS=verbs,tcp WEFT_CONNECT_TIMEOUT=30s"
ADDRESS = "192.168.100.$((1 + RDMA_VM_HOST))/24 dev eth0"


def over_roce(n, name, serves, seconds, *, peer="192.168.101.2", **more):
    """RDMA over eth0 only; but for one case the bootstrap connection over eth1."""
    return case(n, name, serves, seconds, peer=peer, options=OPTIONS, **more)


@pytest.fixture(scope="module")
def networks():
    """All of them, in one boot of two hosts."""
    return run([
        over_roce(1, "mtu", "true", 2, before="ip link set eth0 mtu $((1500 + RDMA_VM_HOST * 7500))"),
        over_roce(2, "ipv6", "true", 2, peer="[fd00:100::2]", at="[::]", before="ip -4 addr flush dev eth0"),
        over_roce(3, "address", f"flows; ip addr del {ADDRESS}", 10, long=True, before=f"ip addr add {ADDRESS}"),
        over_roce(4, "device", "flows; rdma link delete rxe0 & sleep 2", 6, long=True),
    ], "--rails", "2", limit_s=300)


def went_on(networks, name):
    found, all_ = networks
    rows_, statuses = found[name]
    assert statuses == {0: 0, 1: 0}, all_
    for row in rows_.values():
        assert "error" not in row and row["messages"] >= 32 and row["memory"] > 0 and "verbs: rxe0:1 " in row["first"], all_
    return [rows_[h] for h in (0, 1)]


def test_of_two_mtus_the_smaller_one_is_used(networks):
    for row in went_on(networks, "mtu"):
        assert "MTU 1024)" in row["first"] and "that broke" not in row["explain"], row


def test_a_port_with_ipv6_addresses_only_is_reached(networks):
    for host, row in enumerate(went_on(networks, "ipv6")):
        assert f"verbs: rxe0:1 from fd00:100::{1 + host} (GID " in row["explain"] and "that broke" not in row["explain"], row


def test_an_address_that_goes_is_done_without(networks):
    """Over tcp, and then by RDMA from another address."""
    for host, row in enumerate(went_on(networks, "address")):
        assert f"from 192.168.100.{1 + host} (GID " in row["first"], row
        broke = re.search(r"messages that broke: (\d+), made again: (\d+); the last broke for: (.+)", row["explain"])
        assert broke and broke[1] == broke[2] and f"verbs: rxe0:1 from fd00:100::{1 + host} (GID " in row["explain"].split("\n")[1], row


def test_a_soft_roce_device_that_is_deleted_stays_for_who_has_it_open(networks):
    """The kernel waits until the last has closed it (G116), so nothing of it is seen here; adapters that go at once: the fake, test_verbs_lost."""
    for row in went_on(networks, "device"):
        assert "that broke" not in row["explain"], row


# ---- hosts that stand still ----

# when the bootstrap connection of case 2 is no longer a connection, on host 0
GONE = ("[ $RDMA_VM_HOST = 1 ] || { (await froze; s=$(date +%s); while grep -q ':1D4E 01 ' /proc/net/tcp; do sleep 0.2; done; "
        "echo gone $(($(date +%s) - s))) & }")


@pytest.fixture(scope="module")
def frozen():
    """For one second, and for ten; failure_detect is three."""
    return run([
        over_roce(1, "one second", "flows; echo 1 >$RDMA_VM_JOB/freeze1; sleep 2", 5, long=True),
        over_roce(2, "ten seconds", "flows; touch $RDMA_VM_JOB/froze; echo 10 >$RDMA_VM_JOB/freeze1; sleep 2", 14, before=GONE, long=True),
    ], "--freeze", "--rails", "2", limit_s=240)


def test_a_host_that_stands_still_for_a_moment_is_waited_for(frozen):
    for row in went_on(frozen, "one second"):
        assert "that broke" not in row["explain"], row


def test_a_host_that_stands_still_is_noticed(frozen):
    """By the bootstrap connection, in time. Soft-RoCE may keep the process in the kernel until the wire moves again (G117)."""
    found, all_ = frozen
    rows_, _ = found["ten seconds"]
    assert "peer's host does not answer" in rows_[0]["error"] and "error" in rows_[1], all_
    gone = re.search(r"^0: gone (\d+)", all_, re.M)
    assert gone and int(gone[1]) < 9, all_
