"""What a tune block asks for: equal budgets, repeatable draws, and refusals that name the place."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.config import grid
from benchmark.config.tune_options import Range, Tune, random_settings
from benchmark.errors import UsageError
from benchmark.storage import yamlio
from benchmark.tuning.search import warnings
from benchmark.tuning.trials import cells
from tests.commands import command
from tests.tuning.made_up import SPACES, TUNE, opened, sweep_file


def tune(**changes: Any) -> Tune:
    return Tune.model_validate({**TUNE, **changes})


@pytest.mark.parametrize("method", ["fine_tuning", "l2_sp", "mixup"])
def test_random_search_gives_each_method_the_budget_in_different_settings(method: str) -> None:
    found = tune(trials=20).settings(method, "file")
    assert len(found) == 20
    assert all(found.count(settings) == 1 for settings in found)
    assert all(settings.keys() == {"training.lr", *SPACES.get(method, {})} for settings in found)
    assert all(0.001 <= settings["training.lr"] <= 0.1 for settings in found)
    assert found == tune(trials=20).settings(method, "file")
    assert found != tune(trials=20, seed=1).settings(method, "file")
    assert found[:6] == tune().settings(method, "file")


def test_trials_may_be_shorter_than_the_sweep_and_stay_those_of_the_same_file(tmp_path: Path) -> None:
    """Their runs are those of a sweep of as many steps, so that a report of the whole sweep finds them."""
    short = [trial.runs for cell in cells(opened(tmp_path, {**TUNE, "steps": 4})) for trial in cell.trials]
    assert {run.training.steps for runs in short for run in runs} == {4}
    plain = opened(tmp_path, training={"steps": 4, "batch_size": 8, "image_size": 32})
    assert [run.run_id for runs in short for run in runs] == [
        run.run_id for cell in cells(plain) for trial in cell.trials for run in trial.runs
    ]


def test_tuning_seeds_are_others_than_a_sweep_counts_unless_given(tmp_path: Path) -> None:
    rest = {key: value for key, value in TUNE.items() if key != "seeds"}
    assert warnings(opened(tmp_path, rest, seeds=50)) == []
    assert warnings(opened(tmp_path, TUNE, seeds=[3, 101]))[0].startswith("seeds 101 are used both for tuning and in the final sweep")


def test_methods_try_the_same_values_of_what_they_share() -> None:
    rates = [[settings["training.lr"] for settings in tune().settings(method, "file")] for method in ("fine_tuning", "l2_sp")]
    assert rates[0] == rates[1]


def test_methods_draw_a_shared_choice_alike_and_pass_over_repeats_each_by_itself() -> None:
    """A list runs through sooner in the method that has nothing else: the doubles that another key tells apart are passed over there."""
    found = tune(trials=4, shared={"training.weight_decay": [0.0, 0.1, 0.2, 0.3]}, spaces={"mixup": SPACES["mixup"]})
    alone = [settings["training.weight_decay"] for settings in found.settings("fine_tuning", "file")]
    beside = [settings["training.weight_decay"] for settings in found.settings("mixup", "file")]
    assert sorted(alone) == [0.0, 0.1, 0.2, 0.3]
    assert beside != alone
    draws = [
        itertools.islice((each["training.weight_decay"] for each in random_settings(found.space(method, "file"), 0)), 50)
        for method in ("fine_tuning", "mixup")
    ]
    assert list(draws[0]) == list(draws[1])


def test_a_logarithmic_range_is_drawn_evenly_in_the_logarithm() -> None:
    rates = [settings["training.lr"] for settings in tune(trials=400).settings("fine_tuning", "file")]
    assert 0.4 < sum(rate < 0.01 for rate in rates) / len(rates) < 0.6


@given(low=st.floats(1e-6, 1e3), width=st.floats(1.01, 1e6), share=st.floats(0, 1), log=st.booleans())
def test_a_range_stays_inside_its_ends_and_inverts(low: float, width: float, share: float, log: bool) -> None:
    found = Range(low=low, high=low * width, log=log)
    value = found.at(share)
    assert found.low <= value <= found.high
    assert 0 <= found.share(value) <= 1
    if width > 2:
        assert math.isclose(found.share(value), share, abs_tol=0.02)


def test_whole_ends_give_whole_numbers_and_all_of_them() -> None:
    found = tune(trials=5, shared={"rifle.n_periods": {"low": 2, "high": 6}}, spaces={}).settings("rifle", "file")
    assert sorted(settings["rifle.n_periods"] for settings in found) == [2, 3, 4, 5, 6]
    assert all(isinstance(settings["rifle.n_periods"], int) for settings in found)


def test_a_grid_fills_the_budget_with_the_open_range() -> None:
    full = tune(search="grid", trials=8, spaces={"mixup": SPACES["mixup"]})
    assert [settings["training.lr"] for settings in full.settings("fine_tuning", "file")] == [
        0.001, 0.00193, 0.00373, 0.0072, 0.0139, 0.0268, 0.0518, 0.1,
    ]  # fmt: skip
    found = full.settings("mixup", "file")
    assert [(s["training.lr"], s["mixup.alpha"]) for s in found] == [(lr, a) for lr in (0.001, 0.1) for a in (0.1, 0.2, 0.5, 1.0)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, ["tune.steps", "greater than or equal to 1"]),
        ({"steps": 5, "shared": {"training.steps": [5, 6]}}, ["'training.steps' cannot be tuned where tune.steps fixes it"]),
        ({"spaces": {"mixup": {"training.steps": [6, 60]}}}, ["spaces.mixup: 'training.steps'", "the same for all: tune it under shared"]),
        ({"spaces": {"l2_sp": {"training.batch_size": [8, 64]}}}, ["spaces.l2_sp: 'training.batch_size'", "tune it under shared"]),
        ({"trials": 1}, ["tune.trials", "greater than or equal to 2"]),
        ({"trialz": 3}, ["tune.trialz", "unknown key 'trialz'"]),
        ({"search": "bayes"}, ["tune.search", "'bayes'", "'random'"]),
        ({"seeds": []}, ["tune.seeds"]),
        ({"seeds": [1, 1]}, ["a seed is given twice"]),
        ({"val_fraction": 0.0}, ["tune.val_fraction", "greater than 0"]),
        ({"shared": {}}, ["nothing to tune in 'fine_tuning'"]),
        ({"shared": {"data.resize": [64, 72]}}, ["'data.resize' cannot be tuned"]),
        ({"shared": {"precision": ["fp32"]}}, ["'precision' cannot be tuned"]),
        ({"shared": {"training.lr": {"low": 1.0, "high": 0.1}}}, ["low (1.0) must be below high (0.1)"]),
        ({"shared": {"training.lr": {"low": 0.0, "high": 0.1, "log": True}}}, ["needs low above 0"]),
        ({"shared": {"training.lr": [0.1, 0.01]}, "spaces": {}}, ["'fine_tuning' has only 2 settings, fewer than the budget of 6"]),
        ({"shared": {"training.lr": {"low": 0.1, "high": 0.1001}}}, ["widen its ranges"]),
        ({"spaces": {"l2sp": {"l2_sp.alpha": [1.0]}}}, ["tune.spaces", "did you mean 'l2_sp'"]),
        ({"search": "tpe"}, ["tune.search", "'tpe'", "'grid'"]),
        ({"search": "grid", "seed": 3}, ["it has no seed"]),
        ({"shared": {"training.lr": {"low": 0.1, "high": 1.0, "points": 3}}}, ["points are of search 'grid' alone"]),
        ({"search": "grid"}, ["method 'l2_sp'", "give points for all but one of training.lr, l2_sp.alpha"]),
        ({"search": "grid", "spaces": {"mixup": SPACES["mixup"]}}, ["method 'mixup'", "budget of 6 trials"]),
    ],
)
def test_a_tune_block_is_refused_with_the_place_and_the_reason(changes: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        opened(tmp_path, {**TUNE, **changes})
    for word in ["tuned.yaml", *words]:
        assert word in str(error.value)


def test_an_option_that_does_not_exist_is_refused_before_any_run(tmp_path: Path) -> None:
    found = opened(tmp_path, {**TUNE, "spaces": {"mixup": {"mixup.alfa": [0.1, 0.2]}}})
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        cells(found)


@pytest.mark.parametrize(("fractions", "val_fraction"), [("[0.005]", 0.2), ("[0.5,0.005]", 0.4)])
def test_a_subset_from_which_nothing_can_be_held_out_is_refused_before_any_trial(
    fractions: str, val_fraction: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sweep_file(tmp_path, tune={**TUNE, "val_fraction": val_fraction})
    code, shown = command(capsys, "tune", file, f"fractions={fractions}", "--out", tmp_path / "out")
    assert code == 2
    assert "no class has two training images" in shown
    assert "at fraction 0.005" in shown
    assert not (tmp_path / "out" / "tune" / "runs").exists()


def test_the_block_in_the_documentation_is_one() -> None:
    text = (grid.SWEEPS.parent / "docs" / "tuning.md").read_text(encoding="utf-8")
    block = yamlio.parse(text.partition("```yaml\n")[2].partition("```")[0], "docs")
    file = grid.SweepFile.model_validate({"name": "x", "datasets": ["digits"], "methods": ["fine_tuning", "mixup"], **block})
    file.tune.check(["fine_tuning", "mixup"], "docs")
    assert yamlio.read(grid.SWEEPS / "tune_quick.yaml")["tune"].items() >= {k: v for k, v in block["tune"].items() if k != "spaces"}.items()
