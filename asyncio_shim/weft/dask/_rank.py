# SPDX-License-Identifier: BSD-3-Clause
"""Which of how many this process is, by what process launchers leave in the environment."""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

# launcher; variables of the rank (the first; the others tell this launcher from one that has the same), of the number of ranks (the
# first that is there), and of the job: put together they are the same in all of its processes and in no other job's; where one of
# them is missing, or there are none, the job has no name. The first launcher whose variables are set is believed: those that
# start others (srun mpiexec ...) leave theirs behind, and the inner one knows better. Hydra says no job, and what stands in
# PMI_JOBID or Slurm's variables under it is the outer launcher's, the same for each mpiexec of an allocation. Each row has its
# launcher's whole set of variables in tests/dask/test_rank.py.
LAUNCHERS: list[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = [
    ("weft", ("WEFT_MPI_RANK",), ("WEFT_MPI_SIZE",), ("WEFT_MPI_JOB",)),
    ("LSF jsrun", ("JSM_NAMESPACE_RANK",), ("JSM_NAMESPACE_SIZE",), ("LSB_JOBID", "PMIX_NAMESPACE")),
    ("Open MPI", ("OMPI_COMM_WORLD_RANK",), ("OMPI_COMM_WORLD_SIZE",), ("PMIX_NAMESPACE",)),
    ("MVAPICH2", ("MV2_COMM_WORLD_RANK",), ("MV2_COMM_WORLD_SIZE",), ("MPIRUN_ID",)),
    ("Hydra", ("PMI_RANK", "HYDI_CONTROL_FD"), ("PMI_SIZE",), ()),
    ("Flux", ("FLUX_TASK_RANK",), ("FLUX_JOB_SIZE",), ("FLUX_JOB_ID",)),
    ("PALS", ("PALS_RANKID",), ("PMI_SIZE", "SLURM_NTASKS"), ("PALS_APID",)),
    ("PMI", ("PMI_RANK",), ("PMI_SIZE",), ("PMI_JOBID",)),
    ("PMIx", ("PMIX_RANK",), ("SLURM_STEP_NUM_TASKS",), ("PMIX_NAMESPACE",)),
    ("Slurm", ("SLURM_PROCID",), ("SLURM_NTASKS", "SLURM_NPROCS"), ("SLURM_JOB_ID", "SLURM_STEP_ID")),
]


def _job(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    """A job that Slurm starts again keeps its name, which is the step's: the count of restarts makes it another. Not taken into
    others' names: who starts processes by ssh leaves the variable behind."""
    if not all(n in environ for n in names):
        return ""
    job = ".".join(environ[n] for n in names)
    step, restarts = ".".join(environ.get(n, "") for n in ("SLURM_JOB_ID", "SLURM_STEP_ID")), environ.get("SLURM_RESTART_COUNT", "")
    of_slurm = job == step or job.endswith("." + step)       # PMIx: slurm.pmix.77.0
    return f"{job}-{restarts}" if restarts.strip("0") and of_slurm else job


class Rank(NamedTuple):
    """One process of a job. launcher: "" where nobody started this process as one of several. size: 0 where the launcher does not
    say it. job: "" where it does not say that."""

    rank: int = 0
    size: int = 1
    job: str = ""
    launcher: str = ""


def find(environ: Mapping[str, str] = os.environ) -> Rank:
    """ValueError: a launcher's variable is no number, or the rank is none of the size."""
    for launcher, (rank, *marks), sizes, jobs in LAUNCHERS:
        if rank not in environ or not all(m in environ for m in marks):
            continue
        size = next((s for s in sizes if s in environ), None)
        numbers = []
        for name in (rank, size):
            text = environ[name] if name else "0"
            if not text.isdecimal():
                raise ValueError(f"{name}={text!r} of {launcher} is no number")
            numbers.append(int(text))
        if size and numbers[0] >= numbers[1]:
            raise ValueError(f"{rank}={numbers[0]} is none of {size}={numbers[1]} processes")
        return Rank(numbers[0], numbers[1], _job(environ, jobs), launcher)
    return Rank()
