"""What choosing the best snapshot on ``test`` adds to the last iterate's accuracy: the optimism of best-epoch-on-test numbers.

A diagnostic: it fills a table of its own, and nothing is chosen by it.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.report.cells import Group
from benchmark.report.intervals import Interval, t_interval
from benchmark.report.text import NONE, Table, Value, csv_text

FILE = "snapshots.csv"

OPTIMISM_CAPTION = (
    "Mean ± half width of the 95 % t-interval over seeds. The best snapshot is chosen per run on test itself: what best-epoch-on-test "
    "tables report, and what nobody can obtain without the test labels. Nothing else in this report uses it."
)


@dataclass(frozen=True)
class Scored:
    """The snapshots of one run, in percent: the best accuracy on ``test`` and its step, the last iterate's, and how many there are."""

    best: float
    best_step: int
    last: float
    count: int

    @property
    def optimism(self) -> float:
        """In points, never negative: the last iterate is one of the snapshots."""
        return self.best - self.last


def read(folder: Path) -> Scored | None:
    """The snapshots of the run in ``folder``; None where none were kept."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    rows = [(int(row["step"]), 100 * float(row["test_accuracy"])) for row in csv.DictReader(text.splitlines())]
    step, best = max(rows, key=lambda row: (row[1], -row[0]))
    return Scored(best, step, rows[-1][1], len(rows))


def optimism_table(group: Group) -> Table | None:
    """Per method the last iterate, the best snapshot and their difference, over the runs that kept snapshots; None where none did."""
    cells = {cell.method: [s for run in cell.runs if (s := read(run.folder)) is not None] for cell in group.cells}
    if not any(cells.values()):
        return None
    counts = sorted({s.count for found in cells.values() for s in found})
    return Table(
        title=f"Optimism of the best snapshot: {group.title}",
        columns=("Method", "Last iterate (%)", "Best snapshot on test (%)", "Optimism (points)", "Seeds"),
        rows=tuple(_row(method, found, group) for method, found in cells.items()),
        marks=("",) * len(cells),
        notes=(f"Best of {' or '.join(map(str, counts))} evenly spaced snapshots, the last iterate among them",),
        compact=(0, 1, 2, 3, 4),
    )


def _row(method: str, found: Sequence[Scored], group: Group) -> tuple[Value, ...]:
    expected = next(cell.expected for cell in group.cells if cell.method == method)
    seeds = Value(str(len(found)) if len(found) == expected else f"{len(found)} of {expected}", len(found))
    if not found:
        return (Value(method, method), Value(NONE), Value(NONE), Value(NONE), seeds)
    columns = ([s.last for s in found], [s.best for s in found], [s.optimism for s in found])
    last, best, optimism = (t_interval(values) for values in columns)
    return (Value(method, method), _interval(last), _interval(best), _interval(optimism, "{:+.1f}"), seeds)


def optimism_csv(groups: Sequence[Group]) -> str:
    """One row per run that kept snapshots; accuracies in percent, optimism in points."""
    columns = ("run_id", "dataset", "fraction", "method", "seed", "snapshots", "last", "best", "best_step", "optimism")
    rows = []
    for run in (run for group in groups for run in group.runs):
        if (found := read(run.folder)) is not None:
            item = run.expected
            numbers = (found.count, found.last, found.best, found.best_step, found.optimism)
            rows.append([item.run_id, item.dataset, item.fraction, item.method, item.seed, *numbers])
    return csv_text(columns, rows)


def _interval(interval: Interval, form: str = "{:.1f}") -> Value:
    half = "" if interval.half_width is None else f" ± {interval.half_width:.1f}"
    return Value(form.format(interval.mean) + half, interval.mean)
