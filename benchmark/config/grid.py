"""A sweep file, and the runs it stands for: lists are a cross product, overrides change the cells they match."""

import functools
import itertools
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from benchmark.config import claim_file, kept_auto, weights
from benchmark.config.entries import Entry, WrittenComponent, in_folders, parse_dataset, parse_entry, unique
from benchmark.config.kept_auto import NOTHING_KEPT, KeptAuto
from benchmark.config.method_options import check_composition, method_info
from benchmark.config.run_config import (
    PROTOCOLS,
    Data,
    Evaluation,
    Linearity,
    RunConfig,
    Runtime,
    Training,
    check_together,
    resize_for,
    validate,
    with_defaults,
)
from benchmark.config.selection import NOTHING_CHOSEN, Winners, winners_in
from benchmark.config.slurm_options import Slurm
from benchmark.config.sweep_file import Override, SweepFile
from benchmark.devices import Settings, resolve_auto, visible_gpus
from benchmark.errors import UsageError, unknown
from benchmark.report.collect import StatedClaim
from benchmark.storage import yamlio
from datasets.base import cache_root

MOST_RUNS = 1_000_000
SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
_SECTIONS: dict[str, type[BaseModel]] = {
    "training": Training,
    "linearity": Linearity,
    "data": Data,
    "evaluation": Evaluation,
    "runtime": Runtime,
}
_WRITTEN = (*_SECTIONS, "slurm", "tune")
"""The mappings of a sweep file in which the command line sets single keys."""
_SCALARS = ("precision", "compile", "fold_bn", "pretrained")
_AXES = ("methods", "datasets", "fractions", "seeds")
_MATCHES = ("method", "label", "dataset", "fraction", "seed")
_OF_A_SWEEP = ("runtime.device", "runtime.threads", "runtime.workers_per_gpu")
"""What all runs of a sweep share: its workers are started once."""
_OF_A_COMPARISON = (
    *(f"data.{key}" for key in ("split", "test_from", "test_images", "also_test")),
    *("linearity.pairs", "linearity.lambdas", "evaluation.test"),
)
"""What all runs of a data set and fraction share: on other test images or pairs their differences would not be paired."""


@dataclass(frozen=True)
class Origin:
    """Where a sweep comes from. name: the file as it was named, or '' for a single run of the command line. assignments: ``key=value``, as
    given. file: the keys with the assignments applied; extra: those to options of components. raw: the mapping that ``file`` was read from.
    where: for messages. out: the results folder that was asked for, None for the usual one. claims_in: what messages call the file of the
    claims, ``where`` unless they were included. part: the folder in that of the results whose runs are meant, '' for the sweep's own.
    """

    name: str
    assignments: tuple[str, ...]
    file: SweepFile
    extra: tuple[Override, ...]
    raw: Mapping[str, Any]
    where: str
    out: Path | None = None
    claims_in: str = ""
    part: str = ""

    @property
    def assigned(self) -> set[str]:
        """The keys that the assignments set."""
        return {assignment.partition("=")[0] for assignment in self.assignments}

    @property
    def crossed(self) -> bool:
        """Whether the assignments change what is crossed: parts of the file may then have nothing left to be about."""
        return not self.assigned.isdisjoint(_AXES)

    @property
    def shown(self) -> str:
        """The file as people write it."""
        if not self.name:
            return "command line"
        path = find(self.name).resolve()
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

    @property
    def text(self) -> str:
        """The file with the command line's changes, as YAML."""
        return yamlio.dump(dict(self.raw))

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.out or Path("results") / self.file.name

    @functools.cached_property
    def auto(self) -> KeptAuto:
        """What ``auto`` meant when the sweep's first runs were made, on whatever machine."""
        if not self.name:
            return KeptAuto()
        whole = kept_auto.read(self.folder)
        return kept_auto.over(kept_auto.read(self.folder / self.part), whole) if self.part else whole

    def claims(self, methods: Sequence[str], runs: Sequence[RunConfig]) -> tuple[StatedClaim, ...]:
        """What the file states of its ``methods``, bound to the ``runs`` that are to tell."""
        assert not isinstance(self.file.claims, str)
        found = claim_file.parse(self.file.claims, methods, self.claims_in or self.where, relaxed=self.crossed)
        return claim_file.bound(found, runs) if found else ()

    def about_auto(self) -> str:
        """What to say where this machine has other devices than the one on which the sweep began; else ''."""
        here = "cuda" if visible_gpus() else "cpu"
        meant = self.auto.device
        if meant in (None, here) or self.file.runtime.get("device", "auto") != "auto":
            return ""
        return f"runtime.device auto means {meant} here, as when this sweep began (runtime.device={here} makes runs of their own)"

    def keep_auto(self, runs: Sequence[RunConfig], out: Path) -> None:
        """Keep with the results in ``out`` what ``auto`` means, where the file says it."""
        if self.name:
            device = runs[0].runtime.device if self.file.runtime.get("device", "auto") == "auto" else None
            asked = "auto" in (self.file.precision, self.file.compile, self.file.fold_bn)
            kept_auto.keep(out, self.auto, device, {run.runtime.device for run in runs} if asked else ())

    def command(self, verb: str = "sweep", *more: str) -> str:
        """A line for a shell that calls ``verb`` for this sweep and its results folder; ``train`` where there is no file."""
        out = [] if self.out is None else ["--out", str(self.out)]
        what = [verb, self.name] if self.name else ["train"]
        return shlex.join(["smilebench", *what, *self.assignments, *out, *more])


