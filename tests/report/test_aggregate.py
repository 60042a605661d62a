"""Interquartile means and probabilities of improvement: closed forms, another implementation in plain loops, and when they are shown."""

import csv
import io
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.report.across import compare_across
from benchmark.report.aggregate import Aggregate, aggregate, aggregate_csv, aggregate_table, improvement, interquartile_mean
from benchmark.report.build import build
from benchmark.report.cells import Group, group_runs
from tests.report import fakes

METHODS = ("fine_tuning", "smile", "mixup")
SETS = ("a", "b", "c")


def of(values: np.ndarray, datasets: Sequence[str] = SETS, fractions: Sequence[float] = (0.15,)) -> Aggregate | None:
    """The aggregate of ``values`` [data sets, fractions, methods, seeds] in percent; NaN for a run that is missing."""
    groups = grouped(values, datasets, fractions)
    return aggregate(groups, compare_across(groups))


def grouped(values: np.ndarray, datasets: Sequence[str] = SETS, fractions: Sequence[float] = (0.15,)) -> tuple[Group, ...]:
    values = values.reshape(len(datasets), len(fractions), len(METHODS), -1)
    grid = fakes.grid(METHODS, datasets, fractions, seeds=values.shape[-1])
    at = {e: values[datasets.index(e.dataset), fractions.index(e.fraction), METHODS.index(e.method), e.seed] for e in grid}
    found = {(e.dataset, e.fraction, e.method, e.seed): value / 100 for e, value in at.items() if not np.isnan(value)}
    return group_runs(fakes.info(METHODS), grid, fakes.in_memory(grid, found))


def drawn(seed: int = 0, sets: int = 3, seeds: int = 5) -> np.ndarray:
    """Whole tenths of percent, with ties."""
    return np.round(np.random.default_rng(seed).normal(80, 2, (sets, 1, len(METHODS), seeds)) * 2) / 2


@pytest.mark.parametrize(
    ("scores", "mean"),
    [([1, 2, 3, 4, 5, 6, 7, 8], 4.5), ([0, 0, 10, 1000], 5), ([3], 3), ([1, 2, 6], 3), ([5, 1, 2, 3, 4, 1e9, -1e9, 6, 7], 4)],
)
def test_the_interquartile_mean_in_closed_form(scores: list[float], mean: float) -> None:
    assert interquartile_mean(np.array(scores, dtype=float)) == pytest.approx(mean)


def test_the_interquartile_mean_of_normal_scores_is_their_centre() -> None:
    quantiles = stats.norm.ppf((np.arange(4000) + 0.5) / 4000, loc=7, scale=3)
    assert interquartile_mean(quantiles) == pytest.approx(7)


def test_the_probability_of_improvement_in_closed_form() -> None:
    above, below, mixed = np.array([3.0, 4.0]), np.array([1.0, 2.0]), np.array([2.0, 3.0])
    assert improvement([above], [below]) == 1
    assert improvement([above, below], [below, above]) == 0.5
    assert improvement([above], [above]) == 0.5
    assert improvement([mixed], [above]) == (0 + 0 + 0.5 + 0) / 4


def test_of_two_normal_scores_the_probability_is_phi_of_the_distance() -> None:
    quantiles = stats.norm.ppf((np.arange(1500) + 0.5) / 1500)
    assert improvement([quantiles + 0.7], [quantiles]) == pytest.approx(stats.norm.cdf(0.7 / 2**0.5), abs=1e-3)


def trimmed(scores: Sequence[float]) -> float:
    ranked = sorted(scores)
    cut = len(ranked) // 4
    kept = ranked[cut : len(ranked) - cut]
    return sum(kept) / len(kept)


def wins(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> float:
    """By Mann and Whitney's U, as Agarwal et al. have it."""
    return sum(stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in zip(left, right, strict=True)) / len(left)


def test_estimates_and_intervals_are_those_of_plain_loops() -> None:
    values = drawn(1, seeds=6)
    found = of(values)
    assert found is not None
    assert (found.datasets, found.seeds) == (SETS, (6, 6, 6))
    scores = {method: values[:, 0, n].tolist() for n, method in enumerate(METHODS)}
    base = scores["fine_tuning"]
    rng = random.Random(5)
    draws = [[rng.choices(range(6), k=6) for _ in SETS] for _ in range(2000)]
    for each in found.standings:
        ours = scores[each.method]
        differences = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(ours, base, strict=True)]
        assert each.iqm.value == pytest.approx(trimmed(list(chain(*ours))))
        again = [trimmed([row[i] for row, index in zip(ours, draw, strict=True) for i in index]) for draw in draws]
        assert (each.iqm.low, each.iqm.high) == pytest.approx(tuple(np.quantile(again, [0.025, 0.975])), abs=0.12)
        if each.method == "fine_tuning":
            assert each.difference is None
            assert each.improvement is None
            continue
        assert each.difference is not None
        assert each.improvement is not None
        assert each.difference.value == pytest.approx(trimmed(list(chain(*differences))))
        again = [trimmed([row[i] for row, index in zip(differences, draw, strict=True) for i in index]) for draw in draws]
        assert (each.difference.low, each.difference.high) == pytest.approx(tuple(np.quantile(again, [0.025, 0.975])), abs=0.2)
        assert each.improvement.value == pytest.approx(wins(ours, base))
        again = [
            wins([[x[i] for i in j] for x, j in zip(ours, draw, strict=True)], [[y[i] for i in j] for y, j in zip(base, draw, strict=True)])
            for draw in draws[:150]
        ]
        assert (each.improvement.low, each.improvement.high) == pytest.approx(tuple(np.quantile(again, [0.025, 0.975])), abs=0.08)


