"""A/A on real runs: one method under two names, ten short trainings of the embedded backbone on digits."""

from pathlib import Path

import pytest

from benchmark.config import grid
from benchmark.report.cells import Cell, group_runs
from benchmark.report.collect import Expected, SweepInfo, collect
from benchmark.training.run import train
from tests.report import fakes
from tests.runs import Notebook
from tests.training.test_run import record

pytestmark = pytest.mark.slow

NAMES = ("first", "second")


def cells(folder: Path, seeds: dict[str, tuple[int, ...]]) -> tuple[Cell, ...]:
    """The cells of both names, each trained at its own seed indices and entered as seeds 0, 1, …"""
    methods = "methods=[{name: first, use: fine_tuning}, {name: second, use: fine_tuning}]"
    small = ["training.steps=30", "training.image_size=32", "linearity.pairs=0", "runtime.device=cpu"]
    runs = grid.load("quick", [methods, "baseline=first", f"seeds={sorted(set().union(*seeds.values()))}", *small]).runs
    expected = []
    for run in runs:
        if run.seed in seeds[run.method]:
            target = folder / "runs" / run.run_id
            if not target.exists():
                train(run, Notebook(target))
            expected.append(Expected(run.run_id, run.dataset, run.fraction, run.method, seeds[run.method].index(run.seed)))
    info = SweepInfo("aa", "first", NAMES, "smile", "", "")
    return group_runs(info, expected, collect(folder, expected))[0].cells


def test_at_the_same_seed_the_names_are_equal(tmp_path: Path) -> None:
    first, second = cells(tmp_path, {"first": (0,), "second": (0,)})
    assert first.accuracy == second.accuracy
    assert second.difference.mean == 0


def test_at_other_seeds_the_names_do_not_differ(tmp_path: Path) -> None:
    """Runs at other seed indices saw other images, so that pairing them is refused; taken as pairs all the same, which is valid
    between independent runs, the test finds no difference."""
    first, second = cells(tmp_path, {"first": (0, 1, 2, 3, 4), "second": (5, 6, 7, 8, 9)})
    assert (first.n, second.n) == (5, 5)
    assert second.difference is None
    assert "other images than first at seed 0, 1, 2, 3, 4" in second.refused
    accuracies = {
        (c.dataset, c.fraction, c.method, run.seed): record(run.folder)["test_accuracy"] for c in (first, second) for run in c.runs
    }
    asked = [run.expected for cell in (first, second) for run in cell.runs]
    again = group_runs(SweepInfo("aa", "first", NAMES, "smile", "", ""), asked, fakes.in_memory(asked, accuracies))[0].cells[1]
    assert again.difference.n == 5
    assert again.difference.half_width > 0
    assert again.p_holm >= 0.05
