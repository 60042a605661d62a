"""Methods compared across data sets, with data sets as the units.

The fractions of one data set are no units of their own: their subsets are nested, and they share one test set. Counting each
as a block would count one data set several times. A method's value on a data set is therefore one number: the mean over the
fractions of its mean over the seeds that every ranked method has there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.report.cells import Cell, Group, accuracy, percent
from benchmark.report.collect import Run
from benchmark.report.intervals import LEVEL, mean
from benchmark.report.ranks import cliques, critical_difference, friedman_p, mean_ranks

MIN_DATASETS = 11
"""Fewest data sets for a test across them: Demšar 2006, section 3.2.2, asks for N > 10."""

MIN_METHODS = 3


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
    Friedman's and ``critical`` Nemenyi's critical difference, both None where ``refused`` says why there is no test.
    ``left_out`` names the methods and data sets that could not be ranked, with the reason.
    """

    methods: tuple[str, ...]
    blocks: tuple[Block, ...]
    left_out: tuple[str, ...]
    ranks: tuple[float, ...] = ()
    p: float | None = None
    critical: float | None = None
    refused: str = ""

    @property
    def differ(self) -> bool:
        """Whether Friedman's test finds that the methods are not all alike."""
        return self.p is not None and self.p < 1 - LEVEL

    @property
    def cliques(self) -> list[tuple[int, ...]]:
        """Sets of methods that are not told apart, as positions in ``methods``: all of them unless Friedman's test rejects."""
        if self.critical is None:
            return []
        return cliques(self.ranks, self.critical if self.differ else math.inf)


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
        critical=None if refused else critical_difference(len(methods), len(blocks)),
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
