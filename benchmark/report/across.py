"""Methods compared across data sets, with data sets as the units.

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
