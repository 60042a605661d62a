"""A sweep's jobs: which submitted tasks still wait or run, by squeue, else sacct, else what the tasks noted themselves; and their end.

Every answer of Slurm may be None: the command is not here, or does not answer.
"""

import itertools
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.config.grid import Sweep
from benchmark.config.slurm_options import Slurm
from benchmark.slurm.layout import Limits
from benchmark.slurm.submissions import Submission, Submissions, tasks_of
from benchmark.storage.atomic import see_anew
from benchmark.storage.liveness import living_parent, machine
from benchmark.storage.run_folder import RunFolder, whole
from benchmark.sweep.order import OK, SOME_FAILED, USAGE
from benchmark.terminal import say

ACTIVE = ("waiting", "running", "unknown")
_SECONDS = 30
"""For which an answer of Slurm is waited."""
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD", "SUSPENDED", "PREEMPTED"}
RUNNING = {"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED", "RESIZING"}
_SHOWN = 5
"""Jobs that ended without finishing their runs, of which ``status`` tells: the last ones."""


@dataclass(frozen=True)
class SubmittedTask:
    """One task of a submission. state: one of :data:`ACTIVE`, ``ended`` or ``cancelled``."""

    submissions: Submissions
    entry: Submission
    n: int
    runs: tuple[str, ...]
    state: str

    @property
    def job(self) -> str | None:
        return self.entry.job_of(self.n)

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @cached_property
    def _end(self) -> Mapping[str, Any]:
        return self.submissions.note(self.entry.id, self.n).get("ended") or {}

    @property
    def said(self) -> str:
        """How it ended, in its own words; empty when it had none."""
        return self._end.get("message", "")

    @property
    def refused(self) -> bool:
        """Whether it ended before any run, because of something that the user is to mend."""
        return self._end.get("code") == USAGE


@dataclass(frozen=True)
class Jobs:
    """tasks: of all submissions, oldest first. answered: squeue or sacct did; where neither does, ``unknown`` tasks count as active."""

    tasks: tuple[SubmittedTask, ...]
    answered: bool

    @cached_property
    def active(self) -> dict[str, SubmittedTask]:
        """Run id -> the task that is to carry it out."""
        return {run_id: task for task in self.tasks if task.active for run_id in task.runs}

    @cached_property
    def ended(self) -> dict[str, list[SubmittedTask]]:
        """Run id -> the tasks that have ended and were not cancelled, oldest first."""
        found: dict[str, list[SubmittedTask]] = {}
        for task in self.tasks:
            if task.state == "ended":
                for run_id in task.runs:
                    found.setdefault(run_id, []).append(task)
        return found

    def attempts(self, run_id: str, step: int) -> int:
        """How many tasks have ended without bringing the run beyond ``step``, that of its newest checkpoint."""
        return sum(task.entry.steps.get(run_id, 0) >= step for task in self.ended.get(run_id, []))


def find_jobs(submissions: Submissions, mend: bool = False) -> Jobs:
    """Ask about every submission that was not cancelled. mend: complete or forget those that a dying command left half made."""
    see_anew([submissions.notes])
    entries = submissions.all()
    asked = [entry for entry in entries if not entry.cancelled]
    if not asked:
        return Jobs(tuple(SubmittedTask(submissions, entry, n, runs, "cancelled") for entry, n, runs in tasks_of(entries)), True)
    listed = squeue(entry.name for entry in asked)
    if listed is not None:
        entries = _completed(submissions, entries, listed, mend)
    accounted = None if listed is not None else sacct([entry.job for entry in asked if entry.job is not None])
    tasks = []
    for entry, n, runs in tasks_of(entries):
        state = _state(entry, entry.job_of(n), listed, accounted)
        if state == "unknown" and entry.job is not None and submissions.note(entry.id, n).get("ended"):
            state = "ended"
        tasks.append(SubmittedTask(submissions, entry, n, runs, state))
    return Jobs(tuple(tasks), listed is not None or accounted is not None)


def _completed(submissions: Submissions, entries: list[Submission], listed: dict[str, tuple[str, str]], mend: bool) -> list[Submission]:
    """Give submissions without a job id the one that squeue knows by their name; leave out those that came to nothing."""
    ids = {name: job.partition("_")[0] for job, (name, _) in listed.items()}
    found = []
    for entry in entries:
        if entry.job is None and entry.name in ids:
            entry = submissions.update(entry, job=ids[entry.name]) if mend else replace(entry, job=ids[entry.name])
        elif entry.abandoned():
            if mend:
                submissions.drop(entry)
            continue
        found.append(entry)
    return found


def _state(entry: Submission, job: str | None, listed: dict[str, tuple[str, str]] | None, accounted: dict[str, str] | None) -> str:
    if entry.cancelled:
        return "cancelled"
    if job is None:
        return "ended" if entry.abandoned() else "unknown"
    if listed is not None:
        if job not in listed:
            return "ended"
        return "waiting" if listed[job][1] in WAITING else "running"
    if accounted is not None and job in accounted:
        return "waiting" if accounted[job] in WAITING else "running" if accounted[job] in RUNNING else "ended"
    return "unknown"


