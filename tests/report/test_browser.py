"""The page in a real browser: its script, figures with scripts and without, light and dark, print, and no console errors."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import grid
from benchmark.report.build import build
from benchmark.report.collect import Expected
from benchmark.sweep import results
from tests.programs import lacking
from tests.report import fakes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

START = """
<script>
const problems = [];
window.addEventListener("error", (event) => problems.push(String(event.message)));
window.addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
</script>
"""

LOOK = """
  if (document.querySelector("#theme").offsetHeight) {
    const theme = document.getElementById("theme");
    const ground = () => getComputedStyle(document.body).backgroundColor;
    result.ground = ground();
    theme.click(); result.light = ground();
    theme.click(); result.dark = ground();
    const figure = document.querySelector(".figures svg.drawn path");
    result.ink = figure && getComputedStyle(figure).fill;
    theme.click(); result.again = ground() === result.ground;
  }
  const circles = () => all("#pair circle").map((dot) => [Number(dot.getAttribute("cx")), dot.textContent]);
  result.dots = circles();
  result.sentence = document.getElementById("pair-text").textContent;
  if (document.getElementById("pair-left").offsetHeight) {
    const left = document.getElementById("pair-left");
    const change = () => left.dispatchEvent(new Event("change"));
    change();
    result.redrawn = [circles(), document.getElementById("pair-text").textContent];
    const chosen = left.value;
    left.value = document.getElementById("pair-right").value; change();
    result.same = document.getElementById("pair-text").textContent;
    left.value = chosen; change();
    result.restoredPair = document.getElementById("pair-text").textContent === result.sentence;
  }

  if (window.unpack) {
    await Promise.all(all("img[data-svg]").map(unpack));
    for (let i = 0; i < 200 && all("img.drawn").length; i++) await new Promise((done) => setTimeout(done, 20));
  }
  await Promise.all(all("img.drawn").map((image) => { image.loading = "eager"; return image.decode(); }));
  const figures = all(".figures .drawn");
  result.figures = figures.length;
  result.files = all("img.drawn").length;
  figures.forEach((figure) => figure.getBoundingClientRect()); // one just put in has its size from the second look on
  result.blank = figures.filter((figure) => {
    const box = figure.getBoundingClientRect();
    return box.width < 100 || box.height < 50 || (figure.tagName === "IMG" && figure.naturalWidth < 100);
  }).length;
  result.letters = all("svg.drawn use").filter((use) => !document.getElementById(use.getAttribute("href").slice(1))).length;
"""
"""Of figures, colours and the comparison of two methods."""

PROBE = """
<script type="module">
const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
const shown = () => all("section.group:not([hidden]) tbody[data-method]:not([hidden])").map((body) => body.dataset.method);
const result = {};
try {
  const table = document.querySelector("section.group table.main");
  const column = (n) => Array.from(table.tBodies, (body) => body.rows[0].cells[n].dataset.sort).filter((text) => text !== "").map(Number);
  const sort = all(".sort", table);
  const first = shown();
  sort[1].click(); result.ascending = column(1); result.state = sort[1].closest("th").getAttribute("aria-sort");
  sort[1].click(); result.descending = column(1);
  sort[0].click(); result.names = Array.from(table.tBodies, (body) => body.dataset.method);
  result.marked = all("[aria-sort]", table).length;

  const method = first[first.length - 1];
  const open = document.querySelector(`section.group tbody[data-method="${method}"] .open`);
  const detail = document.getElementById(open.getAttribute("aria-controls"));
  result.closed = detail.offsetHeight;
  open.click();
  result.opened = detail.offsetHeight > 50 && open.getAttribute("aria-expanded") === "true";
  result.runs = detail.querySelector("table").tBodies[0].rows.length;
  result.details = all("dt", detail).map((term) => term.textContent);
  result.redo = all("dd code", detail).map((code) => code.textContent);
  open.click();
  result.reclosed = detail.hidden && open.getAttribute("aria-expanded") === "false";

  const filter = document.getElementById("filter");
  filter.value = method.toUpperCase(); filter.dispatchEvent(new Event("input"));
  result.filtered = Array.from(new Set(shown()));
  result.matches = document.getElementById("matches").textContent;
  filter.value = "no such method"; filter.dispatchEvent(new Event("input")); result.none = shown().length;
  filter.value = ""; filter.dispatchEvent(new Event("input")); result.restored = shown().length;

  const group = document.getElementById("group");
  if (group) {
    group.value = group.options[2].value; group.dispatchEvent(new Event("change"));
    result.one = all("section.group:not([hidden])").length;
    group.value = ""; group.dispatchEvent(new Event("change"));
  }
  const link = all("a.cell").pop();
  if (link) {
    link.click();
    await new Promise((done) => setTimeout(done, 50));
    const row = document.getElementById(link.getAttribute("href").slice(1));
    const button = document.querySelector(`.open[aria-controls="${row.id}"]`);
    result.followed = !row.hidden && document.activeElement === button && button.getAttribute("aria-expanded") === "true";
    result.caption = row.querySelector("caption").textContent;
    result.label = link.getAttribute("aria-label");
  }

%LOOK%
  const levels = all("h1, h2, h3, h4").map((heading) => Number(heading.tagName[1]));
  result.skipped = levels.filter((level, n) => level > (n ? levels[n - 1] : 0) + 1).length;
  result.nameless = all("button, a, input, select, summary").filter((item) => !item.textContent.trim() && !item.getAttribute("aria-label")
    && !(item.labels && item.labels.length)).length;
  result.unfocusable = all("button, a[href], input, select, summary, [role=region]").filter((item) => item.tabIndex < 0).length;
  result.narrow = document.documentElement.scrollWidth <= window.innerWidth;
} catch (error) { problems.push(String(error)); }
result.problems = problems;
const element = document.createElement("pre");
element.id = "result";
element.textContent = JSON.stringify(result);
document.body.append(element);
</script>
""".replace("%LOOK%", LOOK)

PROBE_WITHOUT_SCRIPTS = re.sub(r"(try \{).*?(  if \(document.querySelector\(\"#theme\"\))", r"\1\n\2", PROBE, flags=re.S)


def without_scripts(text: str) -> str:
    """The page as a browser that runs no scripts shows it, so that the probe's script can look at it."""
    text = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    return re.sub(r"</?noscript>", "", text)


