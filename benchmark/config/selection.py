"""The file of winners that ``select`` freezes, and what a final sweep makes of it.

Only records that were never scored on ``test`` stand behind it. A file that was changed, records that were, or a sweep that the file
does not cover are refused.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.config.run_config import RunConfig, Section, validate
from benchmark.errors import UsageError
from benchmark.storage import yamlio
from benchmark.storage.atomic import file_sha256

FILE = "selection.json"
RUNS = Path("tune") / "runs"
"""Where the tuning runs lie, beside the file."""

AGAIN = "run 'smilebench tune' and 'smilebench select' with the sweep that tunes"

_LEFT_OUT = ("seed", "data.val_fraction", "data.test_images", "fraction")
_SECTIONS_LEFT_OUT = ("evaluation.", "linearity.")


class Reference(Section):
    """A record that was used: its trial and seed, the hash of its config, the sha256 of ``record.json``, and what it scored."""

    run_id: str
    trial: int
    seed: int
    config_hash: str
    sha256: str
    val_accuracy: float


class Winner(Section):
    """The settings chosen for one method on one data set at one fraction.

    val_accuracy: mean over the tuning seeds. tied: other trials with exactly that mean. failed: trial -> why it has no score.
    conditions: all other settings of the tuning runs. records: of all trials.
    """

    dataset: str
    fraction: float
    method: str
    trial: int
    settings: dict[str, Any]
    val_accuracy: float
    tied: list[int]
    failed: dict[str, str]
    warnings: list[str]
    components: list[str]
    conditions: dict[str, Any]
    data_hash: str
    weights_hash: str
    records: list[Reference]


class Again(Section):
    """That settings were selected when final runs with such settings existed. date: of this selection. runs: how many final runs there
    were. replaced: digest of the selection before, '' where there was none that could be read.
    """

    date: str
    runs: int
    replaced: str

    def words(self) -> str:
        """For a caption."""
        count = f"{self.runs} final runs" if self.runs > 1 else "a final run"
        verb = "Selected again" if self.replaced else "Selected"
        return f"{verb} on {self.date}, after {count} with settings that tuning tried had been scored on test."


class Selection(Section):
    """What ``select`` writes. rule: in words. digest: of everything else, so that a change by hand is noticed.

    tune: the block that was searched. again: of every time that settings were selected when test had been seen. Files of earlier
    versions have neither.
    """

    sweep: str
    rule: str
    date: str
    search: str
    trials: int
    seeds: list[int]
    val_fraction: float
    cells: list[Winner]
    tune: dict[str, Any] = {}
    again: list[Again] = []
    digest: str


def digest(content: Mapping[str, Any]) -> str:
    """sha256 over the canonical JSON of a selection without its digest."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def kept(path: Path) -> Selection | None:
    """The selection in ``path``; None where there is none, or one that is damaged or was changed by hand."""
    try:
        content = yamlio.read_json_mapping(path)
        found = validate(Selection, content, str(path))
    except (UsageError, OSError):
        return None
    return found if digest(content) == found.digest else None


