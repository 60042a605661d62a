"""What a sweep would do: which runs are new, done, stale or failed, what they cost, and which assets are missing.

Reads files only: no torch, nothing is changed.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.config import weights
from benchmark.config.grid import Sweep
from benchmark.config.method_options import method_info
from benchmark.config.run_config import LEGACY, RunConfig
from benchmark.errors import UsageError
from benchmark.storage import yamlio
from benchmark.storage.run_folder import RunFolder, clock
from benchmark.sweep import cost
from benchmark.sweep.cost import Estimate, Sample, work
from benchmark.sweep.progress import duration, size
from datasets.arena import Decode, find
from datasets.base import DataError, Use, open_dataset
from datasets.classes import places
from datasets.counts import differences
from datasets.subsets import subset_listed


@dataclass(frozen=True)
class Planned:
    """One run of the sweep.

    state: one of :data:`benchmark.storage.run_folder.STATES`, or ``stale``: done with other settings, data or weights than those of
    now. why: what has changed, or why it failed. seconds: what it is expected to take one worker; None before anything like it is measured.
    recorded_at: of the record that was looked at, see :meth:`RunFolder.recorded_at`.
    """

    config: RunConfig
    folder: Path
    state: str
    why: str = ""
    seconds: float | None = None
    recorded_at: int | None = None

    @property
    def work(self) -> float:
        """Relative cost, see :func:`benchmark.sweep.cost.work`."""
        return work(self.config)


@dataclass(frozen=True)
class Plan:
    """What :func:`make` finds.

    missing: a line per asset that is not prepared, with the command that prepares it. present: a line per asset that is there. leftover:
    run folders that are none of the sweep's (its settings changed since). estimate: what the cost is based on. incomplete: how a data set
    at hand differs from a complete copy: its results compare with no others.
    """

    sweep: Sweep
    out: Path
    runs: tuple[Planned, ...]
    missing: tuple[str, ...]
    present: tuple[str, ...]
    leftover: int
    estimate: Estimate
    incomplete: tuple[str, ...]

    @property
    def counts(self) -> Counter[str]:
        return Counter(run.state for run in self.runs)

    @property
    def todo(self) -> list[Planned]:
        return [run for run in self.runs if run.state != "done"]

    @property
    def seconds(self) -> float | None:
        """Estimated worker-seconds of what is to do; None before anything like it is measured."""
        return sum(run.seconds for run in self.todo if run.seconds is not None) if self.estimate.samples else None

    def alike(self) -> list[str]:
        """A line per set of entries of ``methods`` that come to the same: a run's identity leaves out what its entry is called."""
        labels: dict[tuple[str, str], dict[str, None]] = {}
        for run in self.runs:
            labels.setdefault(run.config.canonical, {})[run.config.method] = None
        found = Counter(tuple(each) for each in labels.values() if len(each) > 1)
        lines = []
        for names, count in found.items():
            of = sum(names[0] in each for each in labels.values())
            where = "" if count == of else f" in {count} of {of} cells"
            shown = f"{', '.join(names[:-1])} and {names[-1]}"
            lines.append(f"methods: {shown} come to the same{where}: same components, options and settings, under {len(names)} names")
        return lines

    def idle(self) -> list[str]:
        """A line per option that cannot act in as many steps as its runs have."""
        lines: dict[str, None] = {}
        for config in (run.config for run in self.runs):
            steps = config.training.steps
            for component in config.components:
                for key in method_info(component.use).declarations["every"]:
                    if component.options[key] >= steps:
                        lines[f"{key}: {component.options[key]} of {config.method} never acts in {steps} steps"] = None
                off = component.options.get("off_last", 0.0)
                if off > 0 and round(off * steps) == 0:
                    lines[f"off_last: {off:g} of {config.method} is not one step of {steps}"] = None
        return [f"methods: {line}" for line in lines]

    def reasons(self, state: str) -> list[tuple[str, int]]:
        """Why runs are ``stale`` or ``failed``, with their number, the most frequent first; reasons that differ in numbers are one."""
        chosen = [run.why for run in self.runs if run.state == state]
        alike = [re.sub(r"\d+", "0", why) if state == "failed" else why for why in chosen]
        example = dict(zip(reversed(alike), reversed(chosen), strict=True))
        return [(example[key], count) for key, count in Counter(alike).most_common()]


