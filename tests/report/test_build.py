"""The report as a whole: what is written, when it is redrawn, and what a reader is told."""

import base64
import csv
import gzip
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from benchmark.report.build import Report, build, print_table
from benchmark.report.figures import write
from benchmark.report.figures.rows import draw_difference
from tests.report import fakes

METHODS = ("fine_tuning", "linear_probe", "l2_sp", "smile", "l2_sp+mixup")
GRID = fakes.grid(METHODS)
INFO = fakes.info(METHODS)
HOLES = (GRID[4], GRID[10])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """A report of five methods and three seeds with one missing and one failed run."""
    sweep = tmp_path_factory.mktemp("sweep")
    fakes.write_sweep(sweep, GRID, holes=[item.run_id for item in HOLES])
    fakes.write_failure(sweep, HOLES[1], "<b>out of memory</b> & more")
    return sweep, build(sweep, INFO, GRID)


def test_everything_promised_is_written(built: tuple[Path, Report]) -> None:
    sweep, report = built
    names = {str(path.relative_to(sweep)) for path in sweep.rglob("*") if path.is_file() and "runs" not in path.parts}
    assert {"runs.csv", "runs.parquet", "report.html", "tables/main.md", "tables/main.csv", "tables/main.tex"} <= names
    assert {"tables/ranks.md", "tables/ranks.csv", "tables/ranks.tex"} <= names
    for figure in ("accuracy", "difference", "linearity_feature", "linearity_label", "loss_terms", "gap_accuracy", "cost_accuracy"):
        assert {f"figures/{figure}-toys-0.15.png", f"figures/{figure}-toys-0.15.svg"} <= names
    assert not [name for name in names if ".tmp" in name]
    assert (report.redrawn, report.html) == (True, sweep / "report.html")


def test_runs_are_one_row_each_with_the_absent_ones_named(built: tuple[Path, Report]) -> None:
    rows = {row["run_id"]: row for row in csv.DictReader(io.StringIO((built[0] / "runs.csv").read_text()))}
    assert set(rows) == {item.run_id for item in GRID}
    done = fakes.record(GRID[0])
    assert float(rows[GRID[0].run_id]["test_accuracy"]) == done["test_accuracy"]
    assert float(rows[GRID[0].run_id]["test_label_l1"]) == done["linearity"]["test"]["label_l1"]
    assert [rows[item.run_id]["state"] for item in HOLES] == ["missing", "failed"]
    assert rows[HOLES[0].run_id]["test_accuracy"] == ""
    frame = pd.read_parquet(built[0] / "runs.parquet")
    assert frame["run_id"].tolist() == list(rows)
    assert frame["test_accuracy"].isna().sum() == 2


def test_nothing_is_redrawn_until_a_record_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PER_GROUP", (draw_difference,))
    methods = ("fine_tuning", "smile")
    grid, info = fakes.grid(methods, seeds=2), fakes.info(methods)
    fakes.write_sweep(tmp_path, grid, holes=[grid[3].run_id])
    first = build(tmp_path, info, grid)
    page = (tmp_path / "report.html").stat().st_mtime_ns
    again = build(tmp_path, info, grid)
    assert (again.redrawn, again.tables, again.summary) == (False, first.tables, first.summary)
    assert (tmp_path / "report.html").stat().st_mtime_ns == page

    fakes.write_run(tmp_path, grid[3])
    assert build(tmp_path, info, grid).redrawn
    (tmp_path / "tables" / "main.md").unlink()
    assert build(tmp_path, info, grid).redrawn
    assert (tmp_path / "tables" / "main.md").exists()
    fewer = [item for item in grid if item.method == "fine_tuning"]
    mine = tmp_path / "figures" / "mine.svg"
    mine.write_text("kept")
    assert build(tmp_path, fakes.info(methods[:1]), fewer).redrawn
    assert not (tmp_path / "figures" / "difference-toys-0.15.svg").exists()
    assert mine.exists()


def test_an_unchanged_report_imports_nothing_heavy(built: tuple[Path, Report]) -> None:
    code = f"""
import sys
from pathlib import Path
from benchmark.report.build import build
from tests.report import fakes
assert not build(Path({str(built[0])!r}), fakes.info({METHODS!r}), fakes.grid({METHODS!r})).redrawn
print(sorted({{"torch", "pandas", "matplotlib", "scipy", "numpy", "jinja2"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_drawing_a_report_never_imports_torch() -> None:
    code = "import benchmark.report.redraw, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_a_sweep_without_any_record_still_has_a_report(tmp_path: Path) -> None:
    report = build(tmp_path, INFO, GRID)
    assert report.summary["Runs"][1] == "Not in the numbers: 15 missing (listed below)."
    assert [row[1].text for row in report.tables[0].rows] == ["–"] * 5
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 15


def test_the_summary_says_what_is_missing_and_what_the_numbers_cannot_say(built: tuple[Path, Report]) -> None:
    runs, group = built[1].summary["Runs"], " ".join(built[1].summary["toys, 15 % of the labels"])
    assert runs == [
        "13 of 15 runs are in these numbers: 5 methods, 3 seeds each, on 1 data set at 1 fraction of the labels.",
        "Not in the numbers: 1 failed, 1 missing (listed below).",
    ]
    assert "fine_tuning (the baseline) reaches" in group
    assert "no proof of equality" in group


def test_the_terminal_shows_every_method_its_seeds_and_the_notes(built: tuple[Path, Report]) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    print_table(built[1], console)
    text = console.export_text()
    assert all(method in text for method in METHODS)
    assert "2 of 3" in text
    assert "out of memory" in text
    assert max(map(len, text.splitlines())) <= 100


class Page(HTMLParser):
    """Collects what the checks below ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_self_contained_and_escapes_records(built: tuple[Path, Report]) -> None:
    text = (built[0] / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.all("img")) == 7
    for image in page.all("img"):
        assert image["src"].startswith("data:image/gif;base64,")
        svg = gzip.decompress(base64.b64decode(image["data-svg"]))
        assert svg == (built[0] / image["data-file"]).read_bytes()
    assert not [script for script in page.all("script") if "src" in script]
    assert not page.all("link")
    assert not re.search(r"https?://", text)
    assert "<b>out of memory" not in text
    assert "<b>out of memory</b> & more" in page.text


def test_the_page_is_made_for_keyboard_and_screen_reader(built: tuple[Path, Report]) -> None:
    page = Page((built[0] / "report.html").read_text(encoding="utf-8"))
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.all("img"))
    assert all(header.get("scope") in {"col", "row"} for header in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    pointed = [value for _, a in page.tags for key in ("aria-controls", "aria-labelledby", "aria-describedby") if (value := a.get(key))]
    assert set(pointed) <= set(ids)
    assert all(button["type"] == "button" for button in page.all("button"))


def test_the_page_names_its_origin(built: tuple[Path, Report]) -> None:
    page = Page((built[0] / "report.html").read_text(encoding="utf-8"))
    record = fakes.record(GRID[0])
    for value in (record["weights_hash"], record["data_hash"], record["device"], record["git_commit"], INFO.command, INFO.source):
        assert value in page.text
    assert json.dumps(record["versions"]["torch"]).strip('"') in page.text
