# SPDX-License-Identifier: BSD-3-Clause
"""Which of how many this process is, by what process launchers leave in the environment."""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

# launcher; variables of the rank, the number of ranks, and the job (several are put together). The first whose rank is set is
# believed: launchers that start others (srun mpiexec ...) leave theirs behind, and the inner one knows better.
LAUNCHERS = [
    ("weft", "WEFT_MPI_RANK", ("WEFT_MPI_SIZE",), ("WEFT_MPI_JOB",)),
    ("Open MPI", "OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",), ("OMPI_MCA_ess_base_jobid", "PMIX_NAMESPACE")),
    ("MVAPICH2", "MV2_COMM_WORLD_RANK", ("MV2_COMM_WORLD_SIZE",), ("PMI_ID", "MPIRUN_ID")),
    ("PMIx", "PMIX_RANK", ("PMIX_SIZE", "SLURM_NTASKS"), ("PMIX_NAMESPACE",)),
    ("PMI", "PMI_RANK", ("PMI_SIZE",), ("PMI_JOBID", "SLURM_JOB_ID", "SLURM_STEP_ID")),
    ("Flux", "FLUX_TASK_RANK", ("FLUX_JOB_SIZE",), ("FLUX_JOB_ID",)),
    ("PALS", "PALS_RANKID", ("PALS_SIZE",), ("PALS_APID",)),
    ("LSF jsrun", "JSM_NAMESPACE_RANK", ("JSM_NAMESPACE_SIZE",), ("LSB_JOBID",)),
    ("Slurm", "SLURM_PROCID", ("SLURM_NTASKS", "SLURM_NPROCS"), ("SLURM_JOB_ID", "SLURM_STEP_ID")),
]


class Rank(NamedTuple):
    """One process of a job. launcher: "" where nobody started this process as one of several."""

    rank: int = 0
    size: int = 1
    job: str = ""
    launcher: str = ""


def find(environ: Mapping[str, str] = os.environ) -> Rank:
    """ValueError: a launcher's variable is no number, or the rank is none of the size."""
    for launcher, rank, sizes, jobs in LAUNCHERS:
        if rank not in environ:
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
        job = ".".join(environ[j] for j in jobs if j in environ)
        return Rank(numbers[0], numbers[1] if size else numbers[0] + 1, job, launcher)
    return Rank()
