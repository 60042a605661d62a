"""What a user's files and names can do to a report: a damaged file costs one line of a figure, a name no row and no file."""

import csv
import io
import json
import os
import warnings
from pathlib import Path

import pytest

from benchmark.devices import cpu_count
from benchmark.report.build import Report, build
from benchmark.report.cells import file_name, group_runs, term_ratios
from benchmark.report.collect import Tuned, collect
from benchmark.report.figures import canvas, write
from benchmark.report.figures.lines import linearity_series, loss_series
from benchmark.report.figures.rows import draw_accuracy
from benchmark.report.text import csv_text, markdown_table, to_latex
from tests.report import fakes

METHODS = ("fine_tuning", "smile")
GRID = fakes.grid(METHODS, seeds=2)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two methods, two seeds; of figures the accuracy alone is drawn."""
    monkeypatch.setattr(write, "PER_GROUP", (draw_accuracy,))
    fakes.write_sweep(tmp_path, GRID)
    return tmp_path


def report(folder: Path) -> Report:
    return build(folder, fakes.info(METHODS), GRID)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("curves.jsonl", b'{"step": 0, "loss/total": 1.0}\n{"step": 2, "loss/to', "line 2 is not JSON"),
        ("curves.jsonl", b"[1]\n", "line 1 is no log point"),
        ("curves.jsonl", b"\xff\xfe", "not UTF-8"),
        ("curves.jsonl", b"", "it has no rows"),
        ("linearity.csv", b"split,lam,feature_gap,feature_gap_rel,label_l1,label_kl,n_pairs\ntrain,0.0,0.0,0.", "line 2 holds no number"),
        ("linearity.csv", b"split,lam,feature_gap,feature_gap_rel,label_l1,label_kl,n_pairs\ntrain,0.0,0,0,0,0,9\n", "it is cut off"),
        ("linearity.csv", b"\x00\x01", "line 1 does not name its columns"),
        ("snapshots.csv", b"step,test_accuracy\n20,", "line 2 holds no number"),
        ("snapshots.csv", b"step\n20\n", "'test_accuracy'"),
    ],
)
def test_a_damaged_file_costs_its_line_and_is_named(sweep: Path, name: str, content: bytes, reason: str) -> None:
    (sweep / "runs" / GRID[2].run_id / name).write_bytes(content)
    found = report(sweep)
    assert [row[2].text for row in found.tables[0].rows] == ["2", "2"]
    (note,) = [note for note in found.tables[0].notes if "damaged" in note]
    assert note == f"smile, seed 0: runs/{GRID[2].run_id}/{name} is damaged ({reason})"


def test_the_other_seeds_of_a_damaged_run_are_still_drawn(sweep: Path) -> None:
    for name in ("curves.jsonl", "linearity.csv"):
        (sweep / "runs" / GRID[2].run_id / name).write_text("{")
    (group,) = group_runs(fakes.info(METHODS), GRID, collect(sweep, GRID))
    cell = group.cell("smile")
    (other,) = [run for run in cell.runs if run.seed == 1]
    assert loss_series(cell)["total"] == [(row["step"], row["loss/total"]) for row in other.curves()]
    assert len(linearity_series(cell)["test", "label_l1"]) == 5


@pytest.mark.parametrize("name", ["linearity.csv", "curves.jsonl"])
def test_a_deleted_or_repaired_file_is_noticed(sweep: Path, name: str) -> None:
    path = sweep / "runs" / GRID[0].run_id / name
    content = path.read_bytes()
    report(sweep)
    assert not report(sweep).redrawn
    path.unlink()
    assert report(sweep).redrawn
    path.write_bytes(content)
    assert report(sweep).redrawn
    assert not report(sweep).redrawn


@pytest.mark.parametrize("name", ["report.html", "tables/main.csv", "runs.parquet"])
def test_a_file_that_a_crash_left_empty_or_zeros_is_written_again(sweep: Path, name: str) -> None:
    report(sweep)
    before = (sweep / name).read_bytes()
    for left in (b"", bytes(len(before)), before[:-1] + b"x"):
        (sweep / name).write_bytes(left)
        assert report(sweep).redrawn
        assert (sweep / name).read_bytes() == before
    assert not report(sweep).redrawn


def test_files_that_a_crash_left_empty_or_zeros_are_written_again_together(sweep: Path) -> None:
    report(sweep)
    names = ("runs.csv", "tables/main.md", "figures/accuracy-toys-0.15.png", "figures/accuracy-toys-0.15.svg")
    before = {name: (sweep / name).read_bytes() for name in names}
    for n, name in enumerate(names):
        (sweep / name).write_bytes(bytes(len(before[name])) if n % 2 else b"")
    assert report(sweep).redrawn
    assert {name: (sweep / name).read_bytes() for name in names} == before


@pytest.mark.parametrize("state", ["[]", '{"key": 1}', "{"])
def test_a_damaged_state_is_no_state(sweep: Path, state: str) -> None:
    (sweep / "report_state.json").write_text(state)
    assert report(sweep).redrawn


def test_a_record_that_is_a_folder_is_unreadable(sweep: Path) -> None:
    path = sweep / "runs" / GRID[0].run_id / "record.json"
    path.unlink()
    path.mkdir()
    (absent,) = collect(sweep, GRID).absent
    assert (absent.state, absent.reason) == ("unreadable", "record.json: Is a directory")


def test_a_report_of_a_sweep_that_never_ran_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PER_GROUP", (draw_accuracy,))
    assert report(tmp_path / "results" / "new").html.is_file()


@pytest.mark.parametrize("name", ["birds/cub", '<b>"x"', "two words", "..", "a" * 300, "鳥" * 90])
def test_names_become_file_names(name: str) -> None:
    found = file_name(name)
    assert len(found.encode()) <= 60
    assert not set(found) & set('/\\<>"| :*?')
    assert found not in ("", ".", "..")
    assert file_name("toys") == "toys"
    assert file_name("birds/cub") != file_name("birds cub")


@pytest.mark.parametrize("name", ["birds/cub", '<b>"x"', "../up"])
def test_a_data_set_with_a_slash_has_a_report(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PER_GROUP", (draw_accuracy,))
    grid = [item.__class__(f"run-{n}", name, item.fraction, item.method, item.seed) for n, item in enumerate(GRID)]
    fakes.write_sweep(tmp_path, grid)
    info = fakes.info(METHODS)
    info = info.__class__(**{**info.__dict__, "tuning": (Tuned(name, 0.15, "smile", (0.5, 0.7), 2),)})
    build(tmp_path, info, grid)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {f"{kind}-{file_name(name)}-0.15.{suffix}" for kind in ("accuracy", "budget") for suffix in ("png", "svg")}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('class="files"') == 2


ODD = ("fine_tuning", "=cmd|' /C calc'!A0", "two\nlines\n", "a $x$ b$", "日本語")


def odd(tmp_path: Path) -> Report:
    grid = [item.__class__(f"run-{n}", "toys", 0.15, item.method, item.seed) for n, item in enumerate(fakes.grid(ODD, seeds=2))]
    fakes.write_sweep(tmp_path, grid)
    return build(tmp_path, fakes.info(ODD), grid)


def test_odd_names_break_no_table_and_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PER_GROUP", (draw_accuracy,))
    monkeypatch.setattr(canvas, "_covered", lambda path: frozenset(map(chr, range(0x250))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = odd(tmp_path)
    lines = (tmp_path / "tables" / "main.md").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 2 + len(ODD)
    assert any(line.startswith("| two lines |") for line in lines)
    for name in ("tables/main.csv", "runs.csv"):
        rows = list(csv.DictReader(io.StringIO((tmp_path / name).read_text(encoding="utf-8"))))
        assert {row["method"] for row in rows} >= {"'=cmd|' /C calc'!A0", "two\nlines\n"}
    assert [note for note in found.tables[0].notes if "No installed font has" in note] == [
        "No installed font has 日本語: figures show boxes instead; a font that has them, once installed, is found"
    ]
    tex = (tmp_path / "tables" / "main.tex").read_text(encoding="utf-8")
    assert "% U+65E5, U+672C, U+8A9E stand for characters without a LaTeX command" in tex
    assert tex.isascii()


@pytest.mark.parametrize(("name", "letters", "codes"), [("한국어", "한국어", "U+D55C, U+AD6D, U+C5B4"), ("fast🙂", "🙂", "U+1F642")])
def test_letters_that_no_font_has_are_noted_once(
    name: str, letters: str, codes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "PER_GROUP", (draw_accuracy,))
    monkeypatch.setattr(canvas, "_covered", lambda path: frozenset(map(chr, range(0x250))))
    methods = ("fine_tuning", name)
    fakes.write_sweep(tmp_path, items := fakes.grid(methods, seeds=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = build(tmp_path, fakes.info(methods), items)
    (note,) = [note for note in found.tables[0].notes if "No installed font has" in note]
    assert set(note.partition("has ")[2].partition(":")[0]) == set(letters)
    tex = (tmp_path / "tables" / "main.tex").read_text(encoding="utf-8")
    assert all(code in tex for code in codes.split(", "))
    assert tex.isascii()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_text_field_is_no_formula_and_a_number_stays_one(text: str) -> None:
    assert list(csv.reader(io.StringIO(csv_text(("a", "b"), [(text, -1.5)]), newline=""))) == [
        ["a", "b"],
        ["'" + text.replace("\r", "\n"), "-1.5"],
    ]


def test_a_line_break_ends_no_row() -> None:
    assert markdown_table(("a", "b"), [("x\ny", "1|2")]) == ["| a | b |", "| --- | ---: |", r"| x y | 1\|2 |"]


def test_latex_without_odd_characters_has_no_note(sweep: Path) -> None:
    assert "stand for" not in to_latex(report(sweep).tables, "made_up")


@pytest.mark.parametrize(("size", "warned"), [(300.0, True), (0.5, False)])
def test_a_loss_term_far_above_the_cross_entropy_is_warned_of(sweep: Path, size: float, warned: bool) -> None:
    for item in GRID[2:]:
        rows = [{"step": step, "loss/cross_entropy": 2.0, "loss/delta": -size, "loss/total": size} for step in (0, 2)]
        (sweep / "runs" / item.run_id / "curves.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (group,) = group_runs(fakes.info(METHODS), GRID, collect(sweep, GRID))
    assert term_ratios(group.cell("smile")) == {"delta": size / 2}
    found = report(sweep)
    notes = [note for note in found.tables[0].notes if "times the cross-entropy" in note]
    assert notes == (
        ["smile: the loss term delta is 150 times the cross-entropy (means over the run): it rules the training, check its weight"]
        if warned
        else []
    )
    page = (sweep / "report.html").read_text(encoding="utf-8")
    assert f"delta {'150' if warned else '0.25'} × the cross-entropy" in page


def test_cores_are_counted_where_the_system_does_not_say_which_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cpu_count() == os.cpu_count()
