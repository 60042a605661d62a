"""Error rates of the whole way from records to verdicts, on simulated sweeps whose truth is known.

A seed has an effect that all methods share; each run adds noise of its own. Every simulation has a fixed seed. Counts are held to
their 99 % binomial interval: a dozen are checked here, of which 95 % intervals would miss one by chance.
"""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from benchmark.report.cells import Group, group_runs
from benchmark.report.intervals import detectable_difference
from tests.report import fakes

SWEEPS = 200


def simulated(values: np.ndarray) -> Group:
    """The group of ``values`` (methods × seeds, in percent), the first method being the baseline."""
    methods = tuple(f"m{i}" for i in range(len(values)))
    grid = fakes.grid(methods, seeds=values.shape[1])
    accuracies = {(e.dataset, e.fraction, e.method, e.seed): values[methods.index(e.method), e.seed] / 100 for e in grid}
    return group_runs(fakes.info(methods), grid, fakes.in_memory(grid, accuracies))[0]


def draw(rng: np.random.Generator, methods: int, n: int, effects: Sequence[float] = (), sd: float = 1.0) -> np.ndarray:
    shift = np.zeros((methods, 1))
    shift[: len(effects), 0] = effects
    return 80 + shift + rng.normal(0, 2, n) + rng.normal(0, sd, (methods, n))


def chance(rate: float = 0.05, sweeps: int = SWEEPS) -> tuple[int, int]:
    """Fewest and most of the sweeps that an event of this rate hits."""
    low, high = stats.binom.interval(0.99, sweeps, rate)
    return int(low), int(high)


@pytest.mark.parametrize("n", [3, 5])
def test_one_method_under_two_names_differs_from_itself_in_five_percent_of_sweeps(n: int) -> None:
    """With two names there is one comparison, so that Holm's correction leaves p as it is: the rate is 5 %, not at most 5 %."""
    rng = np.random.default_rng(n)
    p_values = [simulated(draw(rng, 2, n)).cells[1].p_holm for _ in range(SWEEPS)]
    low, high = chance()
    assert low <= sum(p < 0.05 for p in p_values) <= high
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5])
def test_the_rate_is_five_percent_on_many_sweeps(n: int) -> None:
    rng = np.random.default_rng(100 + n)
    false = sum(simulated(draw(rng, 2, n)).cells[1].p_holm < 0.05 for _ in range(5000))
    low, high = chance(sweeps=5000)
    assert low <= false <= high


@pytest.mark.parametrize("n", [3, 5])
def test_a_table_of_equal_methods_has_a_finding_in_five_percent_of_sweeps(n: int) -> None:
    """Eight comparisons that are independent, because the baseline's runs have no noise of their own: any finding among them has rate
    1 - (1 - 0.05/8)^8 = 4.9 %."""
    rng = np.random.default_rng(10 + n)
    hits = 0
    for _ in range(SWEEPS):
        seeds = rng.normal(0, 2, n)
        values = 80 + seeds + np.vstack([np.zeros(n), rng.normal(0, 1, (8, n))])
        hits += any(cell.p_holm < 0.05 for cell in simulated(values).cells[1:])
    low, high = chance(1 - (1 - 0.05 / 8) ** 8)
    assert low <= hits <= high


@pytest.mark.parametrize("n", [3, 5])
def test_a_noisy_baseline_does_not_raise_the_rate(n: int) -> None:
    """The comparisons then depend on each other, which can only lower the rate of any finding: at most 5 %."""
    rng = np.random.default_rng(20 + n)
    hits = sum(any(cell.p_holm < 0.05 for cell in simulated(draw(rng, 9, n)).cells[1:]) for _ in range(SWEEPS))
    assert hits <= chance()[1]


def test_equal_methods_are_rarely_called_worse_than_the_best() -> None:
    """The best is picked after a look at nine means: the marks must pay for that."""
    rng = np.random.default_rng(30)
    hits = sum(any(cell.mark == "" for cell in simulated(draw(rng, 9, 5)).cells) for _ in range(SWEEPS))
    assert hits <= chance()[1]


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_planted_point_is_found_as_often_as_the_detectable_difference_says(n: int) -> None:
    """The spread is chosen such that one point is what a paired test of n pairs finds in 80 % of sweeps; a difference of two runs
    has √2 times the spread of one."""
    spread = 1 / detectable_difference(1.0, n)
    rng = np.random.default_rng(40 + n)
    found = sum(simulated(draw(rng, 2, n, (0.0, 1.0), spread / 2**0.5)).cells[1].p_holm < 0.05 for _ in range(SWEEPS))
    low, high = chance(0.8)
    assert low <= found <= high


@pytest.mark.parametrize(("n", "rate"), [(3, 0.63), (5, 0.69), (10, 0.74)])
def test_an_observed_spread_makes_the_stated_power_too_high(n: int, rate: float) -> None:
    """A difference of the size that a first sweep states is planted into a second one of the same noise."""
    rng = np.random.default_rng(70 + n)
    found = 0
    for _ in range(SWEEPS):
        stated = simulated(draw(rng, 2, n)).cells[1].difference.detectable
        found += simulated(draw(rng, 2, n, (0.0, stated))).cells[1].p_holm < 0.05
    low, high = chance(rate)
    assert low <= found <= high


def test_the_stated_detectable_difference_is_that_of_the_observed_spread() -> None:
    group = simulated(draw(np.random.default_rng(50), 2, 5))
    difference = group.cells[1].difference
    assert difference.detectable == pytest.approx(detectable_difference(np.std(difference.values, ddof=1), 5))


def test_intervals_cover_the_truth_in_95_percent_of_sweeps() -> None:
    rng = np.random.default_rng(60)
    differences = [simulated(draw(rng, 2, 5, (0.0, 1.5))).cells[1].difference for _ in range(SWEEPS)]
    low, high = chance(0.95)
    assert low <= sum(d.low <= 1.5 <= d.high for d in differences) <= high
