# SPDX-License-Identifier: BSD-3-Clause
"""Dask over RDMA: a small cluster over two hosts, whose blocks of an array go over soft-RoCE."""
import json
import shlex

import pytest

from guest import ROOT, vm
from several import PYTHON

pytest.importorskip("distributed", reason="Dask is not installed (tools/setup dask)")

SUM = f"env DASK_TEMPORARY_DIRECTORY=/dev/shm WEFT_TRANSPORTS=verbs,tcp WEFT_CONNECT_TIMEOUT=60s WEFT_FAILURE_DETECT=60s {PYTHON} {shlex.quote(str(ROOT / 'tests/vm/dask_sum.py'))}"
SENT = "echo sent $(cat /sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts)"


def result(out, all_):
    """The JSON line; each worker has connections, all over verbs, and bytes were read by the adapter."""
    (row,) = (json.loads(s[s.index("{"):]) for s in out.splitlines() if '"right"' in s)
    assert row["right"] and len(row["workers"]) == 2, all_
    ways = [way for w in row["workers"].values() for way in w["ways"]]
    assert ways and all("verbs: rxe0:1 " in way for way in ways), all_
    assert all(w["stats"]["copied_in_place"] > 0 and w["stats"]["lanes_broken"] == 0 for w in row["workers"].values()), all_


def test_a_cluster_of_two_hosts():
    """The scheduler and a worker on the one, a worker and the client on the other."""
    status, out, err = vm(
        f"if [ $RDMA_VM_HOST = 1 ]; then timeout 400 {SUM} serve 192.168.100.2; else\n"
        "until (echo >/dev/tcp/192.168.100.2/8786) 2>/dev/null; do sleep 0.5; [ $((n += 1)) -lt 600 ] || exit 1; done\n"
        f"timeout 400 {SUM} join 192.168.100.2 192.168.100.1; fi; s=$?; {SENT}; exit $s", "--two-hosts", limit_s=450)
    assert status == 0, out + err
    result(out, out + err)
    sent = [int(s.split()[-1]) for s in out.splitlines() if s[2:].startswith(" sent ")]
    assert len(sent) == 2 and min(sent) > 100, out + err
