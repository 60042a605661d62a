"""The report as a whole: what is written, when it is redrawn, and what a reader is told."""

import base64
import csv
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from rich.console import Console

from benchmark.report import page as html
from benchmark.report.build import Report, build, print_table
from benchmark.report.figures import write
from benchmark.report.figures.rows import draw_difference
from tests.report import fakes

ROOT = Path(__file__).parents[2]
METHODS = ("fine_tuning", "linear_probe", "l2_sp", "smile", "l2_sp+mixup")
GRID = fakes.grid(METHODS)
INFO = fakes.with_redo(fakes.info(METHODS), [f"toys/0.15/{method}" for method in METHODS])
LINKED = ("config.yaml", "record.json", "curves.jsonl", "linearity.csv")
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
    for figure in (
        "accuracy",
        "difference",
        "linearity_feature",
        "linearity_label",
        "linearity_difference",
        "loss_terms",
        "gap_accuracy",
        "cost_accuracy",
    ):
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
    assert list(frame["run_id"]) == [item.run_id for item in GRID], "in the order of the sweep, with those that are absent"
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


def test_processes_that_were_begun_before_draw_the_same_bytes_without_importing_again(tmp_path: Path, built: tuple[Path, Report]) -> None:
    code = f"""
import sys, time
from pathlib import Path
from benchmark.report.figures import processes
if __name__ == "__main__":
    processes.begin()
    from benchmark.report import build
    from benchmark.report.figures import write
    from tests.report import fakes
    write.cpu_count = lambda: 2
    info = fakes.with_redo(fakes.info({METHODS!r}), [f"toys/0.15/{{method}}" for method in {METHODS!r}])
    build.build(Path(sys.argv[1]), info, fakes.grid({METHODS!r}))
    with processes.pool(1) as pool:
        print(pool.submit(eval, "'matplotlib' in __import__('sys').modules").result())
"""
    sweep = tmp_path / "sweep"
    shutil.copytree(built[0], sweep, ignore=shutil.ignore_patterns("figures", "report_state.json"))
    script = tmp_path / "draw.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script), str(sweep)], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    drawn = {path.name: path.read_bytes() for path in (built[0] / "figures").iterdir()}
    assert {path.name: path.read_bytes() for path in (sweep / "figures").iterdir()} == drawn


def test_where_they_cannot_be_begun_each_imports_for_itself(tmp_path: Path) -> None:
    code = """
from benchmark.report.figures import processes
if __name__ == "__main__":
    processes.begin()
    with processes.pool(1) as pool:
        print(processes.begun(), pool.submit(len, "ab").result())
"""
    script = tmp_path / "draw.py"
    script.write_text(code)
    place = tmp_path / ("x" * 100)  # too long a name for a socket's
    place.mkdir()
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place)},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "False 2\n"), done.stderr