def browse(*options: str) -> subprocess.CompletedProcess[str]:
    """Chromium without a window, with ``options``."""
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu")
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        lacking("chromium", "no Chromium is on this machine")
    local = [found[0], "--headless", "--no-sandbox", *quiet, *options]
    return subprocess.run(local, capture_output=True, text=True, check=True, timeout=300)


def probe(report: Path, folder: Path, size: str = "1280,900", scripts: bool = True, dark: bool = False) -> dict[str, Any]:
    """What the probe saw of a page; fails on anything in the console."""
    page = report.parent / "probed.html"
    text = report.read_text(encoding="utf-8")
    text = (text if scripts else without_scripts(text)).replace("<body>", f"<body>{START}")
    text = text.replace("</body>", f"{PROBE if scripts else PROBE_WITHOUT_SCRIPTS}</body>")
    page.write_text(text, encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    logged = ("--enable-logging=stderr", "--v=0", "--virtual-time-budget=60000", f"--window-size={size}", f"--user-data-dir={folder}")
    done = browse(scheme, *logged, "--dump-dom", page.as_uri())
    page.unlink()
    assert "CONSOLE" not in done.stderr
    return json.loads(unescape(re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.S).group(1)))


def check(seen: dict[str, Any], methods: int, seeds: int, groups: int) -> None:
    assert seen["problems"] == []
    assert len(seen["names"]) == methods
    assert seen["ascending"] == sorted(seen["ascending"])
    assert seen["descending"] == seen["ascending"][::-1]
    assert (seen["state"], seen["marked"]) == ("ascending", 1)
    assert (seen["closed"], seen["opened"], seen["reclosed"], seen["runs"]) == (0, True, True, seeds)
    assert {"Method", "Training", "Cost", "Device", "Images", "Code", "Redo"} <= set(seen["details"])
    assert seen["redo"][0].startswith("smilebench sweep ")
    assert len(seen["filtered"]) == 1
    assert seen["matches"] == f"{groups} of {groups * methods} rows shown"
    assert (seen["none"], seen["restored"]) == (0, groups * methods)
    if groups > 1:
        assert (seen["one"], seen["followed"]) == (1, True)
        method, _, place = seen["label"].partition("runs of ")[2].partition(" on ")
        assert seen["caption"].startswith(f"Runs of {method} on {place.replace(' at ', ', ')}")
    check_pair(seen)
    assert (seen["light"], seen["dark"], seen["again"]) == ("rgb(255, 255, 255)", "rgb(22, 24, 27)", True)
    assert seen["figures"] >= 7
    assert (seen["files"], seen["letters"]) == (0, 0)
    assert (seen["blank"], seen["skipped"], seen["nameless"], seen["unfocusable"]) == (0, 0, 0, 0)
    assert seen["narrow"]