@dataclass(frozen=True)
class Sweep:
    """A resolved sweep. runs: in grid order. methods: labels in the order of the file.

    selection: how settings were chosen, in words; '' where none were. winners: those it takes. origin: None for a made-up one.
    give_up_after, slurm, columns: as in the file. settings: what ``auto`` came to, each that occurs once. claims: what the file states,
    without the time.
    """

    name: str
    baseline: str
    protocol: str
    methods: tuple[str, ...]
    runs: tuple[RunConfig, ...]
    selection: str = ""
    winners: Winners = NOTHING_CHOSEN
    origin: Origin | None = None
    give_up_after: int | None = None
    slurm: Slurm = field(default_factory=Slurm)
    settings: tuple[Settings, ...] = ()
    claims: tuple[StatedClaim, ...] = ()
    columns: tuple[str, ...] = ()


def load(name: str, assignments: Sequence[str] = (), out: Path | None = None, auto: KeptAuto | None = None) -> Sweep:
    """The sweep in file ``name`` (a path, or a name under ``sweeps/``) with ``key=value`` assignments applied.

    auto: what ``auto`` means; None: what is kept in the results folder.
    """
    origin = read(name, assignments, out)
    sweep = expand(origin.file, origin.extra, origin.where, origin.auto if auto is None else auto)
    if fixed := sweep.winners.keys & origin.assigned:
        raise UsageError(f"{origin.where}: {', '.join(sorted(fixed))}: {_BY_SELECTION}")
    return replace(sweep, origin=origin, claims=origin.claims(sweep.methods, sweep.runs))


def read(name: str, assignments: Sequence[str] = (), out: Path | None = None) -> Origin:
    """The file of a sweep. When the assignments change what is crossed, its overrides need not hit a run any more."""
    path = find(name)
    raw = yamlio.read_mapping(path)
    extra = [_assign(raw, assignment) for assignment in assignments]
    where = str(path) if not assignments else f"{path} with {' '.join(assignments)}"
    file = validate(SweepFile, raw, where)
    claims_in = ""
    if isinstance(file.claims, str):
        raw["claims"], claims_in = claim_file.included(file.claims, path.parent, SWEEPS, where)
        file = file.model_copy(update={"claims": raw["claims"]})
    origin = Origin(name, tuple(assignments), file, tuple(override for override in extra if override), raw, where, out, claims_in)
    if origin.crossed:
        relaxed = [override.model_copy(update={"optional": True}) for override in file.overrides]
        origin = replace(origin, file=file.model_copy(update={"overrides": relaxed}))
    if file.tune is not None:
        file.tune.check([parse_entry(item, where).label for item in file.methods], where, origin.crossed)
    return origin


