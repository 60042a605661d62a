"""What choosing the best snapshot on ``test`` adds to the last iterate's accuracy: the optimism of best-epoch-on-test numbers.

A diagnostic: it fills a table of its own, and nothing is chosen by it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from benchmark.report.cells import Group
from benchmark.report.collect import Run
from benchmark.report.intervals import t_interval
from benchmark.report.tables import interval_value
from benchmark.report.text import NONE, Table, Value, csv_text

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


def read(run: Run) -> Scored | None:
    """The snapshots of ``run``; None where none were kept."""
    rows = [(step, 100 * value) for step, value in run.snapshots()]
    if not rows:
        return None
    step, best = max(rows, key=lambda row: (row[1], -row[0]))
    return Scored(best, step, rows[-1][1], len(rows))


def optimism_table(group: Group, averaged: Collection[str] = ()) -> Table | None:
    """Per method the last iterate, the best snapshot and their difference, over the runs that kept snapshots; None where none did.

    averaged: methods whose evaluated network is no iterate but made of several, which have no such difference.
    """
    cells = {
        cell.method: [] if cell.method in averaged else [s for run in cell.runs if (s := read(run)) is not None] for cell in group.cells
    }
    if not any(cells.values()):
        return None
    counts = sorted({s.count for found in cells.values() for s in found})
    return Table(
        title=f"Optimism of the best snapshot: {group.title}",
        columns=("Method", "Last iterate (%)", "Best snapshot on test (%)", "Optimism (points)", "Seeds"),
        rows=tuple(_row(method, found, group) for method, found in cells.items()),
        marks=("",) * len(cells),
        notes=(
            f"Best of {' or '.join(map(str, counts))} evenly spaced snapshots, the last iterate among them",
            *(f"{name}: none is given, since what is evaluated is an average of iterates" for name in cells if name in averaged),
        ),
        compact=(0, 1, 2, 3, 4),
    )


def _row(method: str, found: Sequence[Scored], group: Group) -> tuple[Value, ...]:
    expected = next(cell.expected for cell in group.cells if cell.method == method)
    seeds = Value(str(len(found)) if len(found) == expected else f"{len(found)} of {expected}", len(found))
    if not found:
        return (Value(method, method), Value(NONE), Value(NONE), Value(NONE), seeds)
    columns = ([s.last for s in found], [s.best for s in found], [s.optimism for s in found])
    last, best, optimism = (t_interval(values) for values in columns)
    return (Value(method, method), interval_value(last), interval_value(best), interval_value(optimism, "{:+.1f}"), seeds)


def optimism_csv(groups: Sequence[Group], averaged: Collection[str] = ()) -> str:
    """One row per run that kept snapshots; accuracies in percent, optimism in points. averaged: as for :func:`optimism_table`."""
    columns = ("run_id", "dataset", "fraction", "method", "seed", "snapshots", "last", "best", "best_step", "optimism")
    rows = []
    for run in (run for group in groups for cell in group.cells if cell.method not in averaged for run in cell.runs):
        if (found := read(run)) is not None:
            item = run.expected
            numbers = (found.count, found.last, found.best, found.best_step, found.optimism)
            rows.append([item.run_id, item.dataset, item.fraction, item.method, item.seed, *numbers])
    return csv_text(columns, rows)
