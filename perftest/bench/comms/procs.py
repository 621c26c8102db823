# SPDX-License-Identifier: BSD-3-Clause
"""procs.py - what the programs of one run share: which of its processes this is, the event loop of each scheme, and a file in
which figures are told to who started the run. A scheme is weft, weft-uvloop, tcp, ucxx or mpi."""
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HOST = "127.0.0.1"
BENCH = Path(__file__).resolve().parent.parent
LOOK_S = 0.02
LIFE_S = 200


def rank():
    """The number that a launcher gave to this process, or None."""
    return next((int(os.environ[name]) for name in ("BENCH_RANK", "PMI_RANK") if name in os.environ), None)


def die_in_time():
    """Whatever became of who started us: ranks of an MPI have sessions of their own, and some wait in MPI_Finalize() for ever."""
    signal.alarm(LIFE_S)


def spawn(n):
    """This program @n times; the first that fails ends the others, and its status is returned."""
    ranks = [subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, "BENCH_RANK": str(i)}) for i in range(n)]
    status = [None]
    while None in status and not any(status):
        time.sleep(LOOK_S)
        status = [r.poll() for r in ranks]
    for r in ranks:
        if r.poll() is None:
            r.terminate()
            r.wait()
    return next((s for s in status if s), 0)


def protocol(scheme):
    """The part before :// of its addresses. Dask learns mpi:// here: nothing installed offers it."""
    if scheme == "mpi":
        import mpi_scheme

        mpi_scheme.register()
    return scheme.removesuffix("-uvloop")


def run(scheme, coro):
    if not scheme.endswith("-uvloop"):
        return asyncio.run(coro)
    import uvloop

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(coro)


def note(folder, **what):
    """A line for who started us. done=True: all figures are there, and the processes may be ended."""
    with open(Path(folder) / "figures", "a") as f:
        f.write(json.dumps(what) + "\n")
