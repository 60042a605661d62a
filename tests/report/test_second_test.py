"""Columns of a second test set, from made-up records."""

import csv
import io
from pathlib import Path

import pytest

from benchmark.report.cells import group_runs
from benchmark.report.collect import collect, flat_rows
from benchmark.report.tables import main_csv, main_table
from tests.report import fakes

METHODS = ("fine_tuning", "smile")


def also(accuracy: float, data_hash: str = "a") -> dict:
    measures = {"accuracy": accuracy, "mean_class_accuracy": accuracy, "nll": 1 - accuracy, "ece": 0.25, "num_images": 9}
    return {"also_test": {"shifted": {**measures, "data_hash": data_hash, "pixels_hash": "p"}}}


def test_a_second_test_set_has_columns_of_its_own(tmp_path: Path) -> None:
    grid = fakes.grid(METHODS, seeds=2)
    for item, accuracy in zip(grid, (0.5, 0.7, 0.25, 0.75), strict=True):
        fakes.write_run(tmp_path, item, also(accuracy))
    found = collect(tmp_path, grid)
    (group,) = group_runs(fakes.info(METHODS), grid, found)
    table = main_table(group)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["Accuracy on shifted (%)"].sort for row in rows] == pytest.approx([60, 50])
    assert [row["NLL on shifted"].sort for row in rows] == pytest.approx([0.4, 0.5])
    assert [row["ECE on shifted"].text for row in rows] == ["0.250 ± 0.000", "0.250 ± 0.000"]
    assert table.columns.index("Accuracy on shifted (%)") in table.compact
    (first, _) = csv.DictReader(io.StringIO(main_csv([group])))
    assert float(first["shifted_accuracy_mean"]) == pytest.approx(60)
    assert [row["shifted_accuracy"] for row in flat_rows(found.runs, ("run_id",))] == [0.5, 0.7, 0.25, 0.75]


def test_without_one_there_is_no_column(tmp_path: Path) -> None:
    grid = fakes.grid(METHODS, seeds=1)
    fakes.write_sweep(tmp_path, grid)
    (group,) = group_runs(fakes.info(METHODS), grid, collect(tmp_path, grid))
    assert not [column for column in main_table(group).columns if " on " in column]


def test_records_of_other_shifted_images_are_stale(tmp_path: Path) -> None:
    grid = fakes.grid(METHODS, seeds=1)
    fakes.write_run(tmp_path, grid[0], also(0.5))
    fakes.write_run(tmp_path, grid[1], {**also(0.5, "b"), "finished_at": "2001-01-01T00:00:00+00:00"})
    (stale,) = collect(tmp_path, grid).absent
    assert (stale.expected, stale.state) == (grid[0], "stale")
    assert "data_hash of 'shifted' differ" in stale.reason


@pytest.mark.parametrize("value", [[], {"shifted": 3}, {"shifted": {"accuracy": None}}])
def test_a_damaged_field_is_named(value: object, tmp_path: Path) -> None:
    grid = fakes.grid(METHODS[:1], seeds=1)
    fakes.write_run(tmp_path, grid[0], {"also_test": value})
    (absent,) = collect(tmp_path, grid).absent
    assert absent.state == "unreadable"
    assert "also_test" in absent.reason
