# SPDX-License-Identifier: BSD-3-Clause
"""Connections by rdma_cm, in guests: over soft iWARP, which has no other way, and over soft-RoCE with the setting rdma=cm; and what
goes wrong on the way to one: the lane is tcp's then, and `weft explain` says why."""
import re
import shlex
import subprocess

import pytest

from guest import BUILD, ROOT, rows, vm
from test_vm import two_hosts

LISTEN = "$weft perf --listen 0.0.0.0:7470 & served=$!; until (echo >/dev/tcp/127.0.0.1/7470) 2>/dev/null; do sleep 0.1; done; "
BOTH = "export WEFT_TRANSPORTS=verbs,tcp; "


def perf(options, peer="$RDMA_VM_PEER"):
    return f"{BOTH} $weft perf {peer} --test all --iterations 20 --time 0.3 --json {options}"


def test_two_hosts_over_soft_iwarp():
    """All that weft perf has, every size compared byte by byte."""
    status, out, all_ = two_hosts(
        perf("--size 8,3000,300K"), f"{BOTH} $weft perf --listen 0.0.0.0:7470 --once & served=$!; sleep 1; touch $RDMA_VM_JOB/ready; wait $served",
        "--iwarp")
    assert status == 0, all_
    found = rows(out)
    assert len(found) > 20 and all(r["path"] == "verbs" for r in found), all_


def test_two_soft_iwarp_devices_and_a_wire():
    status, out, err = vm(f"{BOTH}{LISTEN} {perf('--size 8,300K', '192.168.101.1')}; s=$?; kill $served; exit $s", "--wire", "--iwarp")
    assert status == 0, out + err
    found = rows(out)
    assert found and all(r["path"] == "verbs" for r in found), out + err


def test_an_interface_with_both_kinds_is_used_as_roce():
    """rdma_cm goes by addresses and gives them to the first device: the iWARP one has none, and says so."""
    status, out, err = vm(f"{BOTH}{LISTEN} $weft explain --timeout 30 weft://$RDMA_VM_IP:7470; kill $served; true", "--siw")
    assert status == 0 and re.search(r"messages: path \d+, verbs: rxe0:1 from \S+ \(GID", out), out + err


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """The folder with a librdmacm.so.1 that has a fault, and the real one's path."""
    real = subprocess.run(["cc", "-print-file-name=librdmacm.so.1"], capture_output=True, text=True).stdout.strip()
    if not real.startswith("/"):
        pytest.skip("librdmacm.so.1 is not installed (tools/setup rdma)")
    folder = tmp_path_factory.mktemp("cm")
    (folder / "map").write_text("RDMACM_1.0 { global: rdma_*; };\nRDMACM_1.2 { global: rdma_establish; rdma_init_qp_attr; } RDMACM_1.0;\n")
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-I", ROOT / "src", "-Wl,-soname,librdmacm.so.1",
                    f"-Wl,--version-script={folder}/map", "-o", folder / "librdmacm.so.1", ROOT / "tests/vm/cm_fault.c"], check=True)
    return folder, real


# fault of the side that connects, of the one that listens; what explain says then, over iWARP and over RoCE. An address that is
# nobody's is not tried over soft iWARP, which waits in the kernel for an answer (G81). The first has no fault, the second one that passes.
FAULTS = [
    ("", "", None, None),
    ("taken", "", None, None),
    ("channel", "", r"verbs: rdma_cm cannot be used: No such device", r"verbs: rdma_cm cannot be used: No such device"),
    ("", "channel", r"verbs: the peer does not offer it", r"verbs: the peer does not offer it"),
    ("address", "", r"verbs: siw0:1: rdma_cm.*: Network is unreachable", None),   # over RoCE it is "nobody", below
    ("nobody", "", None, r"verbs: (rdma_cm did not connect in time|rxe0:1: rdma_cm: the peer)"),
    ("port", "", r"verbs: siw0:1: rdma_cm: connecting: Connection refused", r"verbs: rxe0:1: rdma_cm: the connection was refused"),
    ("route", "", r"verbs: siw0:1: rdma_cm: resolving the route: Network is unreachable", r"verbs: rxe0:1: rdma_cm: resolving the route: Net"),
    ("secret", "", r"verbs: siw0:1: rdma_cm: the connection was refused", r"verbs: rxe0:1: rdma_cm: the connection was refused"),
    ("", "silent", r"verbs: (rdma_cm did not connect in time|the peer: rdma_cm did not connect in time)",
     r"verbs: (rdma_cm did not connect in time|the peer: rdma_cm did not connect in time)"),
]


@pytest.mark.parametrize("device", ["iwarp", "roce"])
def test_what_goes_wrong_leaves_tcp_and_a_reason(faulty, device):
    """One guest for all of them: it takes longer to boot than they take."""
    folder, real = faulty
    use = f"LD_LIBRARY_PATH={shlex.quote(str(folder))} CM_REAL={shlex.quote(real)}"
    script = BOTH + "cd $RDMA_VM_JOB; " + ("" if device == "iwarp" else "export WEFT_RDMA=cm; ")
    faults = [f[:2] + (f[2 + (device == "roce")],) for f in FAULTS]
    faults = [f for f in faults if f[2] or f[0] in ("", "taken") and not f[1]]
    for n, (mine, peers, _) in enumerate(faults):
        script += f"""
            {use} CM_FAULT={peers} $weft perf --listen 0.0.0.0:{7500 + n} >/dev/null 2>&1 & served=$!
            until (echo >/dev/tcp/127.0.0.1/{7500 + n}) 2>/dev/null; do sleep 0.1; done
            for try in 1 2 3; do    # explain waits 3 s for a connection, and the machine is slow
                {use} CM_FAULT={mine} {"WEFT_CONNECT_TIMEOUT=2s" if n > 1 else ""} timeout 40 $weft explain weft://$RDMA_VM_IP:{7500 + n} >said 2>&1
                ! grep -q 'not connected: ' said || continue
                break
            done
            echo "== {n}"; cat said; kill $served
        """
    status, out, err = vm(script + "true", *(["--iwarp"] if device == "iwarp" else []), limit_s=300)
    assert status == 0, out + err
    said = dict(re.findall(r"^== (\d+)\n(.*?)(?=^== |\Z)", out, re.M | re.S))
    for n in "01":
        assert re.search(r"messages: path \d+, verbs: \S+ from \S+ \((iWARP, )?by rdma_cm\)", said[n]), said[n]
    for n, (mine, peers, words) in enumerate(faults[2:], 2):
        text = said[str(n)]
        assert re.search(r"messages: path \d+, tcp: ", text), (mine, peers, text)
        assert re.search("not used: " + words, text), (mine, peers, text)
