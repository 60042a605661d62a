"""Cells: pairing, its refusals, marks, and what an absent run changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmark.report.cells import Group, group_runs
from benchmark.report.collect import collect
from benchmark.report.measures import accuracy
from benchmark.report.tables import main_table
from tests.report import fakes

SEEDS = (0.80, 0.82, 0.84, 0.81, 0.83)


def group(
    sweep: Path,
    accuracies: Mapping[str, Sequence[float | None]],
    changes: Mapping[tuple[str, int], dict[str, Any]] | None = None,
) -> Group:
    """A group whose runs have the given accuracies (None: not run) and changed fields."""
    grid = fakes.grid(tuple(accuracies), seeds=len(next(iter(accuracies.values()))))
    for item in grid:
        value = accuracies[item.method][item.seed]
        if value is not None:
            fakes.write_run(sweep, item, {"test_accuracy": value} | (changes or {}).get((item.method, item.seed), {}))
    (found,) = group_runs(fakes.info(tuple(accuracies)), grid, collect(sweep, grid))
    return found


def test_differences_are_paired_by_seed_in_points(tmp_path: Path) -> None:
    base, other = group(tmp_path, {"fine_tuning": (0.80, 0.82, 0.84), "smile": (0.83, 0.84, 0.88)}).cells
    assert base.difference is None
    assert (other.difference.mean, other.difference.n) == (pytest.approx(3.0), 3)
    assert other.difference.half_width == pytest.approx(4.302652729911275 / 3**0.5)
    assert other.difference.p == pytest.approx(0.0351, abs=1e-4)


def test_a_missing_seed_changes_n_and_the_pairs_and_is_named(tmp_path: Path) -> None:
    base, other = group(tmp_path, {"fine_tuning": (0.80, None, 0.84), "smile": (None, 0.84, 0.88)}).cells
    assert (base.n, base.expected, other.n) == (2, 3, 2)
    assert (other.difference.n, other.difference.mean) == (1, pytest.approx(4.0))
    assert [item.expected.seed for item in other.absent] == [0]


def test_pairing_is_refused_where_the_subsets_differ(tmp_path: Path) -> None:
    changed = {("smile", 1): {"subset_hash": "other images"}}
    cell = group(tmp_path, {"fine_tuning": (0.80, 0.82), "smile": (0.83, 0.84)}, changed).cell("smile")
    assert cell.difference is None
    assert "seed 1" in cell.refused
    assert cell.accuracy.mean == pytest.approx(83.5)


@pytest.mark.parametrize(
    ("base", "reason"), [((None, None), "the baseline has no finished run"), ((0.8, None), "no finished seed in common with fine_tuning")]
)
def test_a_cell_without_partner_says_why(tmp_path: Path, base: tuple[float | None, ...], reason: str) -> None:
    cell = group(tmp_path, {"fine_tuning": base, "smile": (None, 0.84)}).cell("smile")
    assert (cell.difference, cell.refused) == (None, reason)


def test_two_pairs_get_an_interval_but_no_p(tmp_path: Path) -> None:
    cell = group(tmp_path, {"fine_tuning": (0.80, 0.82), "smile": (0.83, 0.84)}).cell("smile")
    assert cell.difference.half_width > 0
    assert cell.p_holm is None


def test_p_values_are_holm_corrected_over_the_table(tmp_path: Path) -> None:
    values = {"fine_tuning": (0.80, 0.82, 0.84), "smile": (0.83, 0.84, 0.88), "mixup": (0.80, 0.83, 0.84), "rifle": (0.79, 0.83, 0.83)}
    cells = group(tmp_path, values).cells
    p = {cell.method: cell.difference.p for cell in cells[1:]}
    assert cells[1].p_holm == pytest.approx(3 * p["smile"])
    assert cells[2].p_holm == pytest.approx(2 * min(p["mixup"], p["rifle"]))


def test_mixed_hardware_is_seen(tmp_path: Path) -> None:
    changed = {("smile", 1): {"threads": 2}}
    base, other = group(tmp_path, {"fine_tuning": (0.80, 0.82), "smile": (0.83, 0.84)}, changed).cells
    assert (base.mixed, other.mixed) == (False, True)


def test_best_and_tied_are_marked_from_five_complete_seeds_on(tmp_path: Path) -> None:
    close = [v + d for v, d in zip(SEEDS, (0.01, -0.01, 0.02, 0.0, 0.01), strict=True)]
    values = {"fine_tuning": SEEDS, "smile": close, "linear_probe": [v - 0.2 + d / 9 for v, d in zip(SEEDS, close, strict=True)]}
    assert [cell.mark for cell in group(tmp_path / "five", values).cells] == ["tied", "best", ""]
    holed = values | {"linear_probe": [*values["linear_probe"][:4], None]}
    assert [cell.mark for cell in group(tmp_path / "hole", holed).cells] == ["", "", ""]
    four = {method: row[:4] for method, row in values.items()}
    assert [cell.mark for cell in group(tmp_path / "four", four).cells] == ["", "", ""]


def test_why_no_method_is_marked_is_said_as_it_is(tmp_path: Path) -> None:
    six = [*SEEDS, 0.8]
    said = {
        "alone": ({"fine_tuning": SEEDS}, "there is no other to compare it with"),
        "few": ({"fine_tuning": SEEDS[:4], "smile": SEEDS[:4]}, "that takes at least 5 finished seeds of every method"),
        "hole": ({"fine_tuning": six, "smile": [*SEEDS, None]}, "that takes all seeds of every method, and smile lacks 1 of 6 seeds"),
    }
    for name, (values, words) in said.items():
        assert main_table(group(tmp_path / name, values)).notes[-1] == f"No method is marked as best: {words}"
    found = group(tmp_path / "other", {"fine_tuning": SEEDS, "smile": SEEDS}, {("smile", 2): {"subset_hash": "other"}})
    words = "not all methods are paired: trained on other images than smile at seed 2"
    assert found.unmarked == words


def test_deleting_runs_never_changes_a_mean_silently(tmp_path: Path) -> None:
    full = group(tmp_path / "full", {"fine_tuning": SEEDS, "smile": SEEDS}).cell("smile")
    for hole in range(5):
        values = [None if seed == hole else value for seed, value in enumerate(SEEDS)]
        cell = group(tmp_path / str(hole), {"fine_tuning": SEEDS, "smile": values}).cell("smile")
        assert (cell.n, len(cell.absent)) == (4, 1)
        assert cell.accuracy.mean == pytest.approx((5 * full.accuracy.mean - accuracy(full.runs[hole])) / 4)


def test_groups_and_cells_keep_the_sweeps_order(tmp_path: Path) -> None:
    methods = ("smile", "fine_tuning", "mixup")
    grid = fakes.grid(methods, ("toys", "animals"), (0.5, 0.15), 1)
    groups = group_runs(fakes.info(methods), grid, collect(tmp_path, grid))
    assert [(g.dataset, g.fraction) for g in groups] == [("toys", 0.5), ("toys", 0.15), ("animals", 0.5), ("animals", 0.15)]
    assert all(tuple(cell.method for cell in g.cells) == methods for g in groups)
