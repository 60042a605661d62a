"""The one file that knows submitit: what it pickles, and the call that submits."""

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import submitit
from submitit.helpers import DelayedSubmission

from benchmark.config.slurm_options import Slurm
from benchmark.errors import UsageError
from benchmark.slurm import start_python
from benchmark.slurm.job import JobTask, carry_out
from benchmark.sweep.order import USAGE, SweepOutcome
from benchmark.sweep.worker_process import python_path
from datasets.base import cache_root

_TIMEOUTS = 10**6
"""Signals after which submitit itself would end a job: never, since our own count is of those without progress."""


class ArrayTask:
    """A task of an array, as submitit carries it to the job and, at a time limit or pre-emption, to the job's next start."""

    def __init__(self, task: JobTask) -> None:
        self.task = task

    def __call__(self) -> SweepOutcome:
        here = submitit.JobEnvironment()
        pickle = here.paths.submitted_pickle
        pickle.with_suffix(pickle.suffix + ".save_tmp").unlink(missing_ok=True)  # a start that was killed while submitit wrote it
        outcome = carry_out(self.task, here.job_id)
        if outcome.exit_code == USAGE:
            sys.exit(outcome.message)  # Slurm, too, shall say that it failed
        return outcome

    def checkpoint(self) -> DelayedSubmission:
        """The same again: what is to be saved, the workers have saved."""
        return DelayedSubmission(self)


class _Executor(submitit.SlurmExecutor):
    """Can write scripts where there is no Slurm."""

    @classmethod
    def affinity(cls) -> int:
        return 2


def submit(tasks: Sequence[JobTask], name: str, jobs: Path, options: Slurm, cpus: int) -> str:
    """Submit one array, a job per task; returns its job id. jobs: existing folder for submitit's files and the logs."""
    executor = _executor(name, jobs, options, cpus)
    with _outside_a_job():
        try:
            submitted = executor.submit_array([ArrayTask(task) for task in tasks])
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError, OSError) as error:
            raise UsageError(f"sbatch refused the jobs: {str(error).strip()}") from error
    return submitted[0].job_id.partition("_")[0]


def script(tasks: int, name: str, jobs: Path, options: Slurm, cpus: int) -> str:
    """What :func:`submit` would hand to sbatch."""
    executor = _executor(name, jobs, options, cpus)
    if tasks > 1:
        executor.parameters["map_count"] = tasks
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def _executor(name: str, jobs: Path, options: Slurm, cpus: int) -> submitit.SlurmExecutor:
    if submitit.JobEnvironment.USR_SIG != "USR2":
        raise UsageError("SUBMITIT_PREEMPT_SIGNAL names another signal than USR2, for which jobs listen")
    python = f"{shlex.quote(sys.executable)} -I -S {shlex.quote(start_python.__file__)}"
    executor = _Executor(jobs, max_num_timeout=_TIMEOUTS, python=python)
    named = {
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "gpus_per_node": options.gpus or None,
        "mem": options.mem,
    }
    paths = [f"export PYTHONPATH={shlex.quote(python_path())}", f"export SMILEBENCH_CACHE={shlex.quote(str(cache_root().resolve()))}"]
    executor.update_parameters(
        job_name=name,
        time=options.time,
        cpus_per_task=cpus,
        signal_delay_s=options.signal_seconds,
        array_parallelism=options.array_parallelism,
        setup=[*paths, *options.setup],
        srun_args=["--cpus-per-task", str(cpus)],  # which srun has not taken from the job since Slurm 22.05
        stderr_to_stdout=True,
        additional_parameters={"requeue": True, **{key: value for key, value in options.sbatch.items() if value is not False}},
        **{key: value for key, value in named.items() if value is not None},
    )
    return executor


@contextlib.contextmanager
def _outside_a_job() -> Iterator[None]:
    """Submit as from a login node: inside a job sbatch would take over the job's own options. Where Slurm is stays known."""
    hidden = {}
    if "SLURM_JOB_ID" in os.environ:
        hidden = {key: value for key, value in os.environ.items() if key.startswith("SLURM_") and key != "SLURM_CONF"}
    for key in hidden:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(hidden)
