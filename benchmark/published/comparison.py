"""``compare``: a sweep's cells beside published numbers, from records alone.

Outcomes. A published number of m seeds (one, where the source says nothing) is *reproduced* where it lies in the 95 % prediction interval
for the mean of m new seeds of ours, mean ± t(n-1) · s · sqrt(1/m + 1/n), and *off* where it lies outside. That takes the same complete
data set, fraction, backbone weights, protocol and selection rule, and at least three finished seeds; whatever of these differs or is not
known makes the two *not comparable*, and is named. A number of the best epoch on ``test`` is set against the best of our snapshots on
``test`` where every run of the cell kept them (``evaluation.snapshots``), and is not comparable with our last iterate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmark.config.grid import Sweep
from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.published.published_numbers import PublishedNumber, differences, remarks
from benchmark.report import optimism
from benchmark.report.collect import Collected, Expected, Run, collect
from benchmark.report.intervals import Interval, spread, t_interval, t_quantile
from benchmark.report.text import csv_text, markdown_table
from benchmark.storage.run_folder import write_text
from benchmark.terminal import say

MIN_SEEDS = 3
LAST, BRIDGED = "last iterate", "best of {} snapshots on test"


@dataclass(frozen=True)
class Comparison:
    """One cell of ours beside one published number. ours: None without a finished run. rule: what ours is of. reach: half width of the
    prediction interval, None where there is none. outcome: ``reproduced``, ``off`` or ``not comparable``, then ``reasons`` say why.
    remarks: settings of ours that are not the defaults.
    """

    dataset: str
    fraction: float
    method: str
    ours: Interval | None
    expected: int
    rule: str
    entry: PublishedNumber
    reach: float | None
    outcome: str
    reasons: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """Ours - theirs, in points."""
        return None if self.ours is None else self.ours.mean - self.entry.value


def compare(sweep: Sweep, out: Path, entries: Sequence[PublishedNumber]) -> list[Comparison]:
    """Every cell of the sweep beside every published number of its data set and method; ``entries`` at other fractions are left out unless
    none is at the cell's own."""
    expected = [Expected(c.run_id, c.dataset, c.fraction, c.method, c.seed) for c in sweep.runs]
    found: Collected = collect(out, expected)
    cells: dict[tuple[str, float, str], list[RunConfig]] = {}
    for config in sweep.runs:
        cells.setdefault((config.dataset, config.fraction, config.method), []).append(config)
    runs: dict[tuple[str, float, str], list[Run]] = {key: [] for key in cells}
    for run in found.runs:
        runs[run.expected.dataset, run.expected.fraction, run.expected.method].append(run)
    return [_compare(configs, runs[key], entry) for key, configs in cells.items() for entry in _about(configs[0], entries)]


def _about(config: RunConfig, entries: Sequence[PublishedNumber]) -> list[PublishedNumber]:
    """The entries of a cell: those at its fraction, else the nearest one, so that the cell is listed with the reason."""
    names = [component.name for component in config.components]
    named = [e for e in entries if e.dataset == config.data.use.partition(":")[0] and [e.method] == names]
    return [e for e in named if e.fraction == config.fraction] or sorted(named, key=lambda e: abs(e.fraction - config.fraction))[:1]


def _compare(configs: Sequence[RunConfig], runs: Sequence[Run], entry: PublishedNumber) -> Comparison:
    reasons = differences(configs[0], runs, entry)
    values, rule = [100 * run.record["test_accuracy"] for run in runs], LAST
    if entry.selection == "best_epoch_on_test":
        scored = [optimism.read(run) for run in runs]
        kept = [s for s in scored if s is not None]
        if configs[0].averages:
            reasons.append("published: best epoch on test; ours: an average of iterates")
        elif runs and len(kept) == len(runs):
            values, rule = [s.best for s in kept], BRIDGED.format(" or ".join(map(str, sorted({s.count for s in kept}))))
        else:
            reasons.append("published: best epoch on test; ours: last iterate (evaluation.snapshots would bridge this)")
    if len(values) < MIN_SEEDS:
        reasons.append(f"{len(values)} finished seed{'' if len(values) == 1 else 's'} of ours, {MIN_SEEDS} are needed")
    ours = t_interval(values) if values else None
    reach = prediction_reach(values, entry.n or 1) if len(values) > 1 else None
    if reasons or ours is None or reach is None:
        outcome = "not comparable"
    else:
        outcome = "reproduced" if abs(ours.mean - entry.value) <= reach else "off"
    config = configs[0]
    return Comparison(
        config.dataset,
        config.fraction,
        config.method,
        ours,
        len(configs),
        rule,
        entry,
        reach,
        outcome,
        tuple(reasons),
        tuple(remarks(config)),
    )


