"""What each change of a full method does: paired differences of its variants, in accuracy and in both linearity gaps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark.report.cells import MIN_PAIRS_TO_TEST, Cell, Group, NotPaired, paired_by_seed
from benchmark.report.intervals import LEVEL, Difference, difference, holm
from benchmark.report.measures import CLAIMABLE, SPLITS
from benchmark.report.text import NONE, Table, Value, csv_text

PANELS = (("accuracy", "Accuracy (points)"), ("feature_rel", "Feature gap"), ("label_l1", "Label gap"))
"""Metrics of an ablation, with what their differences are called."""

ABLATION_CAPTION = (
    "Variant minus the full method at the same seed, with the 95 % paired-t interval; accuracies in points, gaps as in the main table "
    "(lower is more linear). *: differs at 5 %, Holm-corrected over all differences of the table; the intervals are not corrected."
)


@dataclass(frozen=True)
class Effect:
    """One row: a variant of the full method, or another method beside it (then ``change`` is '').

    differences: variant minus full by (metric, split), without those that cannot be paired. clear: of these, the ones that differ at 5 %
    after Holm's correction over the whole table.
    """

    cell: Cell
    change: str
    differences: dict[tuple[str, str], Difference]
    clear: frozenset[tuple[str, str]] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.cell.method} ({self.change})" if self.change else self.cell.method


def effects(group: Group) -> list[Effect]:
    """The baseline's variants and, after them, the other methods; none unless the baseline is a full method with two variants that ran."""
    base = group.cell(group.baseline)
    changed = variants(group)
    if base is None or sum(1 for cell, _ in changed if cell.difference) < 2:
        return []
    known = {cell.method for cell, _ in changed}
    others = [(cell, "") for cell in group.cells if cell.method not in {group.baseline, *known} and cell.runs]
    found = [Effect(cell, change, _differences(cell, base)) for cell, change in [*changed, *others]]
    tested = _tested(found)
    adjusted = holm([p for _, _, p in tested])
    clear = [(row, key) for (row, key, _), p in zip(tested, adjusted, strict=True) if p < 1 - LEVEL]
    return [replace(effect, clear=frozenset(key for at, key in clear if at == row)) for row, effect in enumerate(found)]


def _tested(found: Sequence[Effect]) -> list[tuple[int, tuple[str, str], float]]:
    """(row, metric and split, p) of all differences of the table that are corrected together."""
    return [
        (row, key, of.p)
        for row, effect in enumerate(found)
        for key, of in effect.differences.items()
        if of.p is not None and of.n >= MIN_PAIRS_TO_TEST
    ]


def _differences(cell: Cell, base: Cell) -> dict[tuple[str, str], Difference]:
    found = {}
    for key in [(metric, split) for metric, _ in PANELS for split in SPLITS]:
        try:
            found[key] = difference(list(paired_by_seed(cell, base, CLAIMABLE[key].read).values()))
        except NotPaired:
            continue
    return found


def variants(group: Group) -> list[tuple[Cell, str]]:
    """Cells made of the same methods as the baseline with other options, each with those options as ``option: from → to``.

    Empty where the runs kept no settings.
    """
    base = group.cell(group.baseline)
    full = _components(base) if base else []
    found = []
    for cell in group.cells:
        parts = _components(cell)
        if cell.method != group.baseline and parts and [part["use"] for part in parts] == [part["use"] for part in full]:
            found.append((cell, _changes(full, parts)))
    return found


def _components(cell: Cell) -> list[dict[str, Any]]:
    return cell.runs[0].settings().get("components", []) if cell.runs else []


def _changes(full: list[dict[str, Any]], parts: list[dict[str, Any]]) -> str:
    texts = []
    for before, after in zip(full, parts, strict=True):
        old, new = before["options"], after["options"]
        prefix = f"{after['use']}." if len(parts) > 1 else ""
        texts += [
            f"{prefix}{key}: {option_text(old.get(key))} → {option_text(value)}" for key, value in new.items() if value != old.get(key)
        ]
    return ", ".join(texts)


def option_text(value: Any) -> str:
    """An option as reports write it."""
    return "none" if value is None else ("off", "on")[value] if isinstance(value, bool) else str(value)


def ablation_words(group: Group) -> list[str]:
    """A sentence per measure: which changes matter for it, by how much, and what these runs cannot tell; none without an ablation."""
    found = effects(group)
    return [_sentence(found, group.baseline, (metric, split)) for metric, _ in PANELS for split in reversed(SPLITS)] if found else []


def _sentence(found: Sequence[Effect], baseline: str, key: tuple[str, str]) -> str:
    measure = CLAIMABLE[key]
    known = [effect for effect in found if key in effect.differences]
    subject = f"{_subject(key)} of the full {baseline}"
    if not any(effect.differences[key].n >= MIN_PAIRS_TO_TEST for effect in known):
        return f"{subject}: no change was tested, that takes at least {MIN_PAIRS_TO_TEST} seeds shared with it."
    parts = []
    for sign, word in ((1, "higher"), (-1, "lower")):
        moved = [effect for effect in known if key in effect.clear and sign * effect.differences[key].mean > 0]
        if moved:
            parts.append(f"{word} under " + ", ".join(f"{effect.name} {effect.differences[key].signed(measure.form)}" for effect in moved))
    open_ = [effect for effect in known if key not in effect.clear]
    if open_:
        limits = [of for effect in open_ if (of := effect.differences[key].detectable_among(len(_tested(found)))) is not None]
        rest = "none of the changes" if not parts else "the others"
        limit = f" (true differences below {measure.form.format(max(limits))} can go unnoticed, the correction included)" if limits else ""
        parts.append(f"undecided for {len(open_)} of {len(known)}{limit}" if parts else f"{rest} is told from it{limit}")
    return f"{subject}: {'; '.join(parts)}."


def _subject(key: tuple[str, str]) -> str:
    metric, split = key
    name = {"accuracy": "accuracy", "feature_rel": "feature gap", "label_l1": "label gap"}[metric]
    return f"{split.capitalize()} {name} beside that"


def ablation_table(group: Group, found: Sequence[Effect]) -> Table:
    """One row per effect, a column per measure and split."""
    keys = [(metric, split) for metric, _ in PANELS for split in SPLITS]
    names = dict(PANELS)
    rows = []
    for effect in found:
        values = [Value(effect.cell.method, effect.cell.method), Value(effect.change or NONE)]
        for key in keys:
            if (of := effect.differences.get(key)) is None:
                values.append(Value(NONE))
            else:
                values.append(Value(of.signed(CLAIMABLE[key].form) + ("*" if key in effect.clear else ""), of.mean))
        rows.append(tuple(values))
    columns = ("Method", "Change", *(f"{names[metric]}, {split}" for metric, split in keys))
    pairs = sorted({of.n for effect in found for of in effect.differences.values()})
    count = f"{pairs[0]}" if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]}"
    notes = (f"n = {count} pairs of seeds; full method: {group.baseline}",)
    return Table(f"Ablation of {group.baseline}: {group.title}", columns, tuple(rows), ("",) * len(rows), notes, compact=(0, 3, 5, 7))


def ablation_csv(found: Sequence[Effect]) -> str:
    """One row per variant, metric and split with unrounded numbers; accuracies in points."""
    columns = ("method", "change", "metric", "split", "difference", "low", "high", "n", "p", "clear")
    rows = [
        [effect.cell.method, effect.change, *key, of.mean, of.low, of.high, of.n, of.p, key in effect.clear]
        for effect in found
        for key, of in effect.differences.items()
    ]
    return csv_text(columns, rows)
