"""Runs -> tasks -> arrays: how many runs a job takes, and how many jobs a submission."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmark.config.slurm_options import Slurm
from benchmark.sweep.progress import duration

Item = TypeVar("Item")

SHARE = 0.5
"""Part of the time limit that a task fills by estimate: the rest is for slow nodes and wrong estimates."""
SHORT_SECONDS = 600.0
"""A task is not made shorter than this for the sake of running more of them at once: starting one costs a part of a minute."""


@dataclass(frozen=True)
class Limits:
    """The cluster's. array: tasks of one array. jobs: pending and running jobs of a user, a task counting as one."""

    array: int = 1001
    jobs: int = 1000


@dataclass(frozen=True)
class JobLayout:
    """tasks: run ids of each job. chunks: the tasks of each array. left: runs that do not fit into ``Limits.jobs`` now.

    seconds: estimated duration of the longest task; None when no run is measured yet.
    """

    tasks: tuple[tuple[str, ...], ...]
    chunks: tuple[tuple[tuple[str, ...], ...], ...]
    left: tuple[str, ...]
    seconds: float | None

    def words(self, parallel: int) -> str:
        """The layout in one line."""
        if not self.tasks:
            return "no jobs"
        most = max(len(task) for task in self.tasks)
        arrays = f"{len(self.chunks)} array{'s' if len(self.chunks) > 1 else ''} of {', '.join(str(len(chunk)) for chunk in self.chunks)}"
        time = "" if self.seconds is None else f", about {duration(self.seconds)} for the longest"
        return f"{len(self.tasks)} jobs of up to {most} runs in {arrays}, at most {parallel} at once{time}"


def lay_out(run_ids: Sequence[str], seconds: Sequence[float] | None, options: Slurm, limits: Limits, workers: int = 1) -> JobLayout:
    """Group runs into tasks and tasks into arrays.

    run_ids: longest first. seconds: estimate per run, or None. workers: runs that a task carries out side by side. Without an explicit
    ``runs_per_task`` tasks get longer until all of them fit.
    """
    sizes = list(seconds) if seconds is not None else [1.0] * len(run_ids)
    if options.runs_per_task is not None:
        groups = _slices(range(len(run_ids)), options.runs_per_task)
    elif seconds is None:
        groups = _slices(range(len(run_ids)), max(workers, -(-len(run_ids) // max(1, limits.jobs))))
    else:
        longest = SHARE * options.limit_seconds
        wanted = min(longest, max(min(SHORT_SECONDS, longest), sum(sizes) / workers / options.array_parallelism))
        groups = _fill(sizes, wanted * workers, workers)
        while len(groups) > max(1, limits.jobs):
            wanted *= 1.2
            groups = _fill(sizes, wanted * workers, workers)
    tasks = [tuple(run_ids[n] for n in group) for group in groups]
    times = [max(sum(sizes[n] for n in group) / workers, max(sizes[n] for n in group)) for group in groups]
    now = tasks[: max(0, limits.jobs)]
    return JobLayout(
        tuple(now),
        tuple(tuple(chunk) for chunk in _slices(now, limits.array)),
        tuple(run_id for task in tasks[len(now) :] for run_id in task),
        max(times, default=0.0) if seconds is not None else None,
    )


def _fill(sizes: Sequence[float], room: float, workers: int) -> list[list[int]]:
    """Consecutive indices whose sizes add up to ``room`` at most; at least ``workers`` in each group while there are enough."""
    groups: list[list[int]] = []
    used = 0.0
    for n, size in enumerate(sizes):
        if groups and (used + size <= room or len(groups[-1]) < workers):
            groups[-1].append(n)
            used += size
        else:
            groups.append([n])
            used = size
    return groups


def _slices(items: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