def built_in() -> list[Path]:
    """The sweep files of the project."""
    return sorted(path for path in SWEEPS.glob("*.yaml") if not path.name.startswith(claim_file.PREFIX))


def find(name: str) -> Path:
    """The file of a sweep given as a path or as the name of a built-in one."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else SWEEPS / f"{name}.yaml"
    if not path.is_file() or (path.parent == SWEEPS and path not in built_in()):
        raise UsageError(unknown("sweep", name, [p.stem for p in built_in()]) + ", or a path to a .yaml file")
    return path


_BY_SELECTION = "this sweep's selection sets it; leave it, or the selection (selection=null)"


def expand(file: SweepFile, extra: Sequence[Override], where: str, auto: KeptAuto = NOTHING_KEPT, trial: Override | None = None) -> Sweep:
    """The cross product of the file's lists, overrides applied in order (those of the command line last). auto: what it meant before.

    trial: what a tuning trial tries. It comes last, as the winners of a selection do, and no override may set what they set.
    """
    entries = [parse_entry(item, f"{where}: methods.{i}") for i, item in enumerate(file.methods)]
    unique([entry.label for entry in entries], f"{where}: methods")
    labels = tuple(entry.label for entry in entries)
    if file.baseline not in labels:
        raise UsageError(f"{where}: baseline: " + unknown("method of this sweep", file.baseline, labels))
    if file.protocol not in PROTOCOLS:
        raise UsageError(f"{where}: protocol: " + unknown("protocol", file.protocol, PROTOCOLS))
    sets = [parse_dataset(item, f"{where}: datasets.{i}") for i, item in enumerate(file.datasets)]
    unique([name for name, _ in sets], f"{where}: datasets")
    seeds = list(range(file.seeds)) if isinstance(file.seeds, int) else file.seeds
    unique(list(map(str, seeds)), f"{where}: seeds")
    unique([f"{fraction:g}" for fraction in file.fractions], f"{where}: fractions")
    for kind, names in (("methods", labels), ("datasets", [name for name, _ in sets])):
        _apart(names, f"{where}: {kind}")
    if (count := len(sets) * len(file.fractions) * len(entries) * len(seeds)) > MOST_RUNS:
        raise UsageError(f"{where}: {count} runs are more than the {MOST_RUNS} that a sweep may have: fewer seeds, or several sweeps")
    winners = winners_in(file.selection, file.tune is not None, where)
    frozen = [Override(match=cell, set=settings, optional=True) for cell, settings in winners.overrides]
    overrides = [*file.overrides, *extra, *frozen, *([trial] if trial else [])]
    free = len(overrides) - len(frozen) - (trial is not None)
    settled: dict[tuple[Any, ...], Settings] = {}

    def settle(device: str, precision: str, compile: str, fold_bn: str, steps: int) -> Settings:
        device = auto.device or device if device == "auto" else device
        key = (device, precision, compile, fold_bn, steps)
        if key not in settled:
            settled[key] = resolve_auto(device, precision, compile, fold_bn, steps, cache_root(), auto.numerics)
        return settled[key]

    hits: set[int] = set()
    runs = []
    agreed: dict[tuple[Any, ...], tuple[str, Any]] = {}
    for dataset, fraction, entry in itertools.product(sets, file.fractions, entries):
        resolved: dict[tuple[int, ...], RunConfig] = {}  # seeds that the same overrides hit share all else
        for seed in seeds:
            cell = {"method": entry.label, "dataset": dataset[0], "fraction": fraction, "seed": seed}
            chosen = tuple(n for n, override in enumerate(overrides) if _matches(override, cell, entry, where))
            if chosen not in resolved:
                hits.update(chosen)
                hit = [overrides[n] for n in chosen]
                last = sum(n >= free for n in chosen)
                _nothing_overruled(hit[: len(hit) - last], hit[len(hit) - last :], cell, trial, where)
                resolved[chosen] = _resolve(file, cell, dataset[1], entry, hit, where, settle)
                _agree(resolved[chosen], agreed, where)
                _ = resolved[chosen].canonical  # shared by the copies
            runs.append(resolved[chosen].model_copy(update={"seed": seed}))
    for n, override in enumerate(overrides):
        if n not in hits and not override.optional:
            components = dict.fromkeys(c.name for entry in entries for c in entry.components)
            if override in extra and (owner := override.match["method"]) not in (*labels, *components):
                raise UsageError(f"{where}: {min(override.set)}: " + unknown("section or component", owner, [*_WRITTEN, *components]))
            raise UsageError(
                f"{where}: overrides: match {override.match} hits no run of this sweep (write 'optional: true' if that is meant)"
            )
    return Sweep(
        file.name,
        file.baseline,
        file.protocol,
        labels,
        tuple(runs),
        selection=winners.words(runs, where),
        winners=winners,
        give_up_after=file.give_up_after,
        slurm=file.slurm,
        settings=tuple(dict.fromkeys(settled.values())),
        columns=tuple(file.columns),
    )


def _nothing_overruled(
    written: Sequence[Override], last: Sequence[Override], cell: Mapping[str, Any], trial: Override | None, where: str
) -> None:
    """Refuse an override of what a selection or a trial sets in the same cell: it would change nothing."""
    both = {key for override in written for key in override.set} & {key for override in last for key in override.set}
    if both:
        why = "tuning sets it; leave it out of the overrides, or of what is tuned" if trial else _BY_SELECTION
        raise UsageError(f"{where}: overrides: set.{min(both)}: of {cell['method']} on {cell['dataset']}: {why}")


def _agree(config: RunConfig, agreed: dict[tuple[Any, ...], tuple[str, Any]], where: str) -> None:
    """Refuse a run that differs in what all of its sweep or comparison share. agreed: the first label and value of each such key."""
    for keys, cell, of in ((_OF_A_SWEEP, (), "a sweep"), (_OF_A_COMPARISON, (config.dataset, config.fraction), "a data set and fraction")):
        for key in keys:
            section, _, name = key.partition(".")
            value = getattr(getattr(config, section), name)
            label, first = agreed.setdefault((key, *cell), (config.method, value))
            if first != value:
                raise UsageError(
                    f"{where}: overrides: set.{key}: {value} for {config.method}, {first} for {label}: all runs of {of} share it"
                )


def _apart(names: Sequence[str], where: str) -> None:
    """Refuse two names that are one in the names of run folders."""
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(in_folders(name), name)
        if other != name:
            raise UsageError(f"{where}: '{other}' and '{name}' would share folders ('{in_folders(name)}'): give one of them another name")


def _matches(override: Override, cell: Mapping[str, Any], entry: Entry, where: str) -> bool:
    for key, wanted in override.match.items():
        if key not in _MATCHES:
            raise UsageError(f"{where}: overrides: match.{key}: " + unknown("key", key, _MATCHES))
        values = wanted if isinstance(wanted, list) else [wanted]
        names = {entry.label, *(c.name for c in entry.components)} if key == "method" else {entry.label if key == "label" else cell[key]}
        if not any(name in values for name in names):
            return False
    return True


def _resolve(
    file: SweepFile,
    cell: Mapping[str, Any],
    dataset: Mapping[str, Any],
    entry: Entry,
    overrides: Sequence[Override],
    where: str,
    settle: Callable[..., Settings],
) -> RunConfig:
    given = {name: dict(getattr(file, name)) for name in _SECTIONS}
    given["data"].update(dataset)
    scalars = {name: getattr(file, name) for name in _SCALARS}
    options = {c.name: dict(c.options) for c in entry.components}
    for override in overrides:
        for path, value in override.set.items():
            owner, _, key = path.rpartition(".")
            target = given.get(owner) if owner in given else options.get(owner) if owner else scalars if key in scalars else None
            if target is None:
                raise UsageError(
                    f"{where}: overrides: set.{path}: " + unknown("section or component", owner or key, [*given, *options, *scalars])
                )
            if path == "data.use":
                raise UsageError(
                    f"{where}: overrides: set.{path}: a data set is chosen by 'datasets': datasets: [{{name: NAME, use: USE}}]"
                )
            target[key] = value
    sections: dict[str, Any] = {
        name: validate(model, with_defaults(file.protocol, name, given[name]), where, name) for name, model in _SECTIONS.items()
    }
    asked = [scalars[name] for name in ("precision", "compile", "fold_bn")]
    settings = settle(sections["runtime"].device, *asked, sections["training"].steps)
    sections["runtime"] = sections["runtime"].model_copy(update={"device": settings.device})
    if sections["data"].resize is None:
        sections["data"] = sections["data"].model_copy(update={"resize": resize_for(sections["training"].image_size)})
    check_together(sections["evaluation"], sections["data"], sections["training"], sections["linearity"], where)
    components = [_component(c, options[c.name], f"{where}: {entry.label}") for c in entry.components]
    check_composition(entry.label, [method_info(c.use) for c in entry.components], sections["data"].val_fraction, where)
    try:
        backbone = weights.parse(file.backbone)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    values = {
        "sweep": file.name,
        **cell,
        "backbone": file.backbone,
        **{name: section.model_dump() for name, section in sections.items()},
        "weights_id": backbone.id,
        "components": components,
        "protocol": file.protocol,
        "pretrained": scalars["pretrained"],
        "precision": settings.precision,
        "compile": settings.compile,
        "fold_bn": settings.fold_bn,
    }
    return validate(RunConfig, values, where)


def _component(component: WrittenComponent, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    info = method_info(component.use)
    resolved = info.resolve(options, where)
    return {"name": component.name, "use": component.use, "options": resolved, "version": info.declarations["version"]}


def _assign(raw: dict[str, Any], assignment: str) -> Override | None:
    """Apply ``key=value`` of the command line to the raw file, or return it as an override of a component's option."""
    key, equals, text = assignment.partition("=")
    if not equals:
        raise UsageError(f"'{assignment}': write key=value")
    value = yamlio.parse(text, f"'{assignment}'")
    owner, dot, option = key.rpartition(".")
    if not dot:
        raw[key] = value
    elif owner in _WRITTEN:
        section = raw.get(owner) or {}
        if not isinstance(section, dict):
            raise UsageError(f"'{assignment}': {owner} is no mapping of keys in the sweep file")
        raw[owner] = {**section, option: value}
    else:
        return Override(match={"method": owner}, set={key: value})
    return None


def single(assignments: Sequence[str], out: Path | None = None) -> Sweep:
    """The sweep of one run: ``method=``, ``dataset=``, ``seed=``, ``fraction=`` and any key of a sweep file."""
    raw: dict[str, Any] = {"name": "single", "seeds": [0]}
    lists = {"method": "methods", "dataset": "datasets", "seed": "seeds", "fraction": "fractions"}
    extra = tuple(override for assignment in assignments if (override := _assign(raw, assignment)))
    if "claims" in raw:
        raise UsageError("command line: claims: one run compares nothing: state them in the file of a sweep")
    for key, plural in lists.items():
        if key in raw:
            raw[plural] = [raw.pop(key)]
    methods = raw.get("methods")
    first = methods[0] if isinstance(methods, list) and methods else ""
    raw.setdefault("baseline", first if isinstance(first, str) else str(first.get("name", "")) if isinstance(first, dict) else "")
    origin = Origin("", tuple(assignments), validate(SweepFile, raw, "command line"), extra, raw, "command line", out)
    return replace(expand(origin.file, origin.extra, origin.where), origin=origin)
