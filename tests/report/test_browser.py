"""The page's script in a real browser: sorting, filtering, opening a cell, unpacking figures, and no console errors."""

import json
import re
import resource
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

  all("details").forEach((part) => { part.open = true; });
  await Promise.all(figures.map(unpack));
  await Promise.all(figures.map((image) => image.decode()));
  result.figures = figures.length;
  result.blank = figures.filter((image) => image.naturalWidth < 100 || !image.src.startsWith("blob:")).length;

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
"""


def probe(report: Path, folder: Path, size: str = "1280,900") -> dict[str, Any]:
    """What the probe saw of a page; fails on anything in the console."""
    page = report.parent / "probed.html"
    text = report.read_text(encoding="utf-8").replace("<body>", f"<body>{START}").replace("</body>", f"{PROBE}</body>")
    page.write_text(text, encoding="utf-8")
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu")
    logged = ("--enable-logging=stderr", "--v=0", "--virtual-time-budget=60000", f"--window-size={size}", f"--user-data-dir={folder}")
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        lacking("chromium", "no Chromium is on this machine")
    local = [found[0], "--headless", "--no-sandbox", *quiet, *logged, "--dump-dom", page.as_uri()]
    done = subprocess.run(local, capture_output=True, text=True, check=True, timeout=300)
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
    assert seen["figures"] >= 7
    assert (seen["blank"], seen["skipped"], seen["nameless"], seen["unfocusable"]) == (0, 0, 0, 0)
    assert seen["narrow"]


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


def cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """720 runs: 12 methods, 3 data sets, 4 fractions, 5 seeds, with 18 holes."""
    methods = (*fakes.QUICK, "cutmix", "delta+mixup", "rifle+mixup")
    sizes = {"datasets": ("birds", "cars", "aircraft"), "fractions": (0.15, 0.3, 0.5, 1.0), "seeds": 5}
    before = cpu_seconds()
    report = draw(tmp_path_factory.mktemp("large"), methods, holes=41, **sizes)
    assert cpu_seconds() - before < 90, "more than a minute on two cores"
    return report


@pytest.mark.parametrize("size", ["1280,900", "500,900"])
def test_a_sweep_of_720_runs_with_holes(large: Path, tmp_path: Path, size: str) -> None:
    assert large.stat().st_size < 6 * 2**20
    seen = probe(large, tmp_path / "browser", size)
    check(seen, 12, 5, 12)
    assert seen["figures"] == 12 * 7 + 3
