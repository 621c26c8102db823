# SPDX-License-Identifier: BSD-3-Clause
"""The conformance suite in guests, on Debian's kernel: over soft-RoCE from a device to itself and over a wire, over soft iWARP, and over
both between two guests, each of which has one side of every pair (tests/conform/far.h); and those of its cases that move bytes, on wires
that lose and reorder packets. The longest of the tests in this folder, which is why they stand in one file: it is the first, and what is
short fills the gaps."""
import re
import shlex

import pytest

from guest import BUILD, vm

CONFORM = f"env WEFT_TEST_EMULATED=1 {shlex.quote(str(BUILD / 'tests/conform/conform'))}"
FAR = f"env WEFT_TEST_EMULATED=1 {shlex.quote(str(BUILD / 'tests/conform/conform_far'))}"
# Host 1 has the far sides; host 0 runs the cases. A machine that emulates two others may leave one of them waiting for seconds.
BETWEEN = f"""
export WEFT_FAILURE_DETECT=30s WEFT_CONNECT_TIMEOUT=60s
if [ $RDMA_VM_HOST = 1 ]; then
    {FAR} --serve $RDMA_VM_IP:4000 &
    until [ -e $RDMA_VM_JOB/done ]; do sleep .2; done
    kill $!
else
    {FAR} --at $RDMA_VM_PEER:4000 --here $RDMA_VM_IP verbs
    status=$?
    touch $RDMA_VM_JOB/done
    exit $status
fi"""
PACKETS = "for d in rxe0 rxe1; do echo packets $(cat /sys/class/infiniband/$d/ports/1/hw_counters/sent_pkts); done"

# What moves bytes in every way, of sizes that a wire on which each lost tail costs a tenth of a second carries in time.
LONG = "both_sides_may_send*"
BYTES = ["messages_go*", "same_tag*", LONG, "full_queues*", "a_sync_send_is*", "a_loop_of_short*", "all_fills_the_buffer*"]
MEMORY = ["puts_and_gets*"]
BY_CM = "*message* *put* *get* *atomic* *close*".split()


def conforms(script, *options, least=150, limit_s=900):
    """What it printed; each case that was run passed, and they were no fewer than @least."""
    status, out, err = vm(script, *options, limit_s=limit_s)
    out = re.sub(r"^[01]: ", "", out, flags=re.M)
    assert status == 0 and not re.findall(r"^not ok \d+ (?!# SKIP).*", out, re.M), out + err
    assert len(re.findall(r"^ok \d+ - ", out, re.M)) >= least, out + err
    return out


def test_from_a_device_to_itself():
    conforms(f"{CONFORM} verbs")


def test_over_a_wire():
    """Two devices that meet only over a wire; each connection has two rails."""
    out = conforms(f"{CONFORM} verbs; {PACKETS}", "--wire")
    assert all(int(n) > 1000 for n in re.findall(r"^packets (\d+)", out, re.M)), out[-500:]


@pytest.mark.parametrize("kind", ["--two-hosts", "--iwarp"], ids=["soft-roce", "soft-iwarp"])
def test_between_two_hosts(kind):
    """What cannot be taken apart is left out, and said."""
    out = conforms(BETWEEN, *dict.fromkeys(["--two-hosts", kind]), least=140)
    assert int(re.search(r"^# (\d+) cases had a side in the other process", out, re.M)[1]) >= 130, out[-500:]


def test_over_soft_iwarp():
    conforms(f"{CONFORM} verbs", "--iwarp")


def test_shm_on_another_kernel():
    """Debian 12's own, 6.1; the one beside us may be younger by years."""
    conforms(f"uname -r; {CONFORM} shm")


@pytest.mark.parametrize("netem", ["loss 1%", "loss 5%", "delay 3ms reorder 2%"])
def test_bytes_over_a_bad_wire(netem):
    """Over verbs alone. On the worse wires soft-RoCE gives up on long writes (G79), for which it takes tcp as well: test_verbs.py."""
    # no long ones where packets overtake each other: reads of memory that was given up meanwhile come again (G108)
    names = [n for n in BYTES if n != LONG or "reorder" not in netem] + (MEMORY if netem == "loss 1%" else [])
    runs = "; ".join(f"timeout 250 {CONFORM} verbs '{p}' || exit 1" for p in names)
    # by this time adapters know how soon to send again; with 5 % the suite would wait for nothing else
    detect = "1s" if netem == "loss 5%" else "2s"
    conforms(f"export WEFT_FAILURE_DETECT={detect}; {runs}", "--wire", "--netem", netem, least=len(names), limit_s=600)


def test_soft_roce_connected_by_rdma_cm():
    conforms("export WEFT_RDMA=cm; " + "; ".join(f"{CONFORM} verbs '{c}' || exit 1" for c in BY_CM), least=40)
