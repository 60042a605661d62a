"""What ``status`` says of a sweep's jobs."""

import itertools
import os
from collections import Counter
from pathlib import Path

from rich.console import Console

from benchmark.slurm.jobs import Survey, Task, survey, why_ended
from benchmark.slurm.submissions import Ledger

_ENDED = 5


def show(out: Path, console: Console) -> None:
    """One line per array that waits or runs, and how the last jobs ended that left runs unfinished; nothing without submissions."""
    ledger = Ledger(out)
    found = survey(ledger)
    for _, group in itertools.groupby(found.tasks, key=lambda task: task.entry.id):  # tasks lie submission by submission
        tasks = list(group)
        if not any(task.active for task in tasks):
            continue
        states = Counter(task.state if found.answered else "not known: neither squeue nor sacct answers" for task in tasks)
        words = ", ".join(f"{count} {state}" for state, count in states.items())
        console.print(f"job {tasks[0].entry.job or 'being submitted'}: {len(tasks)} tasks: {words}", highlight=False)
    for job, why in why_ended(_left_unfinished(found, str(out / "runs"))).items():
        console.print(f"job {job} ended, and left runs unfinished: {why} ({ledger.log(job)})", highlight=False, soft_wrap=True)


def _left_unfinished(found: Survey, runs: str) -> list[Task]:
    """The last tasks, oldest first, that ended before their runs, which nothing else has in hand."""
    ended = (task for task in reversed(found.tasks) if task.state == "ended" and found.active.keys().isdisjoint(task.runs))
    silent = (task for task in ended if not all(_finished(f"{runs}/{run_id}") for run_id in task.runs))
    return list(itertools.islice(silent, _ENDED))[::-1]


def _finished(run: str) -> bool:
    return os.path.exists(f"{run}/record.json") or os.path.exists(f"{run}/failure.json")