def prediction_reach(values: Sequence[float], m: int) -> float:
    """Half width of the interval that holds the mean of ``m`` new values with 95 % probability: t(n-1) · s · sqrt(1/m + 1/n).

    For values of one normal distribution; ValueError when there are fewer than two.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"nothing can be predicted from {n} value(s)")
    return t_quantile(n) * spread(values) * math.sqrt(1 / m + 1 / n)


def publish(sweep: Sweep, out: Path, entries: Sequence[PublishedNumber], console: Console) -> list[Comparison]:
    """Print the comparison and write ``tables/compare.md`` and ``tables/compare.csv``; refused where no number is published."""
    found = compare(sweep, out, entries)
    if not found:
        known = ", ".join(sorted({entry.dataset for entry in entries})) or "nothing"
        raise UsageError(f"no number for any cell of '{sweep.name}' is published here (results/published has: {known})")
    rows, lines = [row(each) for each in found], notes(found)
    _print(sweep, found, lines, console)
    table = markdown_table(COLUMNS, rows, align="left")
    (out / "tables").mkdir(parents=True, exist_ok=True)
    write_text(out / "tables" / "compare.md", "\n".join([*table, "", *(f"- {line}" for line in lines)]) + "\n", durable=False)
    write_text(out / "tables" / "compare.csv", to_csv(found), durable=False)
    say(console, f"comparison: {out / 'tables' / 'compare.md'}")
    return found


def _print(sweep: Sweep, found: Sequence[Comparison], lines: Sequence[str], console: Console) -> None:
    """The table without its long columns: reasons and sources are numbered below it."""
    why = list(dict.fromkeys(text for each in found for text in (*each.reasons, *each.remarks)))
    sources = list(dict.fromkeys(row(each)[-1] for each in found))
    shown = Table(*COLUMNS[:-2], title=f"{sweep.name} beside published numbers", title_justify="left")
    for each in found:
        *texts, outcome, _, source = row(each)
        texts[5] += f" ({chr(97 + sources.index(source))})"
        marks = ", ".join(str(1 + why.index(text)) for text in (*each.reasons, *each.remarks))
        shown.add_row(*texts, f"{outcome} ({marks})" if marks else outcome)
    console.print(shown)
    for n, text in enumerate(why, start=1):
        say(console, f"({n}) {text}")
    for n, text in enumerate(sources):
        say(console, f"({chr(97 + n)}) {text}")
    for line in lines:
        say(console, f"- {line}")


COLUMNS = ("Data set", "Fraction", "Method", "Ours (%)", "Seeds", "Published (%)", "Δ (points)", "Chance ±", "Outcome", "Why", "Source")


def row(each: Comparison) -> tuple[str, ...]:
    """The texts of one row below ``COLUMNS``."""
    ours, entry = each.ours, each.entry
    mean = "–" if ours is None else f"{ours.mean:.1f}" + ("" if ours.half_width is None else f" ± {ours.half_width:.1f}")
    if each.rule != LAST and ours is not None:
        mean += f" ({each.rule})"
    n = ours.n if ours else 0
    theirs = f"{entry.value:.1f}" + ("" if entry.plus_minus is None else f" ± {entry.plus_minus:.1f}") + f" (n = {entry.n or 'not known'})"
    if entry.fraction != each.fraction:
        theirs += f" at {100 * entry.fraction:g} %"
    return (
        each.dataset,
        f"{100 * each.fraction:g} %",
        each.method,
        mean,
        str(n) if n == each.expected else f"{n} of {each.expected}",
        theirs,
        "–" if each.difference is None else f"{each.difference:+.1f}".replace("-", "−"),
        "–" if each.reach is None else f"{each.reach:.1f}",
        each.outcome,
        "; ".join([*each.reasons, *each.remarks]),
        entry.source + (f" ({entry.note})" if entry.note else ""),
    )


def notes(found: Sequence[Comparison]) -> list[str]:
    """What a reader of the table must know."""
    outcomes = [each.outcome for each in found]
    judged = len(outcomes) - outcomes.count("not comparable")
    lines = [
        f"{outcomes.count('reproduced')} reproduced, {outcomes.count('off')} off, {outcomes.count('not comparable')} not comparable.",
        "Chance ±: half width of the 95 % prediction interval for a new mean of as many seeds as are published (one where that is not "
        "known), from our seeds' spread: a published number inside is reproduced, one outside is off. A wide interval reproduces easily.",
    ]
    if judged:
        lines.append(f"Of {judged} judged cells, about {0.05 * judged:.1f} would be off by chance alone if all agreed.")
    if any(each.rule != LAST for each in found):
        lines.append("Best of snapshots on test: computed for this comparison alone; the main table holds the last iterate.")
    return lines


def to_csv(found: Sequence[Comparison]) -> str:
    """One row per comparison with unrounded numbers, in percent and points; empty where undefined."""
    rows = [_flat(each) for each in found]
    return csv_text(list(rows[0]) if rows else ["dataset"], [list(row.values()) for row in rows])


def _flat(each: Comparison) -> dict[str, object]:
    ours, entry = each.ours, each.entry
    return {
        "dataset": each.dataset,
        "fraction": each.fraction,
        "method": each.method,
        **{name: getattr(ours, name) if ours else None for name in ("mean", "low", "high")},
        "n": ours.n if ours else 0,
        "expected": each.expected,
        "rule": each.rule,
        "difference": each.difference,
        "reach": each.reach,
        "outcome": each.outcome,
        "reasons": "; ".join(each.reasons),
        "remarks": "; ".join(each.remarks),
        "published_value": entry.value,
        "published_plus_minus": entry.plus_minus,
        "published_n": entry.n,
        "published_metric": entry.metric,
        "published_fraction": entry.fraction,
        "published_backbone": entry.backbone,
        "published_protocol": entry.protocol,
        "published_selection": entry.selection,
        "published_as": entry.published_as,
        "source": entry.source,
        "note": entry.note,
    }