def make(sweep: Sweep, out: Path) -> Plan:
    """The plan of ``sweep`` in the results folder ``out``."""
    arenas = {key: _look(*key) for key in data_sets(sweep.runs)}
    _check_classes(sweep.runs, arenas)
    _check_subsets(sweep.runs, {key: found.train for key, found in arenas.items()})
    _check_lists(config for config in sweep.runs if not arenas[config.data.source, config.data.decode].missing)
    hashes, lines = _weights(sweep.runs)
    missing = [*sweep.winners.missing, *(found.missing for found in arenas.values() if found.missing), *lines]
    present = [f"{use} ({'decoded' if found.data_hash else 'is decoded first'})" for (use, _), found in arenas.items() if not found.missing]
    incomplete = [f"{use}: {line}" for (use, _), found in arenas.items() for line in found.differences]
    folder = out / "runs"
    names = set(_run_folders(folder))
    left = names - {config.run_id for config in sweep.runs}
    before = Earlier(folder, left)
    now = clock(folder) if names else 0.0
    runs: list[Planned] = []
    samples: list[Sample | None] = []
    for config in sweep.runs:
        run = RunFolder(folder / config.run_id)
        state, why = (run.state(now) if config.run_id in names else "new"), ""
        recorded_at = None
        if state == "done":
            recorded_at = run.recorded_at()
            record = run.record()
            samples.append(cost.sample(config, record or {}, run.path))
            arena = arenas[config.data.source, config.data.decode]
            also = config.data.also_test
            second = {} if also is None else {also.name: arenas[also.source, config.data.decode]}
            why = _freshness(record, arena, second, hashes.get(config.backbone) if config.pretrained else None)
        elif state == "failed":
            why = run.failure().get("reason", "failed").strip().splitlines()[0]
        elif state == "new":
            why = before.change(config)
        runs.append(Planned(config, run.path, "stale" if why and state != "failed" else state, why, recorded_at=recorded_at))
    missing += sweep.winners.made_with_others(
        (c, arenas[c.data.source, c.data.decode].data_hash, hashes.get(c.backbone) if c.pretrained else None) for c in sweep.runs
    )
    plan = Plan(sweep, out, tuple(runs), tuple(missing), (*present, *hashes), len(left), Estimate(), tuple(incomplete))
    measured = [each for each in samples if each is not None]
    own = cost.by(measured, f"{len(measured)} finished runs of this sweep", own=True)
    return with_estimate(plan, own if measured else cost.elsewhere(out, sweep.runs))


def with_estimate(plan: Plan, found: Estimate) -> Plan:
    """``plan`` with the cost that ``found`` makes of its runs."""
    seconds = found.seconds([run.config for run in plan.runs])
    runs = tuple(replace(run, seconds=each) for run, each in zip(plan.runs, seconds, strict=True))
    return replace(plan, runs=runs, estimate=found)


def data_sets(configs: Iterable[RunConfig]) -> list[tuple[Use, Decode]]:
    """What is decoded for these runs, and how; each once."""
    found: dict[tuple[Use, Decode], None] = {}
    for config in configs:
        data = config.data
        found[data.source, data.decode] = None
        if data.also_test is not None:
            found[data.also_test.source, data.decode] = None
    return list(found)


def summary(plan: Plan) -> str:
    """Counts by state and the estimated cost, in one line."""
    counts = ", ".join(f"{n} {state}" for state, n in sorted(plan.counts.items()))
    return f"{len(plan.runs)} runs: {counts}; to do: {len(plan.todo)}" + (f", {cost_words(plan)}" if plan.todo else "")


