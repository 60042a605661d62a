"""What Slurm says of jobs. Every answer may be None: the command is not here, or does not answer."""

import subprocess
from collections.abc import Iterable, Sequence

from benchmark.config.slurm_options import Slurm
from benchmark.slurm.layout import Limits

_SECONDS = 30
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD", "SUSPENDED", "PREEMPTED"}
RUNNING = {"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED", "RESIZING"}


def squeue(names: Iterable[str]) -> dict[str, tuple[str, str]] | None:
    """Job id (``12``, or ``12_3`` for an array's task) -> (job name, state), of the pending and running jobs with these names."""
    text = _ask(["squeue", "--noheader", "--array", f"--name={','.join(names)}", "--format=%i|%j|%T"])
    if text is None:
        return None
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 2]
    return {job: (name, state) for job, name, state in rows}


def sacct(job_ids: Sequence[str]) -> dict[str, str] | None:
    """Job id -> state, by the accounting. An array's task that was cancelled while it was pending has no row, ever."""
    if not job_ids:
        return {}
    text = _ask(["sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID,State", f"--jobs={','.join(job_ids)}"])
    if text is None:
        return None
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 1]
    return {job: state.split()[0] for job, state in rows if state}


def scancel(job_ids: Sequence[str]) -> str | None:
    """Cancel whole jobs (arrays with all their tasks); what went wrong, or None. Jobs that have ended are no error."""
    try:
        done = subprocess.run(["scancel", *job_ids], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = [line for line in done.stderr.splitlines() if "Invalid job id" not in line and "already completing" not in line]
    return "\n".join(lines) or None if done.returncode else None


def limits(options: Slurm) -> Limits:
    """The cluster's limits: as the options say, else as ``scontrol show config`` does, else Slurm's usual ones."""
    text = _ask(["scontrol", "show", "config"]) if None in (options.max_array_size, options.max_submit_jobs) else None
    lines = [line.partition("=") for line in (text or "").splitlines()]
    said = {key.strip(): int(value) for key, _, value in lines if value.strip().isdecimal()}
    usual = Limits()
    return Limits(
        options.max_array_size or max(1, said.get("MaxArraySize", usual.array)),
        options.max_submit_jobs or said.get("MaxJobCount", usual.jobs),
    )


def _ask(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