def why_ended(tasks: Sequence[SubmittedTask]) -> dict[str, str]:
    """Job id -> how it ended: its own words, else the accounting's, else that it left none."""
    silent = [task.entry.job for task in tasks if not task.said and task.entry.job is not None]
    accounted = sacct(list(dict.fromkeys(silent))) or {}
    return {task.job: task.said or accounted.get(task.job, "without a word") for task in tasks if task.job is not None}


def show_jobs(out: Path, console: Console) -> None:
    """One line per array that waits or runs, and how the last jobs ended that left runs unfinished; nothing without submissions."""
    submissions = Submissions(out)
    found = find_jobs(submissions)
    for _, group in itertools.groupby(found.tasks, key=lambda task: task.entry.id):  # tasks lie submission by submission
        tasks = list(group)
        if not any(task.active for task in tasks):
            continue
        states = Counter(task.state if found.answered else "not known: neither squeue nor sacct answers" for task in tasks)
        words = ", ".join(f"{count} {state}" for state, count in states.items())
        say(console, f"job {tasks[0].entry.job or 'being submitted'}: {len(tasks)} tasks: {words}")
    for job, why in why_ended(_left_unfinished(found, str(out / "runs"))).items():
        say(console, f"job {job} ended, and left runs unfinished: {why} ({submissions.log(job)})")


def _left_unfinished(found: Jobs, runs: str) -> list[SubmittedTask]:
    """The last tasks, oldest first, that ended before their runs, which nothing else has in hand."""
    ended = (task for task in reversed(found.tasks) if task.state == "ended" and found.active.keys().isdisjoint(task.runs))
    silent = (task for task in ended if not all(_finished(f"{runs}/{run_id}") for run_id in task.runs))
    return list(itertools.islice(silent, _SHOWN))[::-1]


def _finished(run: str) -> bool:
    return os.path.exists(f"{run}/record.json") or os.path.exists(f"{run}/failure.json")


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


def limits_of(options: Slurm) -> Limits:
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


def cancel(sweep: Sweep, out: Path, console: Console) -> int:
    """Cancel the sweep's jobs, whole arrays, and signal the local commands on this machine; say what was done. Returns the exit code."""
    code = _cancel_jobs(out, console)
    runners = _local_runners(sweep, out)
    for (host, here, pid), runs in runners.items():
        if not here:
            say(console, f"{runs} runs are worked on by process {pid} on {host}: press Ctrl-C there, or kill -INT {pid}")
            continue
        try:
            os.kill(pid, signal.SIGTERM)
            say(console, f"told process {pid}, which works on {runs} runs here, to save and stop")
        except (ProcessLookupError, PermissionError) as error:
            say(console, f"process {pid}, which works on {runs} runs here, could not be signalled: {error}", "red")
            code = SOME_FAILED
    if not runners and not any(task.entry.cancelled or task.active for task in find_jobs(Submissions(out)).tasks):
        say(console, "nothing of this sweep waits or runs")
    return code


def _cancel_jobs(out: Path, console: Console) -> int:
    submissions = Submissions(out)
    found = find_jobs(submissions, mend=True)
    active = {task.entry.path: task.entry for task in found.tasks if task.active}
    for entry in active.values():
        tasks = [task for task in found.tasks if task.entry.path == entry.path]
        waiting, running = (sum(task.state == state for task in tasks) for state in ("waiting", "running"))
        if entry.job is None:
            say(console, f"{entry.name} is being submitted just now: cancel again", "yellow")
            continue
        problem = scancel([entry.job])
        if problem is not None and found.answered:
            say(console, f"job {entry.job} could not be cancelled: {problem}", "red")
            return SOME_FAILED
        submissions.update(entry, cancelled=True)
        words = f"{len(tasks)} tasks, of which {waiting} waited and {running} ran"
        if problem is not None:  # Slurm answers nothing: only what this sweep remembers can be changed
            words = f"Slurm does not answer ({problem}), so the job is only forgotten"
        say(console, f"cancelled job {entry.job}: {words}; its runs keep their checkpoints")
    return OK


def _local_runners(sweep: Sweep, out: Path) -> dict[tuple[str, bool, int], int]:
    """(host, whether it is this machine, process id) of every command that holds runs without a job -> how many runs."""
    found: dict[tuple[str, bool, int], int] = {}
    for config in sweep.runs:
        run = RunFolder(out / "runs" / config.run_id)
        last = None if run.record_path.exists() or run.failure_path.exists() else run.last_claim()
        if last is None or last.info.get("job") is not None or not last.info or not last.alive():
            continue
        here = last.info.get("machine") is not None and last.info.get("machine") == machine()
        pid = living_parent(last.info) if here else whole(last.info.get("parent"))
        if pid is not None:  # else the command is gone: its worker is about to save and stop by itself
            found[str(last.info.get("host")), here, pid] = found.get((str(last.info.get("host")), here, pid), 0) + 1
    return found
