"""The trials of a tuning sweep: ordinary runs that hold out a part of their subset and never open ``test``, and what they scored."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.config import grid
from benchmark.config.entries import parse_dataset, parse_entry
from benchmark.config.run_config import RunConfig
from benchmark.config.selection import Reference
from benchmark.config.tune_options import Settings, Tune
from benchmark.errors import UsageError
from benchmark.report.collect import Tuned
from benchmark.storage.run_folder import RunFolder
from benchmark.terminal import say

FOLDER = "tune"
"""Where the trials lie, inside the folder of the sweep's results."""
OF_THE_MACHINE = {"out_of_memory", "killed", "no_progress", "device", "disk_full", "read_only", "disk", "too_many_files"}
"""Kinds of failures (:mod:`benchmark.sweep.failures` has them all) that tell nothing of the settings of a trial."""


@dataclass(frozen=True)
class Trial:
    """One setting of one method on one data set at one fraction. runs: one per tuning seed."""

    number: int
    settings: Settings
    runs: tuple[RunConfig, ...]


@dataclass(frozen=True)
class TuningCell:
    """All trials of one method on one data set at one fraction."""

    dataset: str
    fraction: float
    method: str
    trials: tuple[Trial, ...]

    @property
    def name(self) -> str:
        return f"{self.method} on {self.dataset} at {self.fraction:g}"


@dataclass(frozen=True)
class TrialOutcome:
    """What one trial scored. score: mean validation accuracy over its runs, None where one failed (then ``failed`` says why)."""

    trial: Trial
    score: float | None
    failed: str
    records: tuple[Reference, ...]
    hashes: frozenset[tuple[str, str]]


class Unfinished(UsageError):
    """Trials are not carried out yet."""


def tuned(origin: grid.Origin) -> Tune:
    """The ``tune`` block of a sweep file; refused where there is none."""
    if origin.file.tune is None:
        raise UsageError(f"{origin.where}: tune: this key is missing: it says what to tune (sweeps/tune_quick.yaml is an example)")
    return origin.file.tune


def check_assignments(origin: grid.Origin) -> None:
    """Refuse ``key=value`` of the command line for what tuning sets itself: it would change nothing."""
    tune = tuned(origin)
    methods = [parse_entry(method, origin.where).label for method in origin.file.methods]
    keys = {key for method in methods for settings in tune.settings(method, origin.where) for key in settings} | {"data.val_fraction"}
    if both := keys & origin.assigned:
        raise UsageError(f"{origin.where}: {min(both)}: tuning sets it; change the 'tune' block of the file instead")


def of_trials(origin: grid.Origin) -> grid.Origin:
    """The same sweep, in which ``auto`` means what it meant when its first trials were made, on whatever machine."""
    return replace(origin, part=FOLDER)


def cells(origin: grid.Origin) -> list[TuningCell]:
    """Every cell with its trials."""
    tune, origin = tuned(origin), of_trials(origin)
    found = []
    for dataset in origin.file.datasets:
        for fraction in origin.file.fractions:
            for method in origin.file.methods:
                label = parse_entry(method, origin.where).label
                settings = tune.settings(label, origin.where)
                trials = tuple(Trial(n, each, _runs(origin, dataset, fraction, method, each)) for n, each in enumerate(settings))
                found.append(TuningCell(parse_dataset(dataset, origin.where)[0], fraction, label, trials))
    return found


def _runs(
    origin: grid.Origin, dataset: str | Mapping[str, Any], fraction: float, method: str | Mapping[str, Any], settings: Settings
) -> tuple[RunConfig, ...]:
    """The runs of one trial: the sweep's own, but for its seeds, what is held out, and what is evaluated."""
    file, tune = origin.file, tuned(origin)
    never = {"evaluation.test": False, "evaluation.snapshots": 0, "linearity.pairs": 0, "data.also_test": None}
    alone = {
        "datasets": [dataset],
        "fractions": [fraction],
        "methods": [method],
        "baseline": parse_entry(method, origin.where).label,
        "seeds": tune.seeds,
        "overrides": [each.model_copy(update={"optional": True}) for each in (*file.overrides, *origin.extra)],
        "tune": None,
        "selection": None,
    }
    shorter = grid.Override(set={**({"training.steps": tune.steps} if tune.steps else {}), **never})
    trial = grid.Override(set={**settings, "data.val_fraction": tune.val_fraction})
    return grid.expand(file.model_copy(update=alone), [shorter], origin.where, origin.auto, trial).runs


