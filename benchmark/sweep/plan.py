"""What a sweep would do: which runs are new, done, stale or failed, what they cost, and which assets are missing.

Reads files only: no torch, nothing is changed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmark import weights
from benchmark.config import RunConfig
from benchmark.plugins import method_info
from benchmark.sweep.grid import Sweep
from benchmark.sweep.state import RunFolder, clock, read_json
from datasets.arena import Decode, find
from datasets.base import DataError, open_dataset
from datasets.counts import differences


@dataclass(frozen=True)
class Planned:
    """One run of the sweep. state: one of ``state.STATES``, or ``stale``: done with other data or weights than are now prepared."""

    config: RunConfig
    folder: Path
    state: str

    @property
    def work(self) -> float:
        """Relative cost: pixels through the backbone, a backward pass counting two forwards."""
        return work(self.config)


@dataclass(frozen=True)
class Plan:
    """What :func:`make` finds.

    missing: a line per asset that is not prepared, with the command that prepares it. leftover: run folders that are none of the
    sweep's (its settings changed since). speed: seconds per unit of :func:`work`, the median over the sweep's finished runs.
    incomplete: how a data set at hand differs from a complete copy: its results compare with no others.
    """

    sweep: Sweep
    out: Path
    runs: tuple[Planned, ...]
    missing: tuple[str, ...]
    leftover: int
    speed: float | None
    incomplete: tuple[str, ...]

    @property
    def counts(self) -> Counter[str]:
        return Counter(run.state for run in self.runs)

    @property
    def todo(self) -> list[Planned]:
        return [run for run in self.runs if run.state != "done"]

    @property
    def seconds(self) -> float | None:
        """Estimated worker-seconds of what is to do; None before any run of the sweep is measured."""
        return None if self.speed is None else self.speed * sum(run.work for run in self.todo)


def make(sweep: Sweep, out: Path) -> Plan:
    """The plan of ``sweep`` in the results folder ``out``."""
    arenas = {key: _look(*key) for key in data_sets(sweep.runs)}
    missing = [*sweep.winners.missing, *(found.missing for found in arenas.values() if found.missing)]
    incomplete = [f"{use}: {line}" for (use, _), found in arenas.items() for line in found.differences]
    hashes, lines = _weights(sweep.runs)
    missing += lines
    folder = out / "runs"
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    now = clock(folder) if names else 0.0
    runs, speeds = [], []
    for config in sweep.runs:
        path, state = folder / config.run_id, "new"
        if config.run_id in names:
            run = RunFolder(path)
            state = run.state(now)
            if state == "done":
                record = read_json(run.record_path) or {}
                speeds.append(record["wall_seconds"] / work(config))
                state = _freshness(
                    record,
                    arenas[config.data.use, config.data.decode].data_hash,
                    hashes.get(config.backbone) if config.pretrained else None,
                )
        runs.append(Planned(config, path, state))
    missing += sweep.winners.made_with_others(
        (c, arenas[c.data.use, c.data.decode].data_hash, hashes.get(c.backbone) if c.pretrained else None) for c in sweep.runs
    )
    speed = median(speeds) if speeds else None
    return Plan(sweep, out, tuple(runs), tuple(missing), len(names - {config.run_id for config in sweep.runs}), speed, tuple(incomplete))


def work(config: RunConfig) -> float:
    """Relative cost of a run, linear in the pixels that pass through the backbone; also the longest-first order."""
    passes = 3 * (1 + sum(method_info(component.use).cost - 1 for component in config.components))
    training = config.training
    pixels = training.image_size**2
    linearity = 2 * config.linearity.pairs * (config.linearity.lambdas + 2)
    return pixels * (passes * training.steps * training.batch_size + linearity)


def data_sets(configs: Iterable[RunConfig]) -> list[tuple[str, Decode]]:
    """What is decoded for these runs, and how; each once."""
    return list(dict.fromkeys((config.data.use, config.data.decode) for config in configs))


def _freshness(record: Mapping[str, Any], data_hash: str | None, weights_hash: str | None) -> str:
    prepared = {"data_hash": data_hash, "weights_hash": weights_hash}
    return "stale" if any(value and record.get(key) != value for key, value in prepared.items()) else "done"


class _Found(NamedTuple):
    """A data set as it is here: hash of its arena if decoded, what is missing, how it differs from a complete copy."""

    data_hash: str | None = None
    missing: str | None = None
    differences: tuple[str, ...] = ()


def _look(use: str, decode: Decode) -> _Found:
    try:
        dataset = open_dataset(use)
    except DataError as error:
        return _Found(missing=str(error))
    arena = find(dataset, decode)
    return _Found(arena.data_hash if arena else None, None, tuple(differences(dataset)))


def _weights(configs: Iterable[RunConfig]) -> tuple[dict[str, str], list[str]]:
    hashes, missing = {}, []
    for name in dict.fromkeys(config.backbone for config in configs if config.pretrained):
        found = weights.parse(name)
        if found.prepared:
            hashes[name] = found.sha256
        else:
            missing.append(f"backbone {name} is not prepared; run: {found.prepare_command}")
    return hashes, missing
