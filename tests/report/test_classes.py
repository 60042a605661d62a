"""Per-class accuracy and confusions from kept predictions."""

import csv
import io
import re
from pathlib import Path

import pytest
from scipy.stats import binomtest

from benchmark.report.build import build
from benchmark.report.classes import Confusion, summarise_classes
from benchmark.report.figures import write
from benchmark.report.intervals import t_interval, wilson_interval
from tests.report import fakes

NAMES = {0: "cat", 1: "dog", 2: "<owl> & co"}
METHODS = ("fine_tuning", "smile")


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (3, 7), (40, 50)])
def test_wilson_is_that_of_scipy(correct: int, n: int) -> None:
    expected = binomtest(correct, n).proportion_ci(method="wilson")
    assert wilson_interval(correct / n, n) == pytest.approx((expected.low, expected.high))


def test_classes_come_from_the_lowest_accuracy_up_with_both_intervals() -> None:
    found = summarise_classes([{(0, 0): 8, (0, 1): 2, (1, 1): 5}, {(0, 0): 6, (0, 1): 4, (1, 1): 5}], NAMES)
    assert [(c.name, c.images, c.accuracy.mean) for c in found.classes] == [("cat", 10, pytest.approx(70.0)), ("dog", 5, 100.0)]
    assert found.classes[0].accuracy == t_interval([80.0, 60.0])
    assert found.classes[0].wilson == pytest.approx([100 * end for end in wilson_interval(0.7, 10)])
    assert found.classes[1].wilson[0] < 60, "five images that all are right do not prove 100 %"
    assert found.confusions == (Confusion("cat", "dog", 3.0, pytest.approx(30.0)),)
    assert found.n == 2


def test_confusions_come_from_the_most_frequent_down() -> None:
    found = summarise_classes([{(0, 1): 1, (0, 2): 3, (1, 0): 2, (2, 2): 4}], NAMES)
    assert [(c.name, c.other, c.per_run) for c in found.confusions] == [("cat", "<owl> & co", 3), ("dog", "cat", 2), ("cat", "dog", 1)]
    assert found.classes[0].accuracy.half_width is None


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two seeds of two methods; smile takes one cat in five for a dog, and one of its files is cut off."""
    monkeypatch.setattr(write, "PER_GROUP", ())
    for item in fakes.grid(METHODS, seeds=3):
        fakes.write_run(tmp_path, item)
        labels = [0] * 5 + [1] * 5 + [2] * 4
        top1 = [1, *labels[1:]] if item.method == "smile" else labels
        fakes.write_predictions(tmp_path, item, labels, top1, NAMES)
    return tmp_path


def test_a_cell_of_the_page_shows_its_classes_and_confusions(sweep: Path) -> None:
    text = build(sweep, fakes.info(METHODS), fakes.grid(METHODS, seeds=3)).html.read_text(encoding="utf-8")
    cells = re.findall(r'<tr id="runs-1-\d".*?</dl>', text, re.S)
    assert "Most confused" not in cells[0]
    assert "<tr><td>cat</td><td>5</td><td>80.0 ± 0.0</td><td>[37.6, 96.4]</td></tr>" in cells[1]
    assert "<tr><td>cat</td><td>dog</td><td>1.0</td><td>20.0</td></tr>" in cells[1]
    assert "&lt;owl&gt; &amp; co" in cells[1]
    assert "predictions.parquet" in cells[1]


def test_all_classes_are_in_a_table_of_their_own(sweep: Path) -> None:
    build(sweep, fakes.info(METHODS), fakes.grid(METHODS, seeds=3))
    rows = list(csv.DictReader(io.StringIO((sweep / "tables" / "classes.csv").read_text())))
    assert [(row["method"], row["class"]) for row in rows if row["method"] == "smile"] == [
        ("smile", "cat"),
        ("smile", "<owl> & co"),
        ("smile", "dog"),
    ]
    assert {row["n"] for row in rows} == {"3"}


def test_damaged_predictions_are_named_and_the_rest_is_shown(sweep: Path) -> None:
    grid = fakes.grid(METHODS, seeds=3)
    info = fakes.info(METHODS)
    build(sweep, info, grid)
    damaged = sweep / "runs" / grid[-1].run_id / "predictions.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    report = build(sweep, info, grid)
    assert report.redrawn
    assert any(note.startswith(f"smile, seed 2: runs/{grid[-1].run_id}/predictions.parquet is damaged") for note in report.tables[0].notes)
    rows = csv.DictReader(io.StringIO((sweep / "tables" / "classes.csv").read_text()))
    assert {row["n"] for row in rows if row["method"] == "smile"} == {"2"}


def test_a_sweep_without_predictions_has_no_table_of_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PER_GROUP", ())
    grid = fakes.grid(METHODS, seeds=2)
    fakes.write_sweep(tmp_path, grid)
    report = build(tmp_path, fakes.info(METHODS), grid)
    assert not (tmp_path / "tables" / "classes.csv").exists()
    assert "by class" not in report.html.read_text(encoding="utf-8")
