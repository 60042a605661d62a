"""Statistics against scipy, closed forms and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.report.intervals import (
    Interval,
    bootstrap_interval,
    detectable_difference,
    difference,
    holm,
    paired_p,
    pareto_front,
    spread,
    t_interval,
)

VALUES = [0.81, 0.84, 0.79, 0.88, 0.83]


def test_t_interval_is_scipys() -> None:
    interval = t_interval(VALUES)
    low, high = stats.t.interval(0.95, len(VALUES) - 1, loc=np.mean(VALUES), scale=stats.sem(VALUES))
    assert (interval.mean, interval.low, interval.high, interval.n) == pytest.approx((np.mean(VALUES), low, high, 5), rel=1e-12)


def test_t_interval_by_hand_divides_by_n_minus_one() -> None:
    interval = t_interval([80.0, 82.0, 84.0])
    assert interval.half_width == pytest.approx(4.302652729911275 * 2 / math.sqrt(3))


def test_one_value_has_no_interval() -> None:
    assert t_interval([0.5]) == Interval(0.5, None, None, 1)
    assert t_interval([0.5]).half_width is None


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        t_interval([])
    with pytest.raises(ValueError, match="not defined"):
        spread([1.0])


def test_paired_difference_is_scipys_paired_test() -> None:
    others = [0.80, 0.80, 0.78, 0.83, 0.84]
    found = difference([a - b for a, b in zip(VALUES, others, strict=True)])
    test = stats.ttest_rel(VALUES, others)
    low, high = test.confidence_interval(0.95)
    assert (found.low, found.high, found.p) == pytest.approx((low, high, test.pvalue), rel=1e-10)


def test_no_difference_of_nothing() -> None:
    with pytest.raises(ValueError, match="no seed in common"):
        difference([])


def test_a_shared_seed_effect_cancels() -> None:
    effect, wobble = (5.0, -7.0, 11.0, 0.0), (0.1, -0.1, 0.2, -0.2)
    found = difference([(80 + e + w) - (78 + e) for e, w in zip(effect, wobble, strict=True)])
    assert found.mean == pytest.approx(2.0)
    assert found.half_width < 0.5


def test_differences_without_spread_are_not_called_significant() -> None:
    """.85 - .83 and .87 - .85 differ in the last bit only."""
    equal = difference([0.85 - 0.83, 0.87 - 0.85])
    assert (equal.p, equal.detectable) == (None, None)
    assert difference([0.0, 0.0]).p == 1.0


def test_one_pair_has_neither_interval_nor_p() -> None:
    found = difference([0.9 - 0.8])
    assert (found.low, found.p, found.detectable) == (None, None, None)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert [adjusted[i] for i in np.argsort(p_values, kind="stable")] == sorted(adjusted)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_detectable_difference_has_the_stated_power(n: int) -> None:
    rng = np.random.default_rng(0)
    trials = rng.normal(detectable_difference(1.7, n), 1.7, size=(20_000, n))
    p = stats.ttest_1samp(trials, 0.0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.01)


def test_detectable_difference_scales_with_the_spread_and_needs_two_pairs() -> None:
    assert detectable_difference(3.0, 5) == pytest.approx(3 * detectable_difference(1.0, 5))
    assert detectable_difference(1.0, 20) < detectable_difference(1.0, 5)
    with pytest.raises(ValueError, match="two pairs"):
        detectable_difference(1.0, 1)


SKEWED = tuple(float(v) for v in np.random.default_rng(7).exponential(1.0, 12))


def test_bootstrap_interval_is_scipys() -> None:
    low, high = bootstrap_interval(SKEWED)
    found = stats.bootstrap((SKEWED,), np.mean, method="BCa", n_resamples=9999, random_state=np.random.default_rng(1)).confidence_interval
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.03)
    assert np.mean(SKEWED) - low < high - np.mean(SKEWED)


def test_bootstrap_interval_of_a_normal_sample_is_close_to_the_t_interval() -> None:
    values = tuple(float(v) for v in stats.norm.ppf((np.arange(40) + 0.5) / 40))
    low, high = bootstrap_interval(values)
    interval = t_interval(values)
    assert (low, high) == pytest.approx((interval.low, interval.high), abs=0.03)


def test_bootstrap_is_refused_below_ten_values_and_without_spread() -> None:
    assert bootstrap_interval(SKEWED[:9]) is None
    assert bootstrap_interval(SKEWED[:10]) is not None
    assert bootstrap_interval((1.0,) * 12) is None


def test_a_difference_has_the_bootstrap_interval_of_its_values() -> None:
    found = difference(SKEWED)
    assert found.values == SKEWED
    assert found.bootstrap == bootstrap_interval(SKEWED)
    assert difference([1.0, 3.0]).bootstrap is None


def test_paired_p_is_scipys() -> None:
    assert paired_p(SKEWED) == pytest.approx(stats.ttest_1samp(SKEWED, 0.0).pvalue, rel=1e-10)
    assert paired_p([0.3]) is None


def test_pareto_front_by_hand() -> None:
    points = [(1.0, 60.0), (2.0, 80.0), (2.0, 79.0), (3.0, 75.0), (4.0, 81.0), (5.0, 81.0)]
    assert pareto_front(points) == [0, 1, 4]


def test_among_several_differences_the_detectable_one_is_that_of_the_corrected_level() -> None:
    found = difference([1.0, 2.5, 0.5, 3.0, 1.5])
    assert found.detectable_among(1) == pytest.approx(found.detectable)
    sd = float(np.std(found.values, ddof=1))
    assert found.detectable_among(6) == pytest.approx(detectable_difference(sd, 5, level=1 - 0.05 / 6))
    assert difference([1.0]).detectable_among(6) is None
