"""How jobs are submitted: the ``slurm:`` block of a sweep file over ``~/.config/smilebench/slurm.yaml``. No part of a run's identity."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from benchmark.config.run_config import RunConfig, Runtime, Section, validate
from benchmark.errors import UsageError
from benchmark.storage import yamlio

_FIELDS = {
    "account": "account",
    "cpus-per-task": "cpus",
    "gpus": "gpus",
    "gpus-per-node": "gpus",
    "mem": "mem",
    "partition": "partition",
    "qos": "qos",
    "time": "time",
}
_OURS = (
    "array",
    "error",
    "parsable",
    "test-only",
    "wrap",
    "job-name",
    "nodes",
    "no-requeue",
    "ntasks",
    "ntasks-per-node",
    "open-mode",
    "output",
    "requeue",
    "signal",
)
_MEM = re.compile(r"(\d{1,12})([KMGTkmgt]?)[Bb]?")
_LONG_OPTION = re.compile(r"[a-z][a-z0-9-]+")
_TIME = re.compile(r"(?:(?P<d>\d+)-(?P<dh>\d+)(?::(?P<dm>\d+))?(?::\d+)?|(?P<h>\d+):(?P<hm>\d+):\d+|(?P<m>\d+)(?::\d+)?)")
_LOOK_SECONDS = 30
"""Slurm looks at time limits this often, so a job's signal may come this much earlier than asked for."""
_SHORTEST = 15
"""Seconds that a job has at least, before it is told to stop."""
_MARGIN_SECONDS, _MARGIN_SHARE = 20, 0.3
"""Of the time between the signal and the end, what is kept for asking to be queued again: the smaller of both."""

_CPUS_OF_A_GPU_WORKER = 4
"""One issues the kernels; pixels that are sent ahead, checkpoints and evaluation's results keep others busy."""


Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,:@+/-]*$", max_length=200)]
"""A name of the cluster's. It becomes a line of a shell script, so it holds nothing else."""


class Slurm(Section):
    """Options of jobs, each of one task on one node. Keys that are left out are the cluster's defaults.

    time: limit of a job, in minutes or as Slurm writes it (``4:00:00``, ``1-12``). gpus, cpus: per job; gpus may name a type
    (``a100:2``). mem: per job (``16G``; a bare number is megabytes). setup: lines of shell before a job starts. sbatch: any other
    option of sbatch (``constraint: a100``; true for a flag). array_parallelism: jobs of an array that run at once. runs_per_task: runs
    in one job (null: as fits the time). signal_seconds: how long before the limit a job saves and asks to be queued again. retries: how
    often a run is submitted again whose job ended without progress. max_array_size, max_submit_jobs: the cluster's limits (null: what
    ``scontrol show config`` says).
    """

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    time: int | str = 240
    gpus: int | Word | None = None
    cpus: Annotated[int, Field(ge=1)] | None = None
    mem: int | str | None = None
    setup: list[str] = []
    sbatch: dict[str, bool | int | float | str] = {}
    array_parallelism: Annotated[int, Field(ge=1)] = 64
    runs_per_task: Annotated[int, Field(ge=1)] | None = None
    signal_seconds: Annotated[int, Field(ge=5)] = 120
    retries: Annotated[int, Field(ge=0)] = 2
    max_array_size: Annotated[int, Field(ge=1)] | None = None
    max_submit_jobs: Annotated[int, Field(ge=1)] | None = None

    @field_validator("time")
    @classmethod
    def _in_minutes(cls, value: int | str) -> int:
        return minutes(value)

    @field_validator("gpus")
    @classmethod
    def _counted(cls, value: int | str | None) -> int | str | None:
        gpu_count(value)
        return value

    @field_validator("mem")
    @classmethod
    def _as_slurm_writes_it(cls, value: int | str | None) -> str | None:
        if value is None:
            return None
        found = _MEM.fullmatch(str(value).strip())
        if found is None or int(found[1]) == 0:
            raise ValueError("write a number of megabytes, or a number with K, M, G or T: 16G")
        return found[1] + (found[2] or "").upper()

    @field_validator("sbatch")
    @classmethod
    def _not_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        named = {key.removeprefix("--").replace("_", "-"): item for key, item in value.items()}
        for key, item in named.items():
            if not _LONG_OPTION.fullmatch(key):
                raise ValueError(f"'{key}' is no long option of sbatch: write the long name of one (constraint, not C)")
            if isinstance(item, str) and not item.isprintable():
                raise ValueError(f"the value of {key} holds a line break or another control character")
            meant = [name for name in (*_FIELDS, *_OURS) if name.startswith(key)]
            if meant and key not in (*_FIELDS, *_OURS):
                raise ValueError(f"'{key}' is short for sbatch's {meant[0]}: write options in full")
            if key in _FIELDS:
                raise ValueError(f"sbatch's {key} is written as slurm.{_FIELDS[key]}")
            if key in _OURS:
                raise ValueError(f"sbatch's {key} is set by SmileBench")
        return named

    @property
    def limit_seconds(self) -> int:
        """The time limit of a job."""
        assert isinstance(self.time, int)
        return 60 * self.time

    @property
    def grace(self) -> float:
        """Seconds that workers have to save, between the signal and the request to be queued again."""
        return self.signal_seconds - min(_MARGIN_SECONDS, _MARGIN_SHARE * self.signal_seconds)