def check_pair(seen: dict[str, Any]) -> None:
    """The script draws what the page came with."""
    dots, sentence = seen["redrawn"]
    assert sentence == seen["sentence"]
    assert [text for _, text in dots] == [text for _, text in seen["dots"]]
    assert [x for x, _ in dots] == pytest.approx([x for x, _ in seen["dots"]], abs=0.11)
    assert (seen["same"], seen["restoredPair"]) == ("Choose two methods.", True)


def draw(folder: Path, methods: tuple[str, ...], holes: int = 0, **sizes: Any) -> Path:
    """The report of a made-up sweep, one run in ``holes`` missing or failed."""
    items = fakes.grid(methods, **sizes)
    info = fakes.info(methods)
    names = {f"{e.dataset}/{e.fraction:g}/{e.method}" for e in items}
    for number, item in enumerate(items):
        if holes and number % holes == 7:
            if number % 2:
                fakes.write_failure(folder, item)
        else:
            fakes.write_run(folder, item)
    return build(folder, fakes.with_redo(info, names), items).html


@pytest.mark.parametrize("size", ["1280,900", "500,900"])
def test_a_report_like_that_of_quick(tmp_path: Path, size: str) -> None:
    report = draw(tmp_path / "sweep", fakes.QUICK)
    check(probe(report, tmp_path / "browser", size), len(fakes.QUICK), 3, 1)


def test_a_report_without_scripts(tmp_path: Path) -> None:
    seen = probe(draw(tmp_path / "sweep", fakes.QUICK), tmp_path / "browser", scripts=False)
    assert seen["problems"] == []
    assert (seen["figures"], seen["files"], seen["blank"], seen["letters"]) == (8, 0, 0, 0)
    assert len(seen["dots"]) == 2 * 4
    assert "3 pairs of seeds" in seen["sentence"]
    assert "theme" not in seen


def test_a_report_on_a_dark_system(tmp_path: Path) -> None:
    report = draw(tmp_path / "sweep", fakes.QUICK)
    dark, light = (probe(report, tmp_path / "browser", dark=dark) for dark in (True, False))
    assert (dark["ground"], light["ground"]) == ("rgb(22, 24, 27)", "rgb(255, 255, 255)")
    assert dark["ink"] == light["ink"] == "rgb(22, 24, 27)", "the figure's ground, once dark is chosen"
    assert dark["problems"] == light["problems"] == []


def test_a_report_prints_in_full(tmp_path: Path) -> None:
    report, pdf = draw(tmp_path / "sweep", fakes.QUICK), tmp_path / "report.pdf"
    browse("--no-pdf-header-footer", f"--print-to-pdf={pdf}", f"--user-data-dir={tmp_path / 'browser'}", report.as_uri())
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type /Page\b", content)) <= 12


def test_the_committed_reference(tmp_path: Path) -> None:
    reference = ROOT / "results" / "reference" / "cifar10"
    shutil.copytree(reference / "runs", tmp_path / "sweep" / "runs")
    info, _ = results.asked_for(grid.load("cifar10"))
    records = [
        json.loads(path.read_text()) for path in sorted(reference.glob("runs/*/record.json"))
    ]  # by the version that they were run with
    expected = [Expected(*(record[key] for key in ("run_id", "dataset", "fraction", "method", "seed"))) for record in records]
    report = build(tmp_path / "sweep", info, expected).html
    check(probe(report, tmp_path / "browser"), 9, 10, 1)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """720 runs: 12 methods, 3 data sets, 4 fractions, 5 seeds, with 18 holes."""
    methods = (*fakes.QUICK, "cutmix", "delta+mixup", "rifle+mixup")
    sizes = {"datasets": ("birds", "cars", "aircraft"), "fractions": (0.15, 0.3, 0.5, 1.0), "seeds": 5}
    return draw(tmp_path_factory.mktemp("large"), methods, holes=41, **sizes)


@pytest.mark.parametrize("size", ["1280,900", "500,900"])
def test_a_sweep_of_720_runs_with_holes(large: Path, tmp_path: Path, size: str) -> None:
    assert large.stat().st_size < 6 * 2**20
    seen = probe(large, tmp_path / "browser", size)
    check(seen, 12, 5, 12)
    assert seen["figures"] == 12 * 8 + 3


def test_a_large_report_without_scripts_shows_the_files_beside_it(large: Path, tmp_path: Path) -> None:
    seen = probe(large, tmp_path / "browser", scripts=False)
    assert (seen["figures"], seen["files"], seen["blank"]) == (12 * 8 + 3, 12 * 8 + 3, 0)
    assert seen["problems"] == []