def cost_words(plan: Plan) -> str:
    """What the runs to do are expected to take, and what that is based on."""
    found, runtime = plan.estimate, plan.sweep.runs[0].runtime
    if plan.seconds is None:
        return "cost unknown until a first run is measured (plan --probe measures a few steps)"
    if runtime.device == "cuda":
        unit, hours = "GPU", plan.seconds / 3600 / runtime.workers_per_gpu
    else:
        unit, hours = "CPU", plan.seconds / 3600 * runtime.threads
    parts = [f"about {duration(plan.seconds)} of one worker ({hours:.2g} {unit}-hours)"]
    if found.disk is not None:
        parts.append(f"{size(len(plan.todo) * found.disk)} of disk")
    if (memory := found.memory()) is not None:
        parts.append(f"up to {size(memory)} of memory a worker")
    scaled = found.unmeasured([run.config for run in plan.todo])
    by = f"by {found.basis}" + (f", scaled for {', '.join(scaled)}" if scaled else "")
    return ", ".join([*parts, by])


def _run_folders(folder: Path) -> Iterator[str]:
    """Names of the folders in ``runs/``; files and hidden names are of processes that died, or of a file manager."""
    try:
        yield from (entry.name for entry in os.scandir(folder) if not entry.name.startswith(".") and entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return


class _Found(NamedTuple):
    """A data set as it is here: hashes of its arena if decoded, what is missing, how it differs from a complete copy; training images of
    each class; names of the classes."""

    data_hash: str | None = None
    pixels_hash: str | None = None
    missing: str | None = None
    differences: tuple[str, ...] = ()
    train: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()


def _look(use: Use, decode: Decode) -> _Found:
    try:
        dataset = open_dataset(use)
    except DataError as error:
        return _Found(missing=str(error))
    arena = find(dataset, decode)
    train = Counter(item.label for item in dataset.splits.get("train", ()))
    found = _Found(differences=tuple(differences(dataset)), train=tuple(train.values()), classes=dataset.classes)
    return found if arena is None else found._replace(data_hash=arena.data_hash, pixels_hash=arena.pixels_hash)


def _freshness(record: Mapping[str, Any] | None, data: _Found, second: Mapping[str, _Found], weights_hash: str | None) -> str:
    """What a finished run was made with that is prepared otherwise now; of its pixels, older records say nothing.

    second: its second test set, by name.
    """
    if record is None:
        return "record.json is damaged"
    differing = _differing(record, data)
    for name, found in second.items():
        made_with = record.get("also_test") or {}
        differing += [f"{what} of '{name}'" for what in _differing(made_with.get(name) or {}, found)]
    if weights_hash and record.get("weights_hash") != weights_hash:
        differing.append("weights")
    return f"other {' and '.join(differing)} than are prepared now" if differing else ""


def _differing(made_with: Mapping[str, Any], data: _Found) -> list[str]:
    """``data``, or ``pixels`` alone, where the hashes of ``made_with`` are others than those of now."""
    if data.data_hash and made_with.get("data_hash") != data.data_hash:
        return ["data"]
    decoded = made_with.get("pixels_hash")
    other = data.pixels_hash and decoded and decoded != data.pixels_hash
    return ["pixels (of the same files, by another version of the decoder)"] if other else []


def _check_classes(configs: Iterable[RunConfig], found: Mapping[tuple[Use, Decode], _Found]) -> None:
    """DataError where a second test set has other classes than the training images."""
    for source, also, decode in dict.fromkeys((c.data.source, c.data.also_test, c.data.decode) for c in configs):
        if also is not None and not (found[source, decode].missing or found[also.source, decode].missing):
            places(found[source, decode].classes, found[also.source, decode].classes, f"data.also_test: '{also.use}'")


def _check_subsets(configs: Iterable[RunConfig], train: Mapping[tuple[Use, Decode], Sequence[int]]) -> None:
    """Refuse a fraction that leaves nothing to train on, or no class with an image to hold out."""
    for use, decode, fraction, held_out, sampling in dict.fromkeys(
        (c.data.source, c.data.decode, c.fraction, c.data.val_fraction, c.data.sampling) for c in configs if c.data.train_list is None
    ):
        share, counts = Fraction(str(fraction)), train[use, decode]
        of_each = [math.ceil(share * count) for count in counts]
        if counts and sum(of_each) < 2:
            raise UsageError(f"{use} at fraction {fraction:g}: {sum(of_each)} training images are too few: choose a larger fraction")
        if counts and held_out and sampling == "stratified" and max(of_each) < 2:
            raise UsageError(
                f"{use} at fraction {fraction:g}: no class has two training images, so none can be held out (val_fraction {held_out:g}): "
                "choose a larger fraction"
            )


def _check_lists(configs: Iterable[RunConfig]) -> None:
    """DataError where a list of training images does not fit its data set."""
    for source, file in dict.fromkeys((config.data.source, config.data.train_list) for config in configs):
        if file is not None:
            dataset = open_dataset(source)
            items = dataset.splits["train"]
            subset_listed([item.key for item in items], [item.label for item in items], dataset.classes, Path(file))


def _weights(configs: Iterable[RunConfig]) -> tuple[dict[str, str], list[str]]:
    hashes, missing = {}, []
    for name in dict.fromkeys(config.backbone for config in configs if config.pretrained):
        found = weights.parse(name)
        if found.prepared:
            hashes[name] = found.sha256
        else:
            missing.append(f"backbone {name} is not prepared; run: {found.prepare_command}")
    return hashes, missing


_LABELS = {"sweep", "method", "protocol", "backbone", "data.use", "data.also_test.use"}
"""Keys that are no part of a run's identity."""


class Earlier:
    """Run folders of other settings than the sweep's, by what their names say: data set, fraction, method and seed."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._found: dict[str, list[RunFolder]] = {}
        for name in names:
            self._found.setdefault(cell_of(name), []).append(RunFolder(folder / name))
        self._known: dict[tuple, str] = {}

    def change(self, config: RunConfig) -> str:
        """The settings in which ``config`` differs from the run of its cell and seed finished last; empty when none is finished."""
        finished = [run for run in self._found.get(cell_of(config.run_id), ()) if run.record_path.exists()]
        if not finished:
            return ""
        last = max(finished, key=lambda run: run.recorded_at() or 0)
        text = last.config_path.read_text("utf-8", errors="replace") if last.config_path.exists() else ""
        key = (re.sub(r"^seed: .*\n", "", text, flags=re.M), config.canonical)  # the seed is the same
        if key not in self._known:
            self._known[key] = _difference(key[0], config)
        return self._known[key]


def cell_of(run_id: str) -> str:
    """What a run id says of data set, fraction, method and seed: all but its hash."""
    return run_id.rpartition("-")[0]


def _difference(text: str, config: RunConfig) -> str:
    now = dict(_flat(config.model_dump(mode="json", exclude={"seed"})))
    try:
        before = dict(_flat(yamlio.parse(text, "config.yaml")))
    except (UsageError, AttributeError, KeyError, TypeError):
        return "settings of another version"
    keys = [key for key in {**before, **now} if before.get(key, LEGACY.get(key)) != now.get(key, LEGACY.get(key))]
    return ", ".join(f"{key} {_word(before, key)} -> {_word(now, key)}" for key in keys) or "another version of the training code"


def _word(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "(absent)")
    return "null" if value is None else str(value)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        key = f"{prefix}{name}"
        if key in _LABELS or key == "runtime":
            continue
        if key == "components":
            for component in value:
                yield f"{component['name']}.version", component["version"]
                yield from _flat(component["options"], f"{component['name']}.")
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        else:
            yield key, value
