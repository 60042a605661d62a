"""Budget curves against brute force, and the optimism table against its definition."""

import csv
import io
import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.report import optimism
from benchmark.report.budget import budget_csv, curve, expected_best
from benchmark.report.build import build
from benchmark.report.collect import Run, Tuned
from benchmark.report.intervals import t_interval
from benchmark.report.text import CAPTION, EVALUATED, NONE, caption
from benchmark.tuning.search import write_budget
from tests.report import fakes


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=9), data=st.data())
def test_the_expected_best_is_the_mean_over_all_subsets(scores: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(scores)))
    subsets = list(itertools.combinations(scores, k))
    assert expected_best(scores, k) == pytest.approx(math.fsum(map(max, subsets)) / len(subsets), abs=1e-12)


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_a_curve_rises_from_the_mean_to_the_best(scores: list[float]) -> None:
    found = curve(Tuned("d", 1.0, "m", tuple(scores), 2))
    assert found[0] == pytest.approx(sum(scores) / len(scores))
    assert found[-1] == max(scores)
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("k", [0, 4])
def test_no_more_trials_can_be_drawn_than_there_are(k: int) -> None:
    with pytest.raises(ValueError, match=f"no {k} of 3 trials"):
        expected_best([0.1, 0.2, 0.3], k)


TUNED = (Tuned("toys", 0.15, "fine_tuning", (0.5, 0.7, 0.6), 2), Tuned("toys", 0.15, "smile", (0.4, 0.8), 2))


def test_the_curves_are_written_as_numbers_and_figures(tmp_path: Path) -> None:
    paths = write_budget(tmp_path, TUNED)
    assert all(path.is_file() for path in paths)
    assert (tmp_path / "figures" / "budget-toys-0.15.svg").is_file()
    rows = list(csv.DictReader(io.StringIO(budget_csv(TUNED))))
    assert [(row["method"], row["trials"]) for row in rows] == [
        ("fine_tuning", "1"),
        ("fine_tuning", "2"),
        ("fine_tuning", "3"),
        ("smile", "1"),
        ("smile", "2"),
    ]
    assert float(rows[0]["expected_best_val_accuracy"]) == pytest.approx(60)
    assert float(rows[1]["expected_best_val_accuracy"]) == pytest.approx((60 + 70 + 70) * 1 / 3)
    assert float(rows[4]["expected_best_val_accuracy"]) == pytest.approx(80)
    assert write_budget(tmp_path / "none", ()) == []


METHODS = ("fine_tuning", "smile")


@pytest.mark.slow
def test_the_report_shows_curves_optimism_and_the_rule(tmp_path: Path) -> None:
    grid = fakes.grid(METHODS)
    fakes.write_sweep(tmp_path, grid)
    for item in grid:
        last = fakes.record(item)["test_accuracy"]
        (tmp_path / "runs" / item.run_id / "snapshots.csv").write_text(
            f"step,test_accuracy,test_mean_class_accuracy\n20,{last - 0.1},0.1\n40,{last + 0.01 * (item.seed + 1)},0.1\n60,{last},0.1\n"
        )
    (tmp_path / "runs" / grid[-1].run_id / "snapshots.csv").unlink()
    info = fakes.info(METHODS)
    info = info.__class__(**{**info.__dict__, "selection": "Settings were drawn from a hat.", "tuning": TUNED})
    report = build(tmp_path, info, grid)
    main, table = report.tables
    assert table.title == "Optimism of the best snapshot: toys, 15 % of the labels"
    assert [value.text for value in table.rows[0]][-2:] == ["+2.0 ± 2.5", "3"]
    assert [value.text for value in table.rows[1]][-1] == "2 of 3"
    assert float(table.rows[0][3].sort) == pytest.approx(t_interval([1, 2, 3]).mean)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in (
        "Optimism of the best snapshot on test",
        "+2.0 ± 2.5",
        f"Settings were drawn from a hat. {EVALUATED}",
    ):
        assert text in page
    assert "What a tuning budget buys: toys, 15 % of the labels" in page
    assert "No selection" not in page
    for name in ("main.md", "main.tex"):
        assert "drawn from a hat" in (tmp_path / "tables" / name).read_text()
    assert report.caption == caption("Settings were drawn from a hat.")
    rows = list(csv.DictReader((tmp_path / "tables" / "optimism.csv").open()))
    assert len(rows) == 5
    assert {(row["snapshots"], row["best_step"]) for row in rows} == {("3", "40")}
    averaged = build(tmp_path, info.__class__(**{**info.__dict__, "averaged": ("smile",)}), grid).tables[1]
    assert [value.text for value in averaged.rows[1]][1:4] == [NONE] * 3, "a snapshot of what is no iterate shows no optimism"
    assert averaged.notes[1] == "smile: none is given, since what is evaluated is an average of iterates"
    assert {row["method"] for row in csv.DictReader((tmp_path / "tables" / "optimism.csv").open())} == {"fine_tuning"}
    report = build(tmp_path, info, grid)
    again = build(tmp_path, info, grid)
    assert (again.redrawn, again.tables, again.caption) == (False, report.tables, report.caption)
    main_alone = build(tmp_path, fakes.info(METHODS), grid)
    assert main_alone.redrawn
    assert main_alone.caption == CAPTION
    assert not (tmp_path / "tables" / "tuning_budget.csv").exists()
    assert [row[1:] for row in main_alone.tables[0].rows] == [row[1:] for row in main.rows]


@pytest.mark.slow
def test_snapshots_change_no_number_of_the_main_tables(tmp_path: Path) -> None:
    grid = fakes.grid(METHODS)
    fakes.write_sweep(tmp_path, grid)
    build(tmp_path, fakes.info(METHODS), grid)
    before = {name: (tmp_path / "tables" / name).read_text() for name in ("main.md", "main.csv", "main.tex")}
    for item in grid:
        (tmp_path / "runs" / item.run_id / "snapshots.csv").write_text("step,test_accuracy,test_mean_class_accuracy\n60,1.0,1.0\n")
    (tmp_path / "report_state.json").unlink()
    build(tmp_path, fakes.info(METHODS), grid)
    assert {name: (tmp_path / "tables" / name).read_text() for name in before} == before


def test_only_the_diagnostic_and_the_comparison_read_snapshots() -> None:
    root = Path(optimism.__file__).parents[1]
    readers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if any(word in path.read_text() for word in ("snapshots.csv", ".snapshots()", "import optimism", "report.optimism"))
    }
    in_report = {f"report/{name}.py" for name in ("collect", "optimism", "redraw", "page")}
    whole = "exchange/conflicts.py"  # where the table ends, to see whether a copy is whole; no accuracy
    assert readers == {"training/checkpoint.py", "published/comparison.py", whole, *in_report}


def test_of_equal_snapshots_the_first_is_the_best(tmp_path: Path) -> None:
    (tmp_path / "snapshots.csv").write_text("step,test_accuracy,test_mean_class_accuracy\n20,0.8,0\n40,0.8,0\n60,0.7,0\n")
    run = Run(fakes.grid(METHODS)[0], {}, tmp_path)
    assert optimism.read(run) == optimism.Scored(best=80.0, best_step=20, last=70.0, count=3)
    assert optimism.read(replace(run, folder=tmp_path / "none")) is None
