"""Columns that a sweep file asks for: values by hand, how many runs are behind them, and none where none are asked for."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.report.cells import Group, group_runs, term_ratios
from benchmark.report.collect import collect
from benchmark.report.measures import COLUMN_NAMES
from benchmark.report.tables import main_csv, main_table
from tests.report import fakes

METHODS = ("fine_tuning", "l2_sp")
NLL = (1.25, 1.5, 1.0)


@pytest.fixture
def group(tmp_path: Path) -> Group:
    """Three seeds; fine_tuning's records know the NLL, l2_sp's but the first are of before it was recorded."""
    grid = fakes.grid(METHODS)
    for item in grid:
        known = {"test_nll": NLL[item.seed], "test_ece": 0.04} if item.method == "fine_tuning" or item.seed == 0 else {}
        fakes.write_run(tmp_path, item, {"test_accuracy": 0.8, "wall_seconds": 120.0 * (1 + item.seed), **known})
    return group_runs(fakes.info(METHODS), grid, collect(tmp_path, grid))[0]


def column(group: Group, name: str, title: str) -> list[str]:
    table = main_table(group, (name,))
    index = table.columns.index(title)
    assert index in table.compact, "what was asked for is shown everywhere"
    return [row[index].text for row in table.rows]


def test_values_by_hand_with_the_runs_behind_them(group: Group) -> None:
    half = stats.t.ppf(0.975, 2) * np.std(NLL, ddof=1) / 3**0.5
    assert column(group, "nll", "NLL") == [f"1.250 ± {half:.3f}", "1.250 (1 of 3)"]
    assert column(group, "ece", "ECE") == ["0.040 ± 0.000", "0.040 (1 of 3)"]
    assert column(group, "seconds", "Seconds")[0].startswith("240.0 ± ")
    rates = [80 / minutes for minutes in (2, 4, 6)]
    assert column(group, "accuracy_per_minute", "Accuracy per minute (points)")[0].startswith(f"{np.mean(rates):.2f} ± ")


def test_loss_terms_are_ratios_to_the_cross_entropy(group: Group) -> None:
    ratio = term_ratios(group.cells[1])["l2_sp"]
    assert column(group, "loss_ratios", "Loss terms (× cross-entropy)") == ["–", f"l2_sp {ratio:.2g}"]


def test_a_column_that_is_there_anyway_is_not_doubled(group: Group) -> None:
    plain, asked = main_table(group), main_table(group, ("mean_class_accuracy",))
    assert asked.columns == plain.columns
    assert set(asked.compact) - set(plain.compact) == {plain.columns.index("Mean-class accuracy (%)")}


def test_every_column_comes_into_table_and_csv(group: Group) -> None:
    table = main_table(group, COLUMN_NAMES)
    assert len(table.columns) == len(set(table.columns)) == len(main_table(group).columns) + len(COLUMN_NAMES) - 1
    row = next(csv.DictReader(io.StringIO(main_csv([group], COLUMN_NAMES))))
    assert float(row["nll_mean"]) == pytest.approx(np.mean(NLL))
    assert {f"{name}_low" for name in COLUMN_NAMES if name != "loss_ratios"} <= set(row)
    assert "loss_ratios" in row
    assert not [name for name in next(csv.DictReader(io.StringIO(main_csv([group])))) if name.startswith("nll")]
