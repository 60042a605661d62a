"""Two methods seed by seed: what is compared first, and what the script gets."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from benchmark.config.method_options import method_looks
from benchmark.report.cells import Group, group_runs
from benchmark.report.collect import collect
from benchmark.report.intervals import difference, t_quantile
from benchmark.report.seed_pairs import LEFT, RIGHT, WIDTH, difference_sentence, first_pair, pair_data, scale
from benchmark.report.style import Looks
from benchmark.report.text import signed
from tests.report import fakes

METHODS = ("fine_tuning", "smile", "mixup")
LOOKS = Looks(method_looks())
ACCURACIES = {"fine_tuning": (0.8, 0.7, 0.75), "smile": (0.82, 0.71, 0.78), "mixup": (0.7, 0.9, 0.8)}


def make(sweep: Path, holes: tuple[int, ...] = ()) -> tuple[Group, ...]:
    grid = fakes.grid(METHODS)
    for number, item in enumerate(grid):
        if number not in holes:
            fakes.write_run(sweep, item, {"test_accuracy": ACCURACIES[item.method][item.seed]})
    return group_runs(fakes.info(METHODS), grid, collect(sweep, grid))


def test_the_best_other_method_is_compared_with_the_baseline_first(tmp_path: Path) -> None:
    found = first_pair(make(tmp_path), LOOKS)
    assert (found.left, found.right, found.group) == ("mixup", "fine_tuning", "toys, 15 % of the labels")
    assert [row.name for row in found.rows] == ["seed 0", "seed 1", "seed 2", "mean"]
    assert [row.difference for row in found.rows] == ["−10.00", "+20.00", "+5.00", "+5.00"]
    assert found.rows[0].told == ("mixup, seed 0: 70.00 %", "fine_tuning, seed 0: 80.00 %")
    assert found.sentence == "mixup − fine_tuning: +5.00 points [−32.26, +42.26], 3 pairs of seeds."
    places = [x for row in found.rows for x in (row.left, row.right)]
    assert all(LEFT <= x <= WIDTH - RIGHT for x in places)
    by_value = sorted(zip((70, 80, 90, 70, 80, 75, 80, 75), places, strict=True))
    steps = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(by_value) if a[0] != b[0]]
    assert steps == pytest.approx([steps[0]] * len(steps))


def test_only_shared_seeds_are_compared(tmp_path: Path) -> None:
    found = first_pair(make(tmp_path, holes=(0, 7)), LOOKS)
    assert (found.left, [row.name for row in found.rows]) == ("smile", ["seed 1", "seed 2", "mean"])


def test_one_pair_has_no_interval_and_none_no_comparison(tmp_path: Path) -> None:
    assert "one pair of seeds: no interval" in first_pair(make(tmp_path / "one", holes=(0, 1)), LOOKS).sentence
    assert first_pair(make(tmp_path / "none", holes=(0, 1, 2)), LOOKS) is None


def test_the_script_gets_every_seed_with_its_subset_and_the_quantiles(tmp_path: Path) -> None:
    data = pair_data(make(tmp_path, holes=(8,)), LOOKS)
    (group,) = data["groups"]
    assert [method["name"] for method in group["methods"]] == list(METHODS)
    assert group["methods"][1]["seeds"] == {"0": [82.0, 0], "1": [71.0, 1], "2": [78.0, 2]}
    assert set(group["methods"][2]["seeds"]) == {"0", "1"}
    assert data["t"] == {2: pytest.approx(t_quantile(2)), 3: pytest.approx(4.302653, abs=1e-6)}


@pytest.mark.parametrize("values", [(80.0, 80.0), (0.0, 100.0), (79.99, 80.01), (12.3, 12.9)])
def test_an_axis_holds_all_values_between_few_round_ticks(values: tuple[float, float]) -> None:
    low, high, step = scale(values)
    assert low <= min(values) <= max(values) <= high
    assert 1 <= round((high - low) / step) <= 8
    assert f"{step:e}"[0] in "125"


def test_a_difference_that_rounds_to_zero_has_no_sign() -> None:
    assert [signed(value, "{:.2f}") for value in (0.004, -0.004, 0.006, -1.0)] == ["0.00", "0.00", "+0.01", "−1.00"]


@pytest.mark.parametrize(
    ("mean", "text"), [(1.245, "+1.25"), (1.2449999999999999, "+1.25"), (0.125, "+0.13"), (-0.125, "−0.13"), (0.0, "0.00")]
)
def test_a_half_is_rounded_up_whatever_the_order_of_its_sum(mean: float, text: str) -> None:
    found = replace(difference([1.0, 2.0, 3.0]), mean=mean)
    assert difference_sentence("a", "b", found).startswith(f"a − b: {text} points [")
