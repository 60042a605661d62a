"""Which submitted tasks still wait or run, by squeue, else sacct, else what the tasks noted themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from benchmark.slurm import queue_commands
from benchmark.slurm.submissions import Ledger, Submission, tasks_of
from benchmark.sweep.order import USAGE

ACTIVE = ("waiting", "running", "unknown")


@dataclass(frozen=True)
class Task:
    """One task of a submission. state: one of :data:`ACTIVE`, ``ended`` or ``cancelled``."""

    ledger: Ledger
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
        return self.ledger.note(self.entry.id, self.n).get("ended") or {}

    @property
    def said(self) -> str:
        """How it ended, in its own words; empty when it had none."""
        return self._end.get("message", "")

    @property
    def refused(self) -> bool:
        """Whether it ended before any run, because of something that the user is to mend."""
        return self._end.get("code") == USAGE


@dataclass(frozen=True)
class Survey:
    """tasks: of all submissions, oldest first. answered: squeue or sacct did; where neither does, ``unknown`` tasks count as active."""

    tasks: tuple[Task, ...]
    answered: bool

    @cached_property
    def active(self) -> dict[str, Task]:
        """Run id -> the task that is to carry it out."""
        return {run_id: task for task in self.tasks if task.active for run_id in task.runs}

    @cached_property
    def ended(self) -> dict[str, list[Task]]:
        """Run id -> the tasks that have ended and were not cancelled, oldest first."""
        found: dict[str, list[Task]] = {}
        for task in self.tasks:
            if task.state == "ended":
                for run_id in task.runs:
                    found.setdefault(run_id, []).append(task)
        return found

    def attempts(self, run_id: str, step: int) -> int:
        """How many tasks have ended without bringing the run beyond ``step``, that of its newest checkpoint."""
        return sum(task.entry.steps.get(run_id, 0) >= step for task in self.ended.get(run_id, []))


def survey(ledger: Ledger, mend: bool = False) -> Survey:
    """Ask about every submission that was not cancelled. mend: complete or forget those that a dying command left half made."""
    entries = ledger.submissions()
    asked = [entry for entry in entries if not entry.cancelled]
    if not asked:
        return Survey(tuple(Task(ledger, entry, n, runs, "cancelled") for entry, n, runs in tasks_of(entries)), True)
    listed = queue_commands.squeue(entry.name for entry in asked)
    if listed is not None:
        entries = _completed(ledger, entries, listed, mend)
    told = None if listed is not None else queue_commands.sacct([entry.job for entry in asked if entry.job is not None])
    tasks = []
    for entry, n, runs in tasks_of(entries):
        state = _state(entry, entry.job_of(n), listed, told)
        if state == "unknown" and entry.job is not None and ledger.note(entry.id, n).get("ended"):
            state = "ended"
        tasks.append(Task(ledger, entry, n, runs, state))
    return Survey(tuple(tasks), listed is not None or told is not None)


def _completed(ledger: Ledger, entries: list[Submission], listed: dict[str, tuple[str, str]], mend: bool) -> list[Submission]:
    """Give submissions without a job id the one that squeue knows by their name; leave out those that came to nothing."""
    ids = {name: job.partition("_")[0] for job, (name, _) in listed.items()}
    found = []
    for entry in entries:
        if entry.job is None and entry.name in ids:
            entry = ledger.update(entry, job=ids[entry.name]) if mend else replace(entry, job=ids[entry.name])
        elif entry.abandoned():
            if mend:
                ledger.drop(entry)
            continue
        found.append(entry)
    return found


def _state(entry: Submission, job: str | None, listed: dict[str, tuple[str, str]] | None, told: dict[str, str] | None) -> str:
    if entry.cancelled:
        return "cancelled"
    if job is None:
        return "ended" if entry.abandoned() else "unknown"
    if listed is not None:
        if job not in listed:
            return "ended"
        return "waiting" if listed[job][1] in queue_commands.WAITING else "running"
    if told is not None and job in told:
        return "waiting" if told[job] in queue_commands.WAITING else "running" if told[job] in queue_commands.RUNNING else "ended"
    return "unknown"


def why_ended(tasks: Sequence[Task]) -> dict[str, str]:
    """Job id -> how it ended: its own words, else the accounting's, else that it left none."""
    silent = [task.entry.job for task in tasks if not task.said and task.entry.job is not None]
    told = queue_commands.sacct(list(dict.fromkeys(silent))) or {}
    return {task.job: task.said or told.get(task.job, "without a word") for task in tasks if task.job is not None}
