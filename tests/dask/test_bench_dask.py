# SPDX-License-Identifier: BSD-3-Clause
"""The programs of `make bench-dask`: their processes find each other, their bytes are compared, all their figures are told."""
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMS = Path(__file__).resolve().parents[2] / "perftest/bench/comms"
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))   # of MPICH's wheel first
LIMIT = 120


def run(tmp_path, program, scheme, *args, launcher=()):
    """{figure: value}, and the log."""
    for who in (0, 1):
        os.mkfifo(tmp_path / f"to{who}")
    argv = [*launcher, sys.executable, COMMS / program, scheme, tmp_path, *args]
    log, figures = tmp_path / "log", tmp_path / "figures"
    with open(log, "w") as out:
        process = subprocess.Popen([str(a) for a in argv], stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        until = time.monotonic() + LIMIT
        while not (figures.exists() and '"done"' in figures.read_text()):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return {f["figure"]: f for f in map(json.loads, figures.read_text().splitlines()) if "figure" in f}


@pytest.mark.parametrize("scheme", ["weft", "weft-uvloop", "tcp"])
def test_pingpong(tmp_path, scheme):
    if "uvloop" in scheme:
        pytest.importorskip("uvloop")
    cpus = sorted(os.sched_getaffinity(0))
    said = run(tmp_path, "pingpong.py", scheme, 0.05, cpus[0], cpus[-1], 8, 70_000)
    assert said["lat 8"]["value"] > 0 and said["lat 70000"]["value"] > 0


@pytest.mark.parametrize("scheme, names", [
    ("weft", ["transpose", "svd"]), ("tcp", ["transpose"]), pytest.param("weft", ["merge", "shuffle", "xarray"], marks=pytest.mark.long)])
def test_cluster(tmp_path, scheme, names):
    said = run(tmp_path, "cluster.py", scheme, 0.5, 1, *(f"{name}=2" for name in names))
    assert all(said[f"wall {name}"]["value"] > 0 for name in names)
    assert abs(said["idle both"]["value"] - said["idle scheduler"]["value"] - said["idle worker"]["value"]) < 1e-9


@pytest.mark.long
@pytest.mark.skipif(not (importlib.util.find_spec("mpi4py") and MPIEXEC), reason="mpi4py or mpiexec is not installed")
@pytest.mark.parametrize("program, n, args", [("pingpong.py", 2, (0.05, 0, 0, 8, 70_000)), ("cluster.py", 4, (0.5, 1, "transpose=4"))])
def test_the_polling_scheme(tmp_path, program, n, args):
    assert run(tmp_path, program, "mpi", *args, launcher=(MPIEXEC, "-n", n))
