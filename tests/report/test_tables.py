"""Golden records give golden tables. The golden files were checked by hand; regenerate them only on purpose."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmark.report.across import OVERVIEW_CAPTION, RANKS_CAPTION, compare_across, overview_csv, overview_tables, ranks_csv, ranks_table
from benchmark.report.cells import Group, group_runs
from benchmark.report.collect import collect
from benchmark.report.tables import main_csv, main_table
from benchmark.report.text import Table, Value, to_latex, to_latex_panels, to_markdown
from tests.programs import lacking
from tests.report import fakes

GOLDEN = Path(__file__).parent / "golden"

METHODS = ("fine_tuning", "smile", "l2_sp+mixup", "linear_probe", "my_own")

ACCURACIES = {
    "fine_tuning": (0.80, 0.82, 0.84),
    "smile": (0.83, 0.84, 0.88),
    "l2_sp+mixup": (0.81, None, 0.83),
    "linear_probe": (0.60, 0.65, 0.55),
    "my_own": (None, None, 0.84),
}

ROUND = {"wall_seconds": 90.0, "images_per_second": 120.0, "peak_memory_bytes": 512 * 2**20, "test_mean_class_accuracy": 0.8}


@pytest.fixture
def groups(tmp_path: Path) -> tuple[Group, ...]:
    """Three seeds: 80 82 84 % against 83 84 88 %, one failure, a lone seed, one run on other hardware."""
    grid = fakes.grid(METHODS, seeds=3)
    gaps = dict.fromkeys(("feature", "feature_rel", "label_l1", "label_kl"), 0.25)
    for item in grid:
        value = ACCURACIES[item.method][item.seed]
        if value is not None:
            threads = 2 if (item.method, item.seed) == ("linear_probe", 2) else 1
            changes = {"test_accuracy": value, "linearity": {"train": gaps, "test": gaps}, "threads": threads}
            fakes.write_run(tmp_path, item, ROUND | changes)
    fakes.write_failure(tmp_path, grid[7], "NaN in `head_1`\n50 % \\done → {loss}")
    return group_runs(fakes.info(METHODS), grid, collect(tmp_path, grid))


def test_golden_markdown(groups: tuple[Group, ...]) -> None:
    assert to_markdown([main_table(group) for group in groups]) == (GOLDEN / "main.md").read_text(encoding="utf-8")


def test_golden_latex(groups: tuple[Group, ...]) -> None:
    assert to_latex([main_table(group) for group in groups], "made_up") == (GOLDEN / "main.tex").read_text(encoding="utf-8")


def test_golden_csv(groups: tuple[Group, ...]) -> None:
    found, golden = (list(csv.DictReader(io.StringIO(text))) for text in (main_csv(groups), (GOLDEN / "main.csv").read_text()))
    for row, expected in zip(found, golden, strict=True):
        assert {k: number(v) for k, v in row.items()} == {k: number(v) for k, v in expected.items()}


def test_golden_overview_and_ranks(tmp_path: Path) -> None:
    """Two data sets at two fractions; one run is missing on the second."""
    methods = METHODS[:3]
    grid = fakes.grid(methods, ("toys", "animals"), (0.15, 0.5), seeds=2)
    for number, item in enumerate(grid):
        if number != 15:
            fakes.write_run(tmp_path, item, {"test_accuracy": 0.6 + 0.01 * (number * 7 % 11) + 0.1 * item.fraction})
    groups = group_runs(fakes.info(methods), grid, collect(tmp_path, grid))
    tables, across = overview_tables(groups), compare_across(groups)
    ranks = ranks_table(across)
    for name, text in {
        "overview.md": to_markdown(tables, OVERVIEW_CAPTION),
        "overview.tex": to_latex_panels(tables, OVERVIEW_CAPTION, "overview"),
        "overview.csv": overview_csv(groups),
        "ranks.md": to_markdown([ranks], RANKS_CAPTION),
        "ranks.tex": to_latex_panels([ranks], RANKS_CAPTION, "ranks"),
        "ranks.csv": ranks_csv(across),
    }.items():
        assert text == (GOLDEN / name).read_text(encoding="utf-8"), name


def number(text: str) -> object:
    return pytest.approx(float(text), rel=1e-9) if re.fullmatch(r"-?[\d.]+(e-?\d+)?", text) else text


def test_every_row_states_its_seeds_and_a_single_seed_has_no_interval(groups: tuple[Group, ...]) -> None:
    table = main_table(groups[0])
    seeds = {row[0].text: row[table.columns.index("Seeds")].text for row in table.rows}
    assert seeds == {"fine_tuning": "3", "smile": "3", "l2_sp+mixup": "2 of 3", "linear_probe‡": "3", "my_own": "1 of 3"}
    alone = table.rows[-1][table.columns.index("Accuracy (%)")]
    assert alone.text == "84.0"
    assert "my_own: one seed, so no interval can be given" in table.notes


def test_latex_has_the_structure_of_a_booktabs_table(groups: tuple[Group, ...]) -> None:
    text = to_latex([main_table(group) for group in groups], "made_up")
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text).group(1)
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == len(METHODS)
    assert all(len(re.split(r"(?<!\\)&", line)) == len(columns) and line.endswith(r"\\") for line in body)
    assert text.count("{") == text.count("}")
    assert not re.search(r"(?<!\\)[%_#]", text.split("\n", 1)[1])
    assert text.isascii()


ODD = ("[a]*&b", "*star", "100%_#{x}~^\\\\", "größe→漢", "a|b<c>$d")
"""Names with everything LaTeX gives a meaning to."""


def odd_tables() -> list[Table]:
    rows = tuple((Value(name, name), Value("57.4 ± 0.8 (5)", 57.4, "tied"), Value("–")) for name in ODD)
    return [
        Table(f"set {name}", ("Method", "15 %", "λ & µ"), rows, ("best",) * len(rows), (f"note on {name}",), (0, 1)) for name in ODD[:3]
    ]


def test_names_survive_latex() -> None:
    text = to_latex_panels(odd_tables(), "50 % of {all}", "odd_name") + to_latex(odd_tables(), "odd_name")
    assert text.isascii()
    assert r"gr\"{o}\ss{}e" in text
    assert "U+6F22" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert not [row for row in rows if row.startswith(("[", "*"))]


@pytest.mark.slow
def test_latex_compiles(groups: tuple[Group, ...], tmp_path: Path) -> None:
    engine = shutil.which("tectonic") or shutil.which("pdflatex")
    if engine is None:
        lacking("latex", "no TeX engine is on this machine")
    tables = [main_table(group) for group in groups]
    parts = (
        to_latex(tables, "made_up"),
        to_latex(odd_tables(), "odd"),
        to_latex_panels(odd_tables(), OVERVIEW_CAPTION, "panels"),
        to_latex_panels([ranks_table(compare_across(groups))], RANKS_CAPTION, "ranks"),
    )
    page = rf"\documentclass[twocolumn]{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{chr(10).join(parts)}\end{{document}}"
    (tmp_path / "page.tex").write_text(page)
    command = [engine, *(["-interaction=nonstopmode", "-halt-on-error"] if "pdflatex" in engine else []), "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "page.pdf").is_file()
