# SPDX-License-Identifier: BSD-3-Clause
"""The bare verbs program beside Debian's perftest on a soft-RoCE device: each mode runs, compares its bytes and gives a sane
figure. This is the limit that weft's verbs transport is held against, and the means to do so (bare.py); here they are tried, and
no bar of weft's is held."""
import re

import pytest

from bare import (BOTH, BY_THE_CLOCK, FOUND, MARKED, MISSING, NOTHING, POSTED, REAPED, RECV, SEND, bare, by_name, functions,
                  in_turns, of_bare, of_perftest, per_message, perftest, ratio, steps)
from guest import rows, vm

pytestmark = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
MESSAGES = 32


def run(script, limit_s=240):
    status, out, err = vm(script, limit_s=limit_s)
    assert status == 0, out + err
    return out, err


def test_every_mode_says_what_it_did():
    """Sizes around the inline bound and the packet, whole and in pieces that do not divide the message."""
    runs = [("lat", 1, 50), ("lat", 256, 50), ("lat", 257, 50), ("lat", 70000, 5), ("write", 1, 50), ("write", 100001, 20),
            ("read", 1, 50), ("read", 100001, 20), ("read", 100001, 20, 30000)]
    out, _ = run("set -e\n" + "\n".join(bare(*r) for r in runs))
    found = rows(out)
    assert [(r["test"], r["size"], r["iterations"]) for r in found] == [r[:3] for r in runs], out
    assert all(r["seconds"] > 0 and r.get("us", r.get("MB_per_s")) > 0 for r in found), out
    assert found[-1]["piece"] == 30000, out


def test_what_is_wrong_is_said():
    program = bare("lat", 8, 1)
    _, err = run(f"n=0; for args in '-d nosuch lat 8 1' '-g 200 lat 8 1' 'lat 0 1' 'fly 8 1' 'lat 8'; do "
                 f"timeout 20 {program.split()[0]} $args && exit 1; [ $? != 124 ] || exit 1; done; true")
    assert "no RDMA device of the name nosuch" in err and "usage" in err and re.search(r"ibv_query_gid|RTR", err), err


def test_the_bare_program_keeps_up_with_perftest():
    """Loosely, for the machine is emulated; what weft shall reach of it stands in its own tests."""
    mib = 1 << 20
    out, err = run(in_turns({
        "write": bare("write", mib, 20), "ib_write_bw": perftest("ib_write_bw", mib, 20),
        "read": bare("read", mib, 20), "ib_read_bw": perftest("ib_read_bw", mib, 20),
        "lat": bare("lat", 8, 1000), "ib_send_lat": perftest("ib_send_lat", 8, 1000)}))
    said = by_name(out)
    for mine, its in (("write", "ib_write_bw"), ("read", "ib_read_bw"), ("lat", "ib_send_lat")):
        a, b = [of_bare(s) for s in said[mine]], [of_perftest(s) for s in said[its]]
        print(mine, a, its, b, ratio(a, b))
        assert 0.2 < ratio(a, b) < 5, (mine, a, its, b, err)


def test_instructions_and_calls_of_a_message():
    """By stepping: always the same numbers, and the parts are the whole."""
    out, err = run(in_turns({
        "bare": steps(bare("instr", 8, MESSAGES)),
        "ib_send_lat": perftest("ib_send_lat", 8, 200, steps("", (64, 64 + MESSAGES)))}, 1), 400)
    said = {k: v[0] for k, v in by_name(out).items()}
    whole = per_message(said["bare"], MESSAGES)
    part = {s: per_message(said["bare"], MESSAGES, s) for s in (SEND, RECV, FOUND, BOTH, NOTHING)}
    its = per_message(said["ib_send_lat"], MESSAGES)
    print("bare", whole, "parts", part, "ib_send_lat", its)
    assert whole["syscalls"] == part[SEND]["syscalls"] == 1, said       # soft-RoCE's doorbell
    assert its["syscalls"] == 1, said
    assert all(part[s]["syscalls"] == 0 for s in (RECV, FOUND, BOTH, NOTHING)), said
    for who in ("ours", "provider"):
        parts = sum(part[s][who] for s in (SEND, RECV, FOUND, BOTH))
        assert abs(whole[who] - parts) <= 0.05 * parts + 4, (who, whole, part)     # and a call and a loop around them
    assert 30 < whole["ours"] < 150 and 100 < whole["provider"] < 1000, whole
    assert 30 < its["ours"] < 300 and 100 < its["provider"] < 1000, (its, err)


# Instructions of ours a side for 8 bytes, the least of so many windows, as gcc 12 makes them; they may become fewer.
POST = 466            # post a receive, send, and the program around both
REAP = 447
SEND_ALONE = 218      # weft_send() and the transport's part of it
RECV_ALONE = 163


def test_weft_is_counted_by_the_same_means():
    """Whose an instruction is, function by function; that a message rings one doorbell and its reaping none but for the credits, once in 32
    messages, and by the clock; and that it costs no more instructions than it did (3 % are left to the compiler)."""
    out, err = run(f"export WEFT_TRANSPORTS=verbs; {steps(f'{MARKED} $RDMA_VM_IP 8 {MESSAGES}', places='/tmp/places')}; "
                   "echo == places; cat /tmp/places", 400)
    said, places = out.split("== places\n")
    posted, reaped = (per_message(said, MESSAGES, s) for s in (POSTED, REAPED))
    print("posted", posted, "reaped", reaped)
    assert "verbs" in err, err
    assert posted["syscalls"] == 1 and posted["ours"] == pytest.approx(posted["least"], abs=60), said
    assert 50 < reaped["least"] <= reaped["ours"] and reaped["provider"] > 50, said
    of = functions(places, MARKED, MESSAGES)
    for slot, whole in ((POSTED, posted), (REAPED, reaped)):
        print(slot, sorted(((round(n), f) for f, n in of[slot].items()), reverse=True)[:12])
        assert 0.7 * whole["ours"] < sum(of[slot].values()) <= whole["ours"] + 60, (slot, of[slot], whole)
    assert of[POSTED]["weft_send"] > 10 and of[POSTED]["weft_recv"] > 10, of
    # credits take one; single steps are slow, so that the look at the TCP connection, by the clock, comes every few messages, too: that
    # it does not come with each, the instructions of read_once say
    assert sum(n for name, n in reaped["calls"].items() if name not in BY_THE_CLOCK) <= 1, said
    assert of[REAPED].get("read_once", 0) + of[REAPED].get("wf_sock_pulse", 0) < 20, of
    for what, is_now, was in (("post", posted["least"], POST), ("reap", reaped["least"], REAP),
                              ("send", of[POSTED]["weft_send"] + of[POSTED]["verbs_send_short"], SEND_ALONE),
                              ("receive", of[POSTED]["weft_recv"], RECV_ALONE)):
        assert is_now <= 1.03 * was, (what, is_now, was)
