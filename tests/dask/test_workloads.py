# SPDX-License-Identifier: BSD-3-Clause
"""What MPI4Dask was measured by, and what users do today, on two workers over weft: each result is that of one process."""
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import LIMIT

PROGRAM = Path(__file__).resolve().parents[2] / "docs/examples/dask/workloads.py"


@pytest.mark.parametrize("name", ["transpose", "merge", "shuffle", "xarray", "svd"])
def test_the_result_is_that_of_one_process(name):
    out = subprocess.run([sys.executable, PROGRAM, name, "--check", "--mib", "32"], capture_output=True, text=True, timeout=3 * LIMIT)
    assert out.returncode == 0 and "equal to one process" in out.stdout, out.stdout + out.stderr