def test_an_unchanged_report_imports_nothing_heavy(built: tuple[Path, Report]) -> None:
    code = f"""
import sys
from pathlib import Path
from benchmark.report.build import build
from tests.report import fakes
info = fakes.with_redo(fakes.info({METHODS!r}), [f"toys/0.15/{{method}}" for method in {METHODS!r}])
assert not build(Path({str(built[0])!r}), info, fakes.grid({METHODS!r})).redrawn
print(sorted({{"torch", "pandas", "matplotlib", "seaborn", "scipy", "numpy", "jinja2"}} & set(sys.modules)))
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
    assert not page.all("img")
    assert not page.all("object")
    assert not [script for script in page.all("script") if "src" in script]
    assert not page.all("link")
    assert not re.search(r"https?://", text)
    assert "<b>out of memory" not in text
    assert "<b>out of memory</b> & more" in page.text


def drawings(text: str) -> list[str]:
    """The figures of a page, without the comparison of two methods."""
    return re.findall(r'<svg[^>]*class="drawn" role="img".*?</svg>', text, re.S)


def test_figures_need_no_script_and_tell_their_values(built: tuple[Path, Report]) -> None:
    text = (built[0] / "report.html").read_text(encoding="utf-8")
    assert len(drawings(text)) == len(list((built[0] / "figures").glob("*.svg"))) == 8
    seen = [run for run in GRID if run.method == "smile" and run not in HOLES]
    for run in seen:
        assert f"<title>smile, seed {run.seed}: {100 * fakes.record(run)['test_accuracy']:.2f} %</title>" in text
    references = set(re.findall(r'(?:href="|url\()#([^")]+)', "".join(drawings(text))))
    assert references <= {attributes["id"] for _, attributes in Page(text).tags if "id" in attributes}
    colours = set(re.findall(r"var\((--c-[0-9a-f]{6})\)", text))
    light, dark = (set(re.findall(r"(--c-[0-9a-f]{6}):", block)) for block in re.findall(r":root[^{]*{([^}]*--paper[^}]*)}", text)[:2])
    assert colours <= light == dark


def test_a_page_that_would_be_too_large_shows_files_and_holds_compressed_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "INLINE_LIMIT", 10_000)
    monkeypatch.setattr(write, "PER_GROUP", (draw_difference,))
    methods = ("fine_tuning", "smile")
    grid = fakes.grid(methods, ("toys", "two words"), seeds=2)
    fakes.write_sweep(tmp_path, grid)
    text = build(tmp_path, fakes.info(methods), grid).html.read_text(encoding="utf-8")
    images = Page(text).all("img")
    assert len(images) == 2
    for image in images:
        assert (tmp_path / unquote(image["src"])).is_file()
        assert gzip.decompress(base64.b64decode(image["data-svg"])).startswith(b"<svg")
    copies = "".join(gzip.decompress(base64.b64decode(image["data-svg"])).decode() for image in images)
    ids = re.findall(r' id="([^"]+)"', text + copies)
    assert len(ids) == len(set(ids))


def test_the_contents_lead_to_every_section(built: tuple[Path, Report]) -> None:
    text = (built[0] / "report.html").read_text(encoding="utf-8")
    contents = re.search('<nav class="contents".*?</nav>', text, re.S)[0]
    links = [link["href"][1:] for link in Page(contents).all("a")]
    assert links == re.findall(r'<h[23] id="([^"]+)"', text.partition("<main>")[2])
    assert {"summary", "results", "pairs", "absent", "reading", "provenance"} <= set(links)
    assert "optimism" not in links


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


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(
        w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True)
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(scheme: str) -> None:
    """WCAG 2.1 AA: 4.5 for text, 3 for the edges of controls."""
    colours = {name.removeprefix("--"): forms[scheme == "dark"] for name, forms in html.THEME.items()}
    for ground in ("paper", "wash"):
        for name, least in (("ink", 4.5), ("muted", 4.5), ("link", 4.5), ("edge", 3.0)):
            lighter, darker = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= least, (name, ground)


def test_headings_go_down_one_level_at_a_time(built: tuple[Path, Report]) -> None:
    page = Page((built[0] / "report.html").read_text(encoding="utf-8"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(level <= before + 1 for before, level in pairwise(levels))


def test_each_cell_opens_its_runs_settings_cost_and_command(built: tuple[Path, Report]) -> None:
    text = (built[0] / "report.html").read_text(encoding="utf-8")
    cell = re.search(r'<tr id="runs-1-4".*?</table>.*?</dl>', text, re.S)[0]
    page = Page(cell)
    runs = [item for item in GRID if item.method == "smile" and item not in HOLES]
    assert len(runs) == 2
    for item in runs:
        record = fakes.record(item)
        assert f"{100 * record['test_accuracy']:.2f}" in page.text
        assert record["subset_hash"][:12] in page.text
    links = [link["href"] for link in page.all("a")]
    assert sorted(links) == sorted(f"runs/{item.run_id}/{name}" for item in runs for name in LINKED)
    assert all((built[0] / link).is_file() for link in links)
    assert "CPU-hours for 2 runs" in page.text
    assert "smile v1: feature_weight 0.01, alpha 0.2" in page.text
    assert "smilebench sweep made_up toys/0.15/smile" in page.text
    assert f"smilebench logs {HOLES[1].run_id}" in page.text


def test_an_overview_leads_from_each_entry_to_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PER_GROUP", ())
    methods = ("fine_tuning", "smile", "mixup")
    grid = fakes.grid(methods, ("toys", "two words"), (0.15, 0.5), seeds=2)
    fakes.write_sweep(tmp_path, grid, holes=[grid[0].run_id])
    report = build(tmp_path, fakes.info(methods), grid)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    entries = [link for link in page.all("a") if link.get("class") == "cell"]
    assert len(entries) == 12
    for link in entries:
        method, _, place = link["aria-label"].partition("runs of ")[2].partition(" on ")
        row = re.search(rf'<tr id="{link["href"][1:]}".*?<caption>Runs of (.*?) on (.*?) of the labels', text, re.S)
        assert (method, place) == (row[1], row[2].replace(", ", " at "))
    assert {"tables/overview.md", "tables/overview.csv", "tables/overview.tex"} <= {
        str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*")
    }
    assert "1 of 2" in (tmp_path / "tables" / "overview.md").read_text()
    assert "usable here: 2" in " ".join(report.summary["Across data sets"])
    assert "usable here: 2" in (tmp_path / "tables" / "ranks.md").read_text()
    assert "usable here: 2" in page.text


def test_one_data_set_is_refused_a_comparison_across_them(built: tuple[Path, Report]) -> None:
    (sentence,) = built[1].summary["Across data sets"]
    assert "usable here: 1" in sentence
    for text in ((built[0] / name).read_text(encoding="utf-8") for name in ("report.html", "tables/ranks.md")):
        assert "usable here: 1" in text
    assert (built[0] / "tables" / "ranks.tex").read_text().startswith("% No test across data sets")


def test_the_page_names_its_origin(built: tuple[Path, Report]) -> None:
    page = Page((built[0] / "report.html").read_text(encoding="utf-8"))
    record = fakes.record(GRID[0])
    for value in (record["weights_hash"], record["data_hash"], record["device"], record["git_commit"], INFO.command, INFO.source):
        assert value in page.text
    assert json.dumps(record["versions"]["torch"]).strip('"') in page.text
