"""What the words say can go unnoticed is what the corrected tests can miss."""

from pathlib import Path

import numpy as np
import pytest

from benchmark.report.across import compare_across
from benchmark.report.cells import group_runs
from benchmark.report.collect import Expected, collect
from benchmark.report.effects import ablation_words, effects
from benchmark.report.intervals import detectable_difference
from benchmark.report.summary import summarise
from tests.report import fakes

METHODS = ("fine_tuning", "smile", "mixup", "l2_sp")


def limit(values: list[list[float]], family: int) -> float:
    return max(detectable_difference(float(np.std(each, ddof=1)), len(each), level=1 - 0.05 / family) for each in values)


def test_the_limit_of_the_summary_is_that_of_the_corrected_tests() -> None:
    rng = np.random.default_rng(0)
    scores = {method: rng.normal(80, 1, 6) for method in METHODS}
    grid: list[Expected] = fakes.grid(METHODS, seeds=6)
    found = fakes.in_memory(grid, {(e.dataset, e.fraction, e.method, e.seed): scores[e.method][e.seed] / 100 for e in grid})
    groups = group_runs(fakes.info(METHODS), grid, found)
    words = " ".join(summarise(groups, compare_across(groups), grid, found)[groups[0].title])
    expected = limit([list(scores[method] - scores["fine_tuning"]) for method in METHODS[1:]], family=3)
    assert f"true differences below {expected:.1f} points can go unnoticed here, the correction included" in words


def test_the_limit_of_an_ablation_is_that_of_the_corrected_tests(tmp_path: Path) -> None:
    grid = fakes.grid(fakes.ABLATION, seeds=5)
    fakes.write_sweep(tmp_path, grid)
    (group,) = group_runs(fakes.info(fakes.ABLATION), grid, collect(tmp_path, grid))
    found = effects(group)
    family = sum(len(effect.differences) for effect in found)
    assert family == 18
    open_ = [list(effect.differences["accuracy", "test"].values) for effect in found if ("accuracy", "test") not in effect.clear]
    (line,) = (line for line in ablation_words(group) if line.startswith("Test accuracy"))
    assert f"(true differences below {limit(open_, family):.1f} can go unnoticed, the correction included)" in line


@pytest.mark.parametrize("seeds", [1, 2])
def test_without_a_test_there_is_no_limit(seeds: int, tmp_path: Path) -> None:
    grid = fakes.grid(fakes.ABLATION, seeds=seeds)
    fakes.write_sweep(tmp_path, grid)
    (group,) = group_runs(fakes.info(fakes.ABLATION), grid, collect(tmp_path, grid))
    assert not any("unnoticed" in line for line in ablation_words(group))