def minutes(value: int | str) -> int:
    """A time limit in whole minutes. Accepts what sbatch does; ValueError otherwise."""
    found = _TIME.fullmatch(str(value))
    if found is None:
        raise ValueError("write minutes, hours:minutes:seconds or days-hours:minutes:seconds")
    part = {key: int(text or 0) for key, text in found.groupdict().items()}
    total = 1440 * part["d"] + 60 * (part["dh"] + part["h"]) + part["dm"] + part["hm"] + part["m"]
    if total < 1:
        raise ValueError("a time limit is a minute or more")
    return total


def gpu_count(value: int | str | None) -> int:
    """How many GPUs ``2`` or ``a100:2`` are; ValueError when it is neither."""
    if value is None:
        return 0
    count = str(value).rpartition(":")[2]
    if not count.isdecimal():
        raise ValueError("write a number of GPUs, or type:number")
    return int(count)


def user_file() -> Path | None:
    """Where a user keeps the options that hold for all sweeps on this cluster; None for a user without a home."""
    try:
        return Path.home() / ".config" / "smilebench" / "slurm.yaml"
    except RuntimeError:
        return None


def resolve(block: Slurm) -> Slurm:
    """A sweep's block over the user's file; what belongs together is checked together."""
    path = user_file()
    user = Slurm()
    if path is not None and path.is_file():
        user = validate(Slurm, yamlio.read_mapping(path), str(path))
    given = {**user.model_dump(exclude_unset=True), **block.model_dump(exclude_unset=True)}
    merged = Slurm(**{**given, "sbatch": {**user.sbatch, **block.sbatch}})
    usable = merged.limit_seconds - merged.signal_seconds - _LOOK_SECONDS
    if usable < _SHORTEST:
        raise UsageError(
            f"slurm.time, slurm.signal_seconds: with a limit of {merged.time} min and the signal {merged.signal_seconds} s before it "
            f"a job would be told to stop after {max(usable, 0)} s: raise the one or lower the other"
        )
    return merged


def for_runs(options: Slurm, runs: list[RunConfig] | tuple[RunConfig, ...]) -> Slurm:
    """``options`` with GPUs that fit the runs' device: one by default. Refused where they contradict each other."""
    device = runs[0].runtime.device
    if device == "cuda" and options.gpus is None:
        return options.model_copy(update={"gpus": 1})
    if device == "cuda" and gpu_count(options.gpus) == 0:
        raise UsageError("runtime.device is cuda, and slurm.gpus is 0")
    if device == "cpu" and gpu_count(options.gpus) > 0:
        raise UsageError(
            f"slurm.gpus is {options.gpus}, but the runs are for the CPU (runtime.device 'auto' is that where no GPU is visible, as on a "
            "login node): write runtime: {device: cuda} in the sweep file, so that every command means the same runs, or set slurm.gpus: 0"
        )
    return options


def workers_per_task(options: Slurm, runtime: Runtime, asked: int | None) -> int:
    """Runs that a job carries out side by side: ``workers_per_gpu`` on each GPU, or one per ``threads`` CPUs."""
    on_gpus = gpu_count(options.gpus) * runtime.workers_per_gpu
    return asked or on_gpus or max(1, (options.cpus or runtime.threads) // runtime.threads)


def cpus_per_task(options: Slurm, runtime: Runtime, asked: int | None) -> int:
    """CPUs that a job asks for: those of the options, else what its workers use, on a GPU more than the training thread."""
    each = max(runtime.threads, _CPUS_OF_A_GPU_WORKER) if gpu_count(options.gpus) else runtime.threads
    return options.cpus or each * workers_per_task(options, runtime, asked)
