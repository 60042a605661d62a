"""Tables over several groups: all data sets × fractions at a glance, and methods compared across data sets, with data sets as the units.

The fractions of one data set are no units of their own: their subsets are nested, and they share one test set. Counting each
as a block would count one data set several times. A method's value on a data set is therefore one number: the mean over the
fractions of its mean over the seeds that every ranked method has there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy

from benchmark.report.cells import Cell, Group, percent
from benchmark.report.collect import Run
from benchmark.report.intervals import LEVEL, RESAMPLES, mean
from benchmark.report.measures import accuracy
from benchmark.report.tables import interval_value
from benchmark.report.text import NONE, Table, Value, csv_text

MIN_DATASETS = 11
"""Fewest data sets for a test across them: Demšar 2006, section 3.2.2, asks for N > 10."""

MIN_METHODS = 3

OVERVIEW_CAPTION = (
    "Test accuracy in percent: mean ± half width of the 95 % t-interval over seeds (number of seeds). "
    "Bold: best mean of the column; ≈: not significantly worse than it (paired t-test, 5 %, Holm-corrected over all pairs of methods); "
    "a column without bold has too few or missing seeds to mark one."
)

RANKS_CAPTION = (
    "Mean rank over data sets, 1 is best. A method's value on a data set is the mean over its fractions, from the seeds that all "
    "methods have there; fractions of one data set are not independent and count once."
)


@dataclass(frozen=True)
class Block:
    """One data set as a unit: a value per ranked method, in percent, from ``shared`` seeds at each fraction."""

    dataset: str
    values: tuple[float, ...]
    shared: tuple[int, ...]


@dataclass(frozen=True)
class Across:
    """What can be said across data sets.

    ``methods`` are those ranked. ``ranks`` are their mean ranks over ``blocks`` (1 is best), empty below two blocks. ``p`` is
    Friedman's and ``pairs`` the matrix of Nemenyi's p-values of every two methods, both None where ``refused`` says why there is no test.
    ``left_out`` names the methods and data sets that could not be ranked, with the reason.
    """

    methods: tuple[str, ...]
    blocks: tuple[Block, ...]
    left_out: tuple[str, ...]
    ranks: tuple[float, ...] = ()
    p: float | None = None
    pairs: tuple[tuple[float, ...], ...] | None = None
    refused: str = ""

    @property
    def differ(self) -> bool:
        """Whether Friedman's test finds that the methods are not all alike."""
        return self.p is not None and self.p < 1 - LEVEL

    @property
    def apart(self) -> list[tuple[str, str]]:
        """The pairs of methods that Nemenyi's test tells apart, better one first; none unless Friedman's test rejects."""
        if self.pairs is None or not self.differ:
            return []
        order = sorted(range(len(self.methods)), key=self.ranks.__getitem__)
        return [(self.methods[i], self.methods[j]) for i, j in combinations(order, 2) if self.pairs[i][j] < 1 - LEVEL]


def compare_across(groups: Sequence[Group]) -> Across:
    """Mean ranks over the data sets of ``groups``, and Friedman's and Nemenyi's tests where there are ``MIN_DATASETS``."""
    names = list(dict.fromkeys(cell.method for group in groups for cell in group.cells))
    empty = [name for name in names if not any(cell.n for group in groups for cell in group.cells if cell.method == name)]
    methods = tuple(name for name in names if name not in empty)
    left_out = [f"{name}: no finished run" for name in empty]
    blocks = []
    for dataset in dict.fromkeys(group.dataset for group in groups):
        found = _block(dataset, [group for group in groups if group.dataset == dataset], methods)
        if isinstance(found, Block):
            blocks.append(found)
        else:
            left_out.append(found)
    total = len({group.dataset for group in groups})
    refused = _refusal(len(blocks), total, len(methods))
    values = [block.values for block in blocks]
    return Across(
        methods,
        tuple(blocks),
        tuple(left_out),
        ranks=tuple(mean_ranks(values)) if len(blocks) > 1 and len(methods) > 1 else (),
        p=None if refused else friedman_p(values),
        pairs=None if refused else nemenyi(values),
        refused=refused,
    )


