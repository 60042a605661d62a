"""Ranks of methods over independent blocks, as pure functions of a table of values: one row per block, one column per method.

Demšar 2006, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, section 3.2.2.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from benchmark.report.intervals import LEVEL, RESAMPLES


def rank_table(values: Sequence[Sequence[float]]) -> list[list[float]]:
    """Rank of each method in each block: 1 for the highest value, ties share their mean rank."""
    return stats.rankdata(-np.round(np.asarray(values, dtype=float), 9), axis=1).tolist()


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
    found = stats.permutation_test(
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


def critical_difference(methods: int, blocks: int, level: float = LEVEL) -> float:
    """Nemenyi's critical difference of two mean ranks: q √(k(k+1) / 6N), q of the studentised range of k over √2."""
    q = float(stats.studentized_range.ppf(level, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * blocks))


def cliques(ranks: Sequence[float], critical: float) -> list[tuple[int, ...]]:
    """Largest sets of at least two methods whose mean ranks lie within ``critical``; indices by rising rank."""
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    found: list[tuple[int, ...]] = []
    for start, first in enumerate(order):
        members = tuple(i for i in order[start:] if ranks[i] - ranks[first] < critical)
        if len(members) > 1 and not (found and set(members) <= set(found[-1])):
            found.append(members)
    return found
