# SPDX-License-Identifier: BSD-3-Clause
"""Which process of which job this is, by the variables that each process launcher leaves: whole sets, as far as their sources and
their users say. MPICH's and Open MPI's are what their mpiexec left (5.0.2, 5.0.11); the others were not run."""
import pytest

from weft.dask import _rank

N = 3


def each(always, **by_rank):
    """The environments of a job's processes: what is the same in all, and what a rank makes of it."""
    return [{**always, **{name: str(value(rank) if callable(value) else value) for name, value in by_rank.items()}} for rank in range(N)]


def rank(r):
    return r


def srun(job, step, **more):
    return each({"SLURM_JOB_ID": str(job), "SLURM_JOBID": str(job), "SLURM_STEP_ID": str(step), "SLURM_STEPID": str(step), "SLURM_NTASKS": str(N),
                 "SLURM_NPROCS": str(N), "SLURM_STEP_NUM_TASKS": str(N), "SLURM_NNODES": "1"}, SLURM_PROCID=rank, SLURM_LOCALID=rank, **more)


def hydra(outer, **more):
    """An mpiexec that a shell runs, which has the variables @outer."""
    return each(outer, PMI_RANK=rank, PMI_SIZE=N, PMI_FD=lambda r: 9 + 2 * r, PMI_HOSTNAME="n1", HYDI_CONTROL_FD=7, MPI_LOCALRANKID=rank,
                MPI_LOCALNRANKS=N, GFORTRAN_UNBUFFERED_PRECONNECTED="y", **more)


def mpirun_rsh(pid):
    return each({"MPIRUN_ID": str(pid), "MPISPAWN_MPIRUN_ID": str(pid), "MPIRUN_NPROCS": str(N), "MPIRUN_MPD": "0", "MPIRUN_RSH_LAUNCH": "1",
                 "MPISPAWN_GLOBAL_NPROCS": str(N), "MPISPAWN_ID": "0", "MV2_NODE_ID": "0", "PMI_PORT": "n1:40123", "USE_TOTALVIEW": "0"},
                PMI_ID=rank, MV2_COMM_WORLD_RANK=rank, MV2_COMM_WORLD_SIZE=N, MV2_COMM_WORLD_LOCAL_RANK=rank, MV2_COMM_WORLD_LOCAL_SIZE=N)


def open_mpi(namespace, **outer):
    return each(outer, OMPI_COMM_WORLD_RANK=rank, OMPI_COMM_WORLD_SIZE=N, OMPI_COMM_WORLD_LOCAL_RANK=rank, OMPI_UNIVERSE_SIZE=N, PMIX_RANK=rank,
                PMIX_NAMESPACE=namespace, PMIX_HOSTNAME="n1")


def pals(apid, **more):
    return each({"PALS_APID": apid, "PALS_NODEID": "0", "PALS_SPOOL_DIR": "/var/run/palsd/" + apid, "PALS_DEPTH": "1"}, PALS_RANKID=rank,
                PALS_LOCAL_RANKID=rank, PALS_LOCAL_SIZE=N, **more)


def jsrun(job, namespace):
    return each({"LSB_JOBID": str(job), "LSB_DJOB_RANKFILE": "/r", "PMIX_NAMESPACE": namespace}, JSM_NAMESPACE_RANK=rank, JSM_NAMESPACE_SIZE=N,
                JSM_NAMESPACE_LOCAL_RANK=rank, JSM_NAMESPACE_LOCAL_SIZE=N, OMPI_COMM_WORLD_RANK=rank, OMPI_COMM_WORLD_SIZE=N, PMIX_RANK=rank)


def flux(job):
    return each({"FLUX_JOB_ID": job, "FLUX_JOB_SIZE": str(N), "FLUX_JOB_NNODES": "1"}, FLUX_TASK_RANK=rank, FLUX_TASK_LOCAL_ID=rank, PMI_RANK=rank,
                PMI_SIZE=N, PMI_FD=lambda r: 20 + r)


INTERACTIVE = {**srun(77, 4)[0], "PMIX_RANK": "0", "PMIX_NAMESPACE": "slurm.pmix.77.4"}   # srun --pty bash
INTERACTIVE_PMI = {**srun(77, 4)[0], "PMI_RANK": "0", "PMI_SIZE": "1", "PMI_FD": "11", "PMI_JOBID": "77.4"}