def states(cell: TuningCell, folder: Path) -> dict[str, str]:
    """run id -> state of those runs of a cell that are neither done nor failed by what they were asked to do."""
    found = {config.run_id: _state(RunFolder(folder / "runs" / config.run_id)) for trial in cell.trials for config in trial.runs}
    return {run_id: state for run_id, state in found.items() if state not in ("done", "failed")}


def _state(run: RunFolder) -> str:
    state = run.state()
    if state != "failed" or (failure := run.failure()).get("kind") not in OF_THE_MACHINE:
        return state
    return f"failed by its machine, not by its settings: {failure['reason'].strip().splitlines()[0]}"


def outcomes(cell: TuningCell, folder: Path) -> list[TrialOutcome]:
    """What every trial of a cell scored, from its records; :class:`Unfinished` names what is not carried out yet.

    A failed run (a rate at which training diverges, say) fails its trial, which stays in the budget. One that its machine failed (no memory
    or no disk left, killed) says nothing of its settings, and is not carried out yet.
    """
    if waiting := states(cell, folder):
        first = next(iter(waiting.items()))
        raise Unfinished(f"{cell.name}: {len(waiting)} tuning runs are not finished (among them {first[0]}: {first[1]})")
    found = [_outcome(trial, folder) for trial in cell.trials]
    if len({pair for outcome in found for pair in outcome.hashes}) > 1:
        raise UsageError(f"{cell.name}: its tuning runs were made with different data or weights; run 'smilebench tune' again")
    return found


def _outcome(trial: Trial, folder: Path) -> TrialOutcome:
    records, hashes, failed = [], set(), []
    for config in trial.runs:
        run = RunFolder(folder / "runs" / config.run_id)
        if not run.record_path.exists():
            failed.append(f"seed {config.seed}: {run.failure().get('reason', 'failed')}")
            continue
        content = run.record_path.read_bytes()
        record = _checked(content, config, run.record_path)
        sha = hashlib.sha256(content).hexdigest()
        records.append(
            Reference(
                run_id=config.run_id,
                trial=trial.number,
                seed=config.seed,
                config_hash=config.config_hash,
                sha256=sha,
                val_accuracy=record["val_accuracy"],
            )
        )
        hashes.add((record["data_hash"], record["weights_hash"] if config.pretrained else "random"))
    score = sum(record.val_accuracy for record in records) / len(records) if records and not failed else None
    return TrialOutcome(trial, score, "; ".join(failed), tuple(records), frozenset(hashes))


def _checked(content: bytes, config: RunConfig, path: Path) -> dict[str, Any]:
    """The record of a tuning run; one that was scored on ``test``, or is of other settings, is refused."""
    try:
        record = json.loads(content)
        val, hashes = record["val_accuracy"], (record["data_hash"], record["weights_hash"])
        belongs = (record["run_id"], record["config_hash"]) == (config.run_id, config.config_hash)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path}: not a whole record ({type(error).__name__}: {error}); remove it and run 'smilebench tune' again"
        ) from error
    number = isinstance(val, int | float) and not isinstance(val, bool) and 0 <= val <= 1  # which NaN is not
    if not belongs or not all(isinstance(h, str) for h in hashes) or not number:
        raise UsageError(f"{path}: not the record of this tuning run; remove it and run 'smilebench tune' again")
    if record.get("test_accuracy") is not None:
        raise UsageError(f"{path}: it was scored on test, so nothing may be chosen by it")
    return record


def runs_of(found: Sequence[TuningCell]) -> Iterator[RunConfig]:
    """Every run of the cells."""
    return (config for cell in found for trial in cell.trials for config in trial.runs)


def curves(origin: grid.Origin | None, out: Path, console: Console) -> tuple[Tuned, ...]:
    """The scores of every cell that is finished, for the budget curves; a failed trial scores 0. None where nothing was tuned.

    A cell with a record that cannot be used has none, and ``console`` says why.
    """
    folder = out / FOLDER
    if origin is None or origin.file.tune is None or not (folder / "runs").is_dir():
        return ()
    done = []
    try:
        searched = cells(origin)
    except UsageError as error:  # what the trials are is not to be told: an override of what was tuned, without its selection
        say(console, f"no budget curves: {error}", "yellow")
        return ()
    for cell in searched:
        try:
            scores = tuple(outcome.score or 0.0 for outcome in outcomes(cell, folder))
        except Unfinished:
            continue
        except UsageError as error:
            say(console, f"no budget curve of {cell.name}: {error}", "yellow")
            continue
        if scores:
            done.append(Tuned(cell.dataset, cell.fraction, cell.method, scores, len(cell.trials[0].runs)))
    return tuple(done)
