"""What runs will take, from finished runs like them.

A run's time is a fixed part (set-up passes, evaluation, linearity) and one part per step. Steps of a method that nothing was measured of
are scaled from those of others by pixels and by the passes through the backbone that the method declares.
"""

import os
import random
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmark.config.method_options import composition_cost, method_info
from benchmark.config.run_config import RunConfig, load_run
from benchmark.storage.run_folder import RunFolder

_FOLDERS = 20
"""Run folders whose size is looked up, and runs that are read of another sweep."""


class Sample(NamedTuple):
    """A finished run. step: seconds of one, unit: its relative cost. fixed: seconds of all else. memory: peak, bytes, or None."""

    method: tuple[str, ...]
    dataset: str
    unit: float
    step: float
    fixed: float
    memory: int | None
    folder: Path


@dataclass(frozen=True)
class Estimate:
    """samples: what it is based on. basis: the same in words. disk: bytes that one run leaves. own: by runs of the sweep itself."""

    samples: Sequence[Sample] = ()
    basis: str = ""
    disk: int | None = None
    own: bool = False

    def seconds(self, runs: Sequence[RunConfig]) -> list[float | None]:
        """Worker-seconds of each run, by the medians of the samples nearest to it: same method and data set, same method, any."""
        if not self.samples:
            return [None] * len(runs)
        near: dict[tuple, list[Sample]] = defaultdict(list)
        for sample in self.samples:
            for key in ((sample.method, sample.dataset), (sample.method,), ()):
                near[key].append(sample)
        rates = {key: (median(s.step / s.unit for s in found), median(s.fixed for s in found)) for key, found in near.items()}
        seconds: list[float | None] = []
        for run in runs:
            method = run.uses
            rate, fixed = next(rates[key] for key in ((method, run.dataset), (method,), ()) if key in rates)
            seconds.append(run.training.steps * step_work(run) * rate + fixed)
        return seconds

    def unmeasured(self, runs: Sequence[RunConfig]) -> list[str]:
        """Labels of the methods whose cost is scaled from that of others."""
        known = {sample.method for sample in self.samples}
        return list(dict.fromkeys(run.method for run in runs if run.uses not in known)) if known else []

    def memory(self) -> int | None:
        """The highest peak of a worker, in bytes; None where it was not measured."""
        return max((sample.memory for sample in self.samples if sample.memory), default=None)


def by(samples: Sequence[Sample], basis: str, own: bool = False) -> Estimate:
    """The estimate by ``samples``, of which some folders are measured; none without samples."""
    if not samples:
        return Estimate()
    sizes = [folder_size(sample.folder) for sample in samples[:: max(1, len(samples) // _FOLDERS)]]
    return Estimate(samples, basis, round(median(sizes)), own)


def sample(config: RunConfig, record: Mapping[str, Any], folder: Path) -> Sample | None:
    """What a record tells of the cost; None where fields are missing or say nothing."""
    try:
        step = record["batch_size"] / record["images_per_second"]
        fixed = max(0.0, record["wall_seconds"] - record["steps"] * step)
        return Sample(config.uses, config.dataset, step_work(config), step, fixed, record["peak_memory_bytes"], folder)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None


def elsewhere(out: Path, runs: Sequence[RunConfig]) -> Estimate:
    """From runs with the same backbone, numerics, kind of device, threads, crop and batch size: those of earlier settings in ``out``, else
    those of the sweeps beside it.
    """
    wanted = {_hardware(run) for run in runs}
    samples: list[Sample] = []
    names: list[str] = []
    for folder in sorted(out.parent.glob("*/runs"), key=lambda folder: (folder.parent != out, folder)):
        if samples and names == [out.name]:
            break
        found = [each for each in (_read(path, wanted) for path in _some(folder)) if each is not None]
        samples += found
        names += [folder.parent.name] if found else []
    return by(samples, f"{len(samples)} runs of {', '.join(names)} with the same backbone and kind of device")


def step_work(config: RunConfig) -> float:
    """Relative cost of a step: pixels through the backbone, a backward pass counting two forwards."""
    passes = 3 * composition_cost([method_info(component.use) for component in config.components])
    return passes * config.training.batch_size * config.training.image_size**2


def work(config: RunConfig) -> float:
    """Relative cost of a run before anything is measured; also the longest-first order."""
    linearity = 2 * config.linearity.pairs * (config.linearity.lambdas + 2)
    return step_work(config) * config.training.steps + linearity * config.training.image_size**2


def folder_size(folder: Path) -> int:
    """Bytes on disk of all files below ``folder``."""
    return sum(_disk_bytes(os.path.join(where, name)) for where, _, names in os.walk(folder) for name in names)


def _disk_bytes(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:  # removed meanwhile
        return 0


def _hardware(config: RunConfig) -> tuple:
    training, runtime = config.training, config.runtime
    threads = runtime.threads if runtime.device == "cpu" else None
    return config.weights_id, config.precision, config.compile, runtime.device, threads, training.image_size, training.batch_size


def _some(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:  # removed meanwhile, or no folder
        return []
    return [folder / name for name in random.Random(0).sample(names, min(len(names), _FOLDERS))]


def _read(folder: Path, wanted: Container[tuple]) -> Sample | None:
    """The sample of a run folder, where it is of ``wanted`` hardware; None for any that cannot be read.

    It may be of another version, its method's code may be gone, its files damaged or being removed: an estimate does without it.
    """
    try:
        record, config = RunFolder(folder).record(), load_run(RunFolder(folder).config_path)
        return None if record is None or _hardware(config) not in wanted else sample(config, record, folder)
    except Exception:
        return None