def _refusal(blocks: int, total: int, methods: int) -> str:
    if methods < MIN_METHODS:
        return f"No test across data sets: it takes at least {MIN_METHODS} methods with finished runs, here {methods}."
    if blocks >= MIN_DATASETS:
        return ""
    usable = f"{total}" if blocks == total else f"{blocks} of {total}"
    return (
        f"No test across data sets and no critical-difference diagram: Friedman's and Nemenyi's tests take more than "
        f"{MIN_DATASETS - 1} data sets (Demšar 2006); usable here: {usable}. Fractions of one data set do not count as further ones."
    )


def _block(dataset: str, groups: Sequence[Group], methods: Sequence[str]) -> Block | str:
    """The data set as one unit, or why it is none."""
    shared, means = [], []
    for group in groups:
        cells = [cell for cell in group.cells if cell.method in methods]
        seeds = set.intersection(*(_seeds(cell) for cell in cells)) if cells else set()
        if not seeds:
            return f"{dataset}: at {percent(group.fraction)} no seed is finished for all methods"
        differing = sorted(seed for seed in seeds if len({_run(cell, seed).record["subset_hash"] for cell in cells}) > 1)
        if differing:
            return f"{dataset}: at {percent(group.fraction)} methods were trained on other images at seed {', '.join(map(str, differing))}"
        shared.append(len(seeds))
        means.append([mean([accuracy(_run(cell, seed)) for seed in sorted(seeds)]) for cell in cells])
    return Block(dataset, tuple(map(mean, zip(*means, strict=True))), tuple(shared))


def _seeds(cell: Cell) -> set[int]:
    return {run.seed for run in cell.runs}


def _run(cell: Cell, seed: int) -> Run:
    return next(run for run in cell.runs if run.seed == seed)


def rank_table(values: Sequence[Sequence[float]]) -> list[list[float]]:
    """Rank of each method in each block: 1 for the highest value, ties share their mean rank."""
    return scipy.stats.rankdata(-_rounded(values), axis=1).tolist()


def _rounded(values: Sequence[Sequence[float]]) -> np.ndarray:
    """As an array in which values that differ by rounding errors alone are equal."""
    return np.round(np.asarray(values, dtype=float), 9)


def mean_ranks(values: Sequence[Sequence[float]]) -> list[float]:
    """Mean rank of each method over the blocks."""
    return np.mean(rank_table(values), axis=0).tolist()


def friedman_p(values: Sequence[Sequence[float]]) -> float:
    """p of Friedman's test that all methods are alike, from its permutation distribution.

    Within each block every order of the methods is equally likely under that hypothesis, so this holds for any number of
    blocks and methods, where the usual chi-square approximation asks for more than 10 blocks and more than 5 methods. All
    orders are enumerated where there are at most ``RESAMPLES``, else as many are drawn with a fixed seed.
    """
    ranks = np.asarray(rank_table(values))
    found = scipy.stats.permutation_test(
        tuple(ranks.T),
        _squared_rank_sums,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        alternative="greater",
        random_state=np.random.default_rng(0),
    )
    return float(found.pvalue)


def _squared_rank_sums(*columns: np.ndarray, axis: int) -> np.ndarray:
    """Grows with Friedman's statistic, from which it differs by constants of the table's shape and ties."""
    return sum(np.sum(column, axis=axis) ** 2 for column in columns)


def nemenyi(values: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """p of Nemenyi's test of every two methods, by scikit-posthocs (imported here: it takes seconds, and most sweeps have no such test)."""
    from scikit_posthocs import posthoc_nemenyi_friedman

    return tuple(map(tuple, posthoc_nemenyi_friedman(_rounded(values)).to_numpy().tolist()))


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
