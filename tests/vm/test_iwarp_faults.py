# SPDX-License-Identifier: BSD-3-Clause
"""What happens to peers, links and packets under traffic over soft iWARP, between two hosts: noticed as promised, with a reason, nothing
lost or doubled. One boot for all; RDMA over eth0, the bootstrap connections over eth1."""
import re

import pytest

from several import case, run

OPTIONS = "WEFT_RDMA=siw0 WEFT_TRANSPORTS=verbs,tcp WEFT_CONNECT_TIMEOUT=30s"
PULL = "ip link set eth0 down; sleep {0}; ip link set eth0 up"


def over_iwarp(n, name, serves, seconds, *, more="", long=False):
    return case(n, name, serves, seconds, peer="192.168.101.2", options=f"{OPTIONS} {more}", long=long)


@pytest.fixture(scope="module")
def cases():
    """All of them, in one boot."""
    return run([
        over_iwarp(1, "killed", "flows; kill -9 $p", 60),
        over_iwarp(2, "stopped", "flows; kill -STOP $p; sleep 10; kill -CONT $p", 14),
        over_iwarp(3, "loss", "tc qdisc replace dev eth0 root netem loss 1%", 5),
        over_iwarp(4, "pulled idle", f"tc qdisc del dev eth0 root; await idle.paused; sleep 1; {PULL.format(5)}; sleep 4; touch $RDMA_VM_JOB/idle", 2,
                   more="TRAFFIC_PAUSE=$RDMA_VM_JOB/idle", long=True),
        over_iwarp(5, "pulled", f"flows; {PULL.format(1)}", 8, long=True),
    ], "--iwarp", "--rails", "2", limit_s=330)


def went_on(cases, name):
    found, all_ = cases
    rows, statuses = found[name]
    assert statuses == {0: 0, 1: 0}, all_
    for row in rows.values():
        assert "error" not in row and row["messages"] >= 32 and row["memory"] > 0, all_
        assert "verbs: siw0:1" in row["first"], all_
    return [row["explain"] for row in rows.values()]


def test_a_killed_process_is_noticed_at_once(cases):
    found, all_ = cases
    (row, killed), _ = found["killed"][0].values(), found["killed"][1]
    assert killed is None and row["after"] < 15, all_
    assert "peer closed the connection" in row["error"] or "reset" in row["error"].lower(), all_


@pytest.mark.parametrize("name", ["stopped", "loss"])
def test_it_goes_on(cases, name):
    """Ten seconds are five times failure_detect: who is stopped lives, and is waited for. What is lost, TCP under iWARP sends again."""
    for explain in went_on(cases, name):
        assert "verbs: siw0:1" in explain.split("\n")[1] and "that broke" not in explain, explain


def made_again(explains):
    for explain in explains:
        broke = re.search(r"messages that broke: (\d+), made again: (\d+); the last broke for: (.+)", explain)
        assert broke and broke[1] == broke[2] and "verbs: siw0:1" in explain.split("\n")[1], explain


def test_a_link_that_is_pulled_while_nothing_is_under_way_is_replaced_and_made_again(cases):
    made_again(went_on(cases, "pulled idle"))


def test_a_link_that_is_pulled_in_mid_traffic_loses_nothing_in_silence(cases):
    """Over iWARP done means sent. What was sent and did not come cannot be sent again: the endpoint ends then, and says so; else it goes on."""
    found, all_ = cases
    rows, _ = found["pulled"]
    errors = [row["error"] for row in rows.values() if "error" in row]
    if not errors:
        made_again(went_on(cases, "pulled"))
        return
    assert len(errors) == 2 and all(row["after"] < 15 for row in rows.values()), all_
    assert any("the connection broke, and not all that was accepted can be sent again: " in e for e in errors), all_
