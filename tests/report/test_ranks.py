"""Ranks across data sets: against scipy, published tables, exact enumeration and by hand; and when there is no test."""

from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import pytest
from matplotlib.axes import Axes
from scipy import stats

from benchmark.report.across import (
    MIN_DATASETS,
    Across,
    across_notes,
    compare_across,
    friedman_p,
    mean_ranks,
    nemenyi,
    rank_table,
    ranks_table,
)
from benchmark.report.cells import group_runs
from benchmark.report.collect import Expected
from benchmark.report.figures.scatter import draw_critical
from benchmark.report.style import Looks
from tests.report import fakes

METHODS = ("fine_tuning", "smile", "mixup", "rifle")

VALUES = np.random.default_rng(0).normal(80, 1, (12, 6)) + np.array([0, 0.3, 0.6, 0.9, 1.2, 1.5])


def test_ranks_by_hand_with_a_tie() -> None:
    assert rank_table([[70.0, 80.0, 80.0], [3.0, 2.0, 1.0]]) == [[3.0, 1.5, 1.5], [1.0, 2.0, 3.0]]
    assert mean_ranks([[70.0, 80.0, 80.0], [3.0, 2.0, 1.0]]) == [2.0, 1.75, 2.25]


def test_values_that_differ_by_rounding_alone_are_tied() -> None:
    assert rank_table([[0.1 + 0.2, 0.3]]) == [[1.5, 1.5]]


def test_friedman_is_exact_for_few_blocks() -> None:
    values = [[3.0, 2.0, 1.0], [3.0, 1.0, 2.0], [3.0, 2.0, 1.0]]
    ranks = np.array(rank_table(values))
    orders = [np.array(order) for order in permutations((1, 2, 3))]
    statistics = [np.sum(sum(table) ** 2) for table in product(orders, repeat=3)]
    exact = np.mean([s >= np.sum(ranks.sum(axis=0) ** 2) for s in statistics])
    assert friedman_p(values) == pytest.approx(exact)


def test_friedman_agrees_with_scipys_approximation_where_that_holds() -> None:
    approximate = stats.friedmanchisquare(*(VALUES + np.random.default_rng(2).normal(0, 2, VALUES.shape)).T).pvalue
    found = friedman_p(VALUES + np.random.default_rng(2).normal(0, 2, VALUES.shape))
    assert 0.01 < approximate < 0.99
    assert found == pytest.approx(approximate, abs=0.02)


def test_friedman_finds_nothing_in_five_percent_of_equal_sweeps() -> None:
    rng = np.random.default_rng(3)
    false = sum(friedman_p(rng.normal(size=(3, 3))) < 0.05 for _ in range(200))
    assert false <= stats.binom.ppf(0.975, 200, 0.05)


Q = {3: 2.343, 6: 2.850, 10: 3.164}
"""q at 5 % by the number of methods: Demšar 2006, table 5(a)."""


def critical_difference(methods: int, blocks: int) -> float:
    """Demšar 2006, section 3.2.2: mean ranks at least this far apart differ."""
    return Q[methods] * (methods * (methods + 1) / (6 * blocks)) ** 0.5


@pytest.mark.parametrize("k", Q)
def test_nemenyi_agrees_with_the_published_critical_differences(k: int) -> None:
    values = np.random.default_rng(k).normal(80, 1, (12, k)) + np.linspace(0, 2, k)
    ranks = mean_ranks(values)
    apart = np.abs(np.subtract.outer(ranks, ranks)) >= critical_difference(k, 12)
    assert apart.any()
    assert not apart.all()
    assert (apart == (np.array(nemenyi(values)) < 0.05)).all()


def test_nemenyi_holds_its_rate_at_the_fewest_data_sets_and_methods() -> None:
    rng = np.random.default_rng(4)
    for k in (3, 10):
        critical = critical_difference(k, MIN_DATASETS)
        false = sum(np.ptp(mean_ranks(rng.normal(size=(MIN_DATASETS, k)))) >= critical for _ in range(1000))
        assert false <= stats.binom.ppf(0.99, 1000, 0.05)


