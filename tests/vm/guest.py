# SPDX-License-Identifier: BSD-3-Clause
"""A shell script in an emulated machine (rdma-vm), and what it printed: what the tests in this folder share."""
import json
import os
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("WEFT_TEST_BUILD", "build")).resolve()
VM = ROOT / "tests/vm/rdma-vm"
LIMIT_S = 150
BOOTS_S = 180


def vm(script, *options, limit_s=LIMIT_S):
    """(status, stdout, stderr) of a shell script in a guest, or in two."""
    argv = [VM, "--cache", ROOT / "build/vm", "--timeout", limit_s - 30, *options, "--",
            "bash", "-c", f"weft={shlex.quote(str(BUILD / 'weft'))}\n{script}"]
    # rdma-vm keeps the limit by itself, from when the guest is up; of one that hangs before it has begun it starts another
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=limit_s + BOOTS_S, cwd=ROOT)
    return done.returncode, done.stdout, done.stderr


def rows(text):
    return [json.loads(s) for s in text.splitlines() if s.startswith("{")]
