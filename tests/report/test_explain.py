"""``smilebench explain``: which cell or run a text names, and what is printed of it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.errors import UsageError
from benchmark.report.cells import group_runs
from benchmark.report.collect import Expected, collect
from benchmark.report.explain import Target, explain, find_target
from benchmark.storage import yamlio
from tests.report import fakes

METHODS = ("fine_tuning", "smile", "l2_sp+mixup")
ONE = fakes.grid(METHODS)
MANY = fakes.grid(METHODS, ("toys", "animals"), (0.15, 1.0), seeds=2)


@pytest.mark.parametrize(
    ("grid", "text", "target"),
    [
        (MANY, "animals/0.15/smile", Target("animals", 0.15, "smile")),
        (MANY, "animals/15%/smile", Target("animals", 0.15, "smile")),
        (MANY, "toys/100 %/l2_sp+mixup", Target("toys", 1.0, "l2_sp+mixup")),
        (MANY, "toys/1/smile", Target("toys", 1.0, "smile")),
        (ONE, "smile", Target("toys", 0.15, "smile")),
        (ONE, "0.15/smile", Target("toys", 0.15, "smile")),
        (ONE, "toys/smile", Target("toys", 0.15, "smile")),
        (ONE, ONE[4].run_id, Target("toys", 0.15, "smile", 1)),
        (ONE, "toys-0.15-smile-s2", Target("toys", 0.15, "smile", 2)),
    ],
)
def test_a_cell_or_run_is_found(grid: list[Expected], text: str, target: Target) -> None:
    assert find_target(grid, text) == target


@pytest.mark.parametrize(
    ("grid", "text", "message"),
    [
        (MANY, "smile", "no cell or run 'smile' in this sweep"),
        (MANY, "toys/15%/smyle", "nearest: toys/0.15/smile,"),
        (ONE, "toys-0.15-smile", "begins 3 run_ids"),
        (ONE, "", "no cell or run ''"),
        (ONE, "a/b/c/d", "methods: fine_tuning, smile, l2_sp+mixup"),
    ],
)
def test_anything_else_is_refused_with_the_choices(grid: list[Expected], text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        find_target(grid, text)
    assert message in str(error.value)
    assert "data sets: toys" in str(error.value)


def printed(sweep: Path, target: Target) -> str:
    info = fakes.info(METHODS)
    groups = group_runs(info, ONE, collect(sweep, ONE))
    console = Console(width=200, file=io.StringIO(), record=True)
    explain(info, groups, target, "smilebench sweep again", console)
    return console.export_text()


def test_a_cell_shows_its_runs_settings_cost_hashes_and_command(tmp_path: Path) -> None:
    fakes.write_sweep(tmp_path, ONE, holes=[ONE[5].run_id])
    fakes.write_failure(tmp_path, ONE[5], "out of memory")
    text = printed(tmp_path, Target("toys", 0.15, "smile"))
    record = fakes.record(ONE[3])
    for part in (
        "2 of 3 runs finished",
        f"{100 * record['test_accuracy']:.2f}",
        "Difference to fine_tuning",
        "over 2 pairs of seeds, not tested",
        "smile v1: feature_weight 0.01, alpha 0.2",
        "steps 60",
        "CPU-hours for 2 runs",
        record["weights_hash"],
        record["data_hash"],
        record["subset_hash"][:12],
        record["git_commit"],
        f"{ONE[5].run_id}: failed (out of memory)",
        str(tmp_path / "runs" / ONE[3].run_id),
        "Redo: smilebench sweep again",
    ):
        assert part in text, part


def test_a_run_shows_itself_alone(tmp_path: Path) -> None:
    fakes.write_sweep(tmp_path, ONE)
    text = printed(tmp_path, Target("toys", 0.15, "smile", 1))
    assert ONE[4].run_id in text
    assert ONE[3].run_id not in text
    assert "CPU-hours for 1 run;" in text


def test_settings_that_were_cut_off_or_are_of_another_shape_end_nothing(tmp_path: Path) -> None:
    fakes.write_run(tmp_path, ONE[3])
    path = tmp_path / "runs" / ONE[3].run_id / "config.yaml"
    text = yamlio.dump(fakes.settings(ONE[3]))
    said = set()
    for content in [*(text[:end] for end in range(0, len(text), 4)), "components: [x]", "components: {}", "training: 7", "[]", "runtime:"]:
        path.write_text(content)
        said.add("not kept, or is damaged" in printed(tmp_path, Target("toys", 0.15, "smile")))
    assert said == {True, False}


def test_what_was_not_kept_or_not_run_is_said(tmp_path: Path) -> None:
    fakes.write_run(tmp_path, ONE[3])
    (tmp_path / "runs" / ONE[3].run_id / "config.yaml").unlink()
    assert "config.yaml was not kept, or is damaged" in printed(tmp_path, Target("toys", 0.15, "smile"))
    assert f"{ONE[0].run_id}: missing (no record yet)" in printed(tmp_path, Target("toys", 0.15, "fine_tuning", 0))