def across(datasets: int, value: Callable[[Expected], float | None], seeds: int = 2, methods: tuple[str, ...] = METHODS) -> Across:
    grid = fakes.grid(methods, tuple(f"d{i}" for i in range(datasets)), (0.15, 0.5), seeds)
    accuracies = {(e.dataset, e.fraction, e.method, e.seed): v for e in grid if (v := value(e)) is not None}
    return compare_across(group_runs(fakes.info(methods), grid, fakes.in_memory(grid, accuracies)))


def ordered(item: Expected) -> float:
    return 0.6 + 0.05 * METHODS.index(item.method) + 0.01 * item.seed + 0.1 * item.fraction


def bars(axes: Axes) -> list[tuple[float, float]]:
    """Ends of the diagram's horizontal bars, which span methods that are not told apart."""
    lines = [line for line in axes.get_lines() if len(set(line.get_ydata())) == 1]
    return sorted((min(line.get_xdata()), max(line.get_xdata())) for line in lines)


def test_a_data_set_is_one_unit_whatever_its_fractions() -> None:
    found = across(3, ordered)
    assert len(found.blocks) == 3
    assert found.blocks[0].values == pytest.approx(tuple(100 * (0.605 + 0.0325 + 0.05 * i) for i in range(4)))
    assert found.ranks == (4.0, 3.0, 2.0, 1.0)


def test_few_data_sets_are_refused_in_words_and_get_no_diagram() -> None:
    found = across(MIN_DATASETS - 1, ordered)
    assert (found.p, found.pairs) == (None, None)
    assert "more than 10 data sets (Demšar 2006); usable here: 10" in found.refused
    assert found.refused.rstrip(".") in ranks_table(found).notes
    assert draw_critical(found, Looks()) is None


def test_enough_data_sets_are_tested() -> None:
    found = across(MIN_DATASETS, ordered)
    assert found.refused == ""
    assert found.p == pytest.approx(1e-4)
    assert found.differ
    assert found.apart == [("rifle", "smile"), ("rifle", "fine_tuning"), ("mixup", "fine_tuning")]
    assert "tells 3 of 6 pairs of methods apart" in across_notes(found)[-1]
    assert "n = 11 data sets" in across_notes(found)[0]
    drawing = draw_critical(found, Looks())
    axes = drawing.figure.axes[0]
    assert {tuple(dot.get_offsets()[0]) for dot in axes.collections} == {(1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (4.0, 0.0)}
    assert bars(axes) == [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]
    assert axes.texts[0].get_text() == "rifle  1.00"
    assert "p = 0.0001" in drawing.caption


def test_without_a_finding_of_friedman_nothing_is_told_apart() -> None:
    rng = np.random.default_rng(5)
    found = across(MIN_DATASETS, lambda item: 0.8 + rng.normal(0, 0.01))
    assert found.p > 0.05
    assert found.apart == []
    drawing = draw_critical(found, Looks())
    assert "none are told apart" in drawing.caption
    assert bars(drawing.figure.axes[0]) == [(min(found.ranks), max(found.ranks))]


def test_only_seeds_that_all_methods_share_count() -> None:
    complete = across(2, ordered, seeds=3)
    holed = across(2, lambda e: None if (e.dataset, e.method, e.seed, e.fraction) == ("d0", "smile", 2, 0.15) else ordered(e), seeds=3)
    assert complete.blocks[0].shared == (3, 3)
    assert holed.blocks[0].shared == (2, 3)
    assert holed.blocks[0].values == pytest.approx([v - 0.25 for v in complete.blocks[0].values])
    assert holed.ranks == complete.ranks


def test_what_cannot_be_ranked_is_named() -> None:
    found = across(3, lambda e: None if e.method == "rifle" or (e.dataset == "d1" and e.method == "mixup") else ordered(e))
    assert found.methods == METHODS[:3]
    assert found.left_out == ("rifle: no finished run", "d1: at 15 % no seed is finished for all methods")
    assert [block.dataset for block in found.blocks] == ["d0", "d2"]
    assert "usable here: 2 of 3" in found.refused


def test_two_methods_are_left_to_the_paired_differences() -> None:
    assert "at least 3 methods" in across(MIN_DATASETS, ordered, methods=METHODS[:2]).refused