# launcher; its number of processes, 0 where it does not say it; a job; one after it in the same allocation, None where jobs have no name
JOBS = [
    pytest.param("Slurm", N, srun(77, 0), srun(77, 1), id="srun"),
    pytest.param("PMI", N, srun(77, 0, PMI_RANK=rank, PMI_SIZE=N, PMI_FD=11, PMI_JOBID="77.0"),
                 srun(77, 1, PMI_RANK=rank, PMI_SIZE=N, PMI_FD=11, PMI_JOBID="77.1"), id="srun --mpi=pmi2"),
    pytest.param("PMIx", N, srun(77, 0, PMIX_RANK=rank, PMIX_NAMESPACE="slurm.pmix.77.0"),
                 srun(77, 1, PMIX_RANK=rank, PMIX_NAMESPACE="slurm.pmix.77.1"), id="srun --mpi=pmix"),
    pytest.param("PMIx", 0, each({"PMIX_NAMESPACE": "prterun-n1-123@1"}, PMIX_RANK=rank),
                 each({"PMIX_NAMESPACE": "prterun-n1-129@1"}, PMIX_RANK=rank), id="prterun"),
    pytest.param("PMIx", 0, each({"PMIX_NAMESPACE": "prterun-n1-123@1", "SLURM_JOB_ID": "77", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, PMIX_RANK=rank),
                 each({"PMIX_NAMESPACE": "prterun-n1-129@1"}, PMIX_RANK=rank), id="prterun in sbatch"),
    pytest.param("Open MPI", N, open_mpi("prterun-n1-123@1"), open_mpi("prterun-n1-129@1"), id="mpirun, Open MPI"),
    pytest.param("Open MPI", N, open_mpi("2231762945", OMPI_MCA_ess_base_jobid="2231762945", SLURM_JOB_ID="77", SLURM_PROCID="0", SLURM_NTASKS="1"),
                 open_mpi("2231763201", OMPI_MCA_ess_base_jobid="2231763201"), id="mpirun, Open MPI 4, in sbatch"),
    pytest.param("Hydra", N, hydra({}), None, id="mpiexec, MPICH"),
    pytest.param("Hydra", N, hydra({"SLURM_JOB_ID": "77", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}), None, id="mpiexec, MPICH, in sbatch"),
    pytest.param("Hydra", N, hydra(INTERACTIVE), None, id="mpiexec, MPICH, in srun --pty, PMIx"),
    pytest.param("Hydra", N, hydra(INTERACTIVE_PMI), None, id="mpiexec, MPICH, in srun --pty, pmi2"),
    pytest.param("MVAPICH2", N, mpirun_rsh(4711), mpirun_rsh(4712), id="mpirun_rsh, MVAPICH2"),
    pytest.param("MVAPICH2", N, hydra({}, MV2_COMM_WORLD_RANK=rank, MV2_COMM_WORLD_SIZE=N, MV2_COMM_WORLD_LOCAL_RANK=rank,
                                      MV2_COMM_WORLD_LOCAL_SIZE=N), None, id="mpiexec, MVAPICH2"),
    pytest.param("Flux", N, flux("f4cx"), flux("f4cy"), id="flux run"),
    pytest.param("PALS", N, pals("a-1", PMI_RANK=rank, PMI_SIZE=N, PMI_LOCAL_RANK=rank, PMI_LOCAL_SIZE=N, PMI_JOBID="77"),
                 pals("a-2", PMI_RANK=rank, PMI_SIZE=N, PMI_JOBID="77"), id="mpiexec, PALS"),
    pytest.param("PALS", 0, pals("a-1", PMIX_RANK=rank, PMIX_NAMESPACE="a-1"), pals("a-2", PMIX_RANK=rank, PMIX_NAMESPACE="a-2"),
                 id="mpiexec, PALS, PMIx"),
    pytest.param("PALS", N, [{**a, **b} for a, b in zip(srun(77, 0), pals("77.0", PMI_JOBID="77", PMI_SHARED_SECRET="s"))],
                 [{**a, **b} for a, b in zip(srun(77, 1), pals("77.1", PMI_JOBID="77", PMI_SHARED_SECRET="t"))], id="srun --mpi=cray_shasta"),
    pytest.param("LSF jsrun", N, jsrun(5, "1"), jsrun(5, "2"), id="jsrun"),
    pytest.param("weft", N, each({"WEFT_MPI_JOB": "j", **INTERACTIVE}, WEFT_MPI_RANK=rank, WEFT_MPI_SIZE=N),
                 each({"WEFT_MPI_JOB": "k"}, WEFT_MPI_RANK=rank, WEFT_MPI_SIZE=N), id="weft's own"),
]


@pytest.mark.parametrize("launcher, size, job, after", JOBS)
def test_all_processes_of_a_job_and_no_other_have_its_name(launcher, size, job, after):
    found = [_rank.find(environ) for environ in job]
    assert [(f.launcher, f.size, f.rank) for f in found] == [(launcher, size, r) for r in range(N)]
    assert len({f.job for f in found}) == 1 and bool(found[0].job) == bool(after)
    if after:
        others = {_rank.find(environ).job for environ in after}
        assert len(others) == 1 and not others & {"", found[0].job}


@pytest.mark.parametrize("more", [{}, {"PMI_RANK": "1", "PMI_SIZE": "3", "PMI_JOBID": "77.0"},
                                  {"PMIX_RANK": "1", "PMIX_NAMESPACE": "slurm.pmix.77.0"}, {"PALS_RANKID": "1", "PALS_APID": "77.0"}])
def test_a_job_that_slurm_starts_again_is_another(more):
    environ = {**srun(77, 0)[1], **more}
    jobs = [_rank.find(environ).job, *(_rank.find({**environ, "SLURM_RESTART_COUNT": n}).job for n in ("0", "1", "2"))]
    assert jobs[0] == jobs[1] and len(set(jobs)) == 3 and all(jobs)


def test_a_restart_of_slurm_s_job_changes_no_other_name():
    """mpirun reaches other hosts by ssh, too, where the variable is not."""
    for job in (open_mpi("prterun-n1-123@1"), mpirun_rsh(4711), hydra(INTERACTIVE)):
        assert _rank.find({**job[0], **srun(77, 0)[0], "SLURM_RESTART_COUNT": "1"}).job == _rank.find(job[0]).job


def test_every_launcher_is_tried():
    assert {p.values[0] for p in JOBS} == {row[0] for row in _rank.LAUNCHERS}


def test_nobody_started_several():
    assert _rank.find({"HOME": "/"}) == (0, 1, "", "")


@pytest.mark.parametrize("environ, words", [
    ({"PMI_RANK": "x"}, "PMI_RANK='x' of PMI is no number"), ({"PMI_RANK": "-1"}, "no number"),
    ({"PMI_RANK": "0", "PMI_SIZE": ""}, "PMI_SIZE='' of PMI is no number"), ({"SLURM_PROCID": "2", "SLURM_NTASKS": "2"}, "none of SLURM_NTASKS=2"),
])
def test_ranks_that_are_none(environ, words):
    with pytest.raises(ValueError, match=words):
        _rank.find(environ)