@dataclass(frozen=True)
class Winners:
    """A selection as a sweep sees it. path: as the sweep file names it. missing: why there is none yet."""

    path: str = ""
    found: Selection | None = None
    missing: tuple[str, ...] = ()

    @property
    def overrides(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(cell, settings) pairs for every winner."""
        cells = self.found.cells if self.found else []
        return [({"label": w.method, "dataset": w.dataset, "fraction": w.fraction}, w.settings) for w in cells]

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(key for _, settings in self.overrides for key in settings)

    def words(self, runs: Sequence[RunConfig], where: str) -> str:
        """How the settings of ``runs`` were chosen; UsageError where the selection does not cover one of them."""
        if self.found is None:
            return ""
        chosen = {(w.dataset, w.fraction, w.method): w for w in self.found.cells}
        uncovered: list[str] = []
        taken: list[Winner] = []
        differing: dict[tuple[str, str, str], list[Winner]] = {}
        for config in {(c.dataset, c.fraction, c.method): c for c in runs}.values():
            winner = chosen.get((config.dataset, config.fraction, config.method))
            if winner is None:
                uncovered.append(f"{config.method} on {config.dataset} at {config.fraction:g}")
            elif winner.components != list(config.uses):
                raise UsageError(f"{where}: selection: '{config.method}' was tuned as {'+'.join(winner.components)}, and is not that here")
            else:
                taken.append(winner)
                for difference in _differences(winner, config):
                    differing.setdefault(difference, []).append(winner)
        if uncovered:
            raise UsageError(
                f"{where}: selection: {self.path} chose nothing for {', '.join(uncovered[:5])}{' ...' if uncovered[5:] else ''}"
            )
        return " ".join([f"{self.found.rule} Frozen on {self.found.date} in {self.path}.", *self._caveats(runs, taken, differing)])

    def made_with_others(self, prepared: Iterable[tuple[RunConfig, str | None, str | None]]) -> list[str]:
        """A line per data set whose images or weights are not those of its tuning runs. prepared: runs with the hashes of what is here."""
        chosen = {(w.dataset, w.fraction, w.method): w for w in (self.found.cells if self.found else [])}
        lines = []
        for config, data_hash, weights_hash in prepared:
            winner = chosen.get((config.dataset, config.fraction, config.method))
            pairs = {"images": (winner.data_hash, data_hash), "weights": (winner.weights_hash, weights_hash)} if winner else {}
            for what, (then, now) in pairs.items():
                if now and now != then:
                    lines.append(f"selection: settings for {config.dataset} were tuned with other {what} than are prepared here: {AGAIN}")
        return list(dict.fromkeys(lines))

    def _caveats(
        self, runs: Sequence[RunConfig], taken: Sequence[Winner], differing: Mapping[tuple[str, str, str], Sequence[Winner]]
    ) -> list[str]:
        assert self.found is not None
        lines = [each.words() for each in self.found.again]
        for (key, then, now), winners in sorted(differing.items()):
            of = "" if len(winners) == len(taken) else f"{_cells(winners, taken)}: "
            lines.append(f"{of}{'tuned' if of else 'Tuned'} with {key} {then}, run with {now}.")
        if failed := [f"{len(w.failed)} of {w.method} on {w.dataset} at {w.fraction:g}" for w in taken if w.failed]:
            lines.append(f"Of the {self.found.trials} trials, some failed and could not be chosen: {', '.join(failed)}.")
        if shared := sorted({config.seed for config in runs} & set(self.found.seeds)):
            lines.append(f"Seeds {', '.join(map(str, shared))} are used both for tuning and here, so these numbers flatter the choice.")
        if any(config.data.val_fraction for config in runs):
            lines.append("The final runs, too, hold out a validation part, and do not train on it.")
        return lines


NOTHING_CHOSEN = Winners()


def winners_in(path: str | None, tunes: bool, where: str) -> Winners:
    """The winners in ``path``; none without a path. tunes: whether the sweep file has a ``tune`` block."""
    if path is None:
        hint = "this sweep is for 'smilebench tune': add 'selection: PATH' to run it with the settings that 'smilebench select' freezes"
        return Winners(missing=(hint,) if tunes else ())
    file = Path(path)
    if not file.is_file():
        return Winners(path, missing=(f"selection {path} does not exist: {AGAIN}",))
    try:
        content = yamlio.read_json_mapping(file)
    except UsageError as error:
        raise UsageError(f"{where}: selection: {error}; {AGAIN}") from error
    found = validate(Selection, content, path)
    if digest(content) != found.digest:
        raise UsageError(f"{where}: selection: {path} was changed after it was frozen; {AGAIN}")
    if (file.parent / RUNS).is_dir():
        _check_records(found, file.parent / RUNS, f"{where}: selection: {path}")
    return Winners(path, found)


def _check_records(found: Selection, runs: Path, where: str) -> None:
    """The winners' own records, where they are at hand, are still those that were used."""
    for winner in found.cells:
        for used in winner.records:
            record = runs / used.run_id / "record.json"
            if used.trial == winner.trial and (not record.is_file() or file_sha256(record) != used.sha256):
                raise UsageError(f"{where}: {record} is not the record that was used; {AGAIN}")


def settings_of(config: RunConfig, keys: Iterable[str]) -> dict[str, Any]:
    """What a run has for keys that can be tuned, ``training.KEY`` and ``COMPONENT.OPTION``; None for one that it has not."""
    parts = {"training": config.training.model_dump(), **{component.name: component.options for component in config.components}}
    found = {key: parts.get(key.rpartition(".")[0], {}).get(key.rpartition(".")[2]) for key in keys}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def conditions(config: RunConfig, tuned: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a run, by dotted key, but those tuned, the seed, and how it is evaluated."""
    flat: dict[str, Any] = {}
    for key, value in config.identity().items():
        if key == "components":
            for part, component in zip(value, config.components, strict=True):
                flat |= {f"{component.name}.{option}": v for option, v in part["options"].items()} | {
                    f"{component.name}.version": part["version"]
                }
        elif isinstance(value, dict):
            flat |= {f"{key}.{name}": v for name, v in value.items()}
        else:
            flat[key] = value
    return {k: v for k, v in flat.items() if k not in tuned and k not in _LEFT_OUT and not k.startswith(_SECTIONS_LEFT_OUT)}


def _differences(winner: Winner, config: RunConfig) -> list[tuple[str, str, str]]:
    """(key, its value in tuning, its value in ``config``) of every condition that is another."""
    now, then = conditions(config, winner.settings), winner.conditions
    keys = [key for key in now.keys() | then.keys() if then.get(key) != now.get(key)]
    return [(key, str(then.get(key, "unset")), str(now.get(key, "unset"))) for key in keys]


def _cells(some: Sequence[Winner], every: Sequence[Winner]) -> str:
    """``some`` of ``every`` cell in words: methods, with the data set and fraction where they are not all of the method's."""
    words = []
    for method in dict.fromkeys(winner.method for winner in some):
        own = [winner for winner in some if winner.method == method]
        whole = len(own) == sum(winner.method == method for winner in every)
        words += [method] if whole else [f"{method} on {winner.dataset} at {winner.fraction:g}" for winner in own]
    return ", ".join(words)