def test_fractions_are_means_and_seeds_that_a_method_lacks_are_left_out() -> None:
    values = np.random.default_rng(2).normal(80, 2, (3, 2, len(METHODS), 5))
    values[1, 0, 2, 4] = np.nan
    found = of(values, fractions=(0.15, 0.5))
    assert found is not None
    assert found.seeds == (5, 4, 5)
    kept = [values[n].mean(axis=0)[1][: found.seeds[n]] for n in range(3)]
    assert found.standings[1].iqm.value == pytest.approx(trimmed(np.concatenate(kept).tolist()))


def test_it_is_the_same_every_time() -> None:
    assert of(drawn(3)) == of(drawn(3))


def test_few_scores_have_no_interval() -> None:
    found = of(drawn(4, seeds=3))
    assert found is not None
    assert {each.iqm.low for each in found.standings} == {None}
    table = aggregate_table(found)
    assert "[" not in table.rows[0][1].text
    assert any("No interval is given" in note for note in table.notes)


@pytest.mark.parametrize(("seeds", "given"), [(1, False), (4, False), (5, True)])
def test_an_interval_takes_five_seeds_on_every_data_set_however_many_there_are(seeds: int, given: bool) -> None:
    names = tuple("abcdefghij")
    found = of(drawn(4, sets=10, seeds=seeds), names)
    assert found is not None
    assert sum(found.seeds) >= 10
    for each in found.standings[1:]:
        assert each.difference is not None
        assert each.improvement is not None
        assert [part.low is not None for part in (each.iqm, each.difference, each.improvement)] == [given] * 3
    notes = " ".join(aggregate_table(found).notes)
    assert ("at least 5 seeds on every one" in notes) is not given


def test_one_data_set_of_few_seeds_takes_the_intervals_away() -> None:
    values = drawn(5)
    values[1, 0, 2, 3:] = np.nan
    found = of(values)
    assert found is not None
    assert found.seeds == (5, 3, 5)
    assert found.standings[0].iqm.low is None


def test_it_stands_in_for_friedmans_test_alone() -> None:
    groups = grouped(drawn(5))
    across = compare_across(groups)
    assert across.refused
    assert aggregate(groups, across) is not None
    assert aggregate(groups, replace(across, refused="", p=0.5)) is None, "Friedman's test was made"
    assert of(drawn(5, sets=1), SETS[:1]) is None, "one data set has its own table"


def test_a_data_set_that_cannot_be_used_is_named() -> None:
    values = drawn(6)
    values[2, 0, 1] = np.nan
    found = of(values)
    assert found is not None
    assert found.datasets == ("a", "b")
    assert any("c: " in note for note in aggregate_table(found).notes)


def test_the_csv_has_unrounded_numbers() -> None:
    found = of(drawn(7))
    assert found is not None
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(aggregate_csv(found)))}
    smile = found.standings[1]
    assert smile.improvement is not None
    assert float(rows["smile"]["improvement_high"]) == smile.improvement.high
    assert rows["fine_tuning"]["difference_iqm"] == ""


@pytest.mark.slow
def test_a_report_over_two_data_sets_has_the_table(tmp_path: Path) -> None:
    grid = fakes.grid(METHODS, SETS[:2], seeds=5)
    fakes.write_sweep(tmp_path, grid)
    report = build(tmp_path, fakes.info(METHODS), grid)
    assert "Across few data sets" in [table.title for table in report.tables]
    assert "IQM of accuracy" in (tmp_path / "tables" / "aggregate.md").read_text(encoding="utf-8")
    assert "tabular" in (tmp_path / "tables" / "aggregate.tex").read_text(encoding="utf-8")
    assert 'id="aggregate"' in (tmp_path / "report.html").read_text(encoding="utf-8")
