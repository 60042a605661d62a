"""Tables over several groups: all data sets × fractions at a glance, and mean ranks across data sets."""

from collections.abc import Sequence

from benchmark.report.across import Across
from benchmark.report.cells import Cell, Group, percent
from benchmark.report.tables import interval_value
from benchmark.report.text import NONE, Table, Value, csv_text

OVERVIEW_CAPTION = (
    "Test accuracy in percent: mean ± half width of the 95 % t-interval over seeds (number of seeds). "
    "Bold: best mean of the column; ≈: not significantly worse than it (paired t-test, 5 %, Holm-corrected over all pairs of methods); "
    "a column without bold has too few or missing seeds to mark one."
)

RANKS_CAPTION = (
    "Mean rank over data sets, 1 is best. A method's value on a data set is the mean over its fractions, from the seeds that all "
    "methods have there; fractions of one data set are not independent and count once."
)


def overview_tables(groups: Sequence[Group]) -> list[Table]:
    """One table per data set: methods in rows, fractions in columns; none for a single group, which the main table shows."""
    if len(groups) < 2:
        return []
    return [_overview([group for group in groups if group.dataset == name]) for name in dict.fromkeys(group.dataset for group in groups)]


def _overview(groups: Sequence[Group]) -> Table:
    methods = list(dict.fromkeys(cell.method for group in groups for cell in group.cells))
    rows = [(Value(method, method), *(_entry(group.cell(method)) for group in groups)) for method in methods]
    notes = [f"{group.title}: {_holes(group)}" for group in groups if _holes(group)]
    return Table(
        title=groups[0].dataset,
        columns=("Method", *(percent(group.fraction) for group in groups)),
        rows=tuple(rows),
        marks=("",) * len(rows),
        notes=tuple(notes),
        compact=tuple(range(len(groups) + 1)),
    )


def _entry(cell: Cell | None) -> Value:
    if cell is None or cell.accuracy is None:
        return Value(NONE)
    seeds = str(cell.n) if cell.n == cell.expected else f"{cell.n} of {cell.expected}"
    return Value(f"{interval_value(cell.accuracy).text} ({seeds})", cell.accuracy.mean, cell.mark)


def _holes(group: Group) -> str:
    absent = [(cell.method, item.state) for cell in group.cells for item in cell.absent]
    if not absent:
        return ""
    counts = [f"{method} {sum(1 for other, _ in absent if other == method)}" for method in dict.fromkeys(m for m, _ in absent)]
    return f"{len(absent)} run{'s' if len(absent) > 1 else ''} not in the numbers ({', '.join(counts)})"


def overview_csv(groups: Sequence[Group]) -> str:
    """One row per data set and method; per fraction the mean, the half width and the number of seeds."""
    fractions = list(dict.fromkeys(group.fraction for group in groups))
    columns = ["dataset", "method", *(f"{fraction:g}_{part}" for fraction in fractions for part in ("mean", "half_width", "n"))]
    rows = []
    for dataset in dict.fromkeys(group.dataset for group in groups):
        same = {group.fraction: group for group in groups if group.dataset == dataset}
        for method in dict.fromkeys(cell.method for group in same.values() for cell in group.cells):
            cells = [same[fraction].cell(method) if fraction in same else None for fraction in fractions]
            rows.append([dataset, method, *(part for cell in cells for part in _parts(cell))])
    return csv_text(columns, rows)


def _parts(cell: Cell | None) -> tuple[float | None, float | None, int]:
    found = cell.accuracy if cell else None
    return (found.mean, found.half_width, found.n) if found else (None, None, 0)


def ranks_table(across: Across) -> Table:
    """Mean ranks, best first, with the value of each data set; without rows where fewer than two data sets can be ranked."""
    order = sorted(range(len(across.ranks)), key=across.ranks.__getitem__)
    rows = [
        (
            Value(across.methods[i], across.methods[i]),
            Value(f"{across.ranks[i]:.2f}", across.ranks[i]),
            *(Value(f"{block.values[i]:.1f}", block.values[i]) for block in across.blocks),
        )
        for i in order
    ]
    return Table(
        title="Across data sets",
        columns=("Method", "Mean rank", *(f"{block.dataset} (%)" for block in across.blocks)),
        rows=tuple(rows),
        marks=("",) * len(rows),
        notes=tuple(across_notes(across)),
        compact=tuple(range(2 + len(across.blocks))),
    )


def across_notes(across: Across) -> list[str]:
    """What the ranks rest on, what was tested, and what was refused."""
    lines = []
    if across.ranks:
        shared = sorted({n for block in across.blocks for n in block.shared})
        seeds = f"{shared[0]}" if len(shared) == 1 else f"{shared[0]} to {shared[-1]}"
        lines.append(
            f"Ranks over n = {len(across.blocks)} data sets, from the {seeds} seeds per fraction that all "
            f"{len(across.methods)} methods share"
        )
    lines += [f"Left out: {line}" for line in across.left_out]
    if across.refused:
        return [*lines, across.refused.rstrip(".")]
    outcome = "the methods are not all alike" if across.differ else "no difference between the methods is shown"
    lines.append(f"Friedman's test over {len(across.blocks)} data sets (p from permutations): p = {across.p:.4f}, {outcome} at 5 %")
    if across.differ:
        count = len(across.methods) * (len(across.methods) - 1) // 2
        lines.append(f"Nemenyi's test (5 %) tells {len(across.apart)} of {count} pairs of methods apart")
    return lines


def ranks_csv(across: Across) -> str:
    """One row per method, best first: its mean rank, the number of data sets, its value on each; only the heading where none is ranked."""
    order = sorted(range(len(across.ranks)), key=across.ranks.__getitem__)
    rows = [[across.methods[i], across.ranks[i], len(across.blocks), *(block.values[i] for block in across.blocks)] for i in order]
    return csv_text(["method", "mean_rank", "n", *(block.dataset for block in across.blocks)], rows)
