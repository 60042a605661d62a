"""The page's script in a real browser: sorting, filtering, opening a cell, and no console errors."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from benchmark.report.build import build
from tests.report import fakes

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PROBE = """
<script>
window.onerror = (message) => { document.title = "error: " + message; };
const shown = "section.group:not([hidden]) tbody[data-method]:not([hidden])";
const rows = () => Array.from(document.querySelectorAll(shown), (body) => body.dataset.method);
const sort = document.querySelectorAll("table.main .sort");
const seen = { start: rows() };
sort[1].click(); seen.ascending = rows().slice(0, 3); seen.state = sort[1].closest("th").getAttribute("aria-sort");
sort[1].click(); seen.descending = rows().slice(0, 3);
sort[0].click(); seen.names = rows().slice(0, 3);
seen.marked = document.querySelectorAll("section.group:first-of-type [aria-sort]").length;
const open = document.querySelector("tbody[data-method=smile] .open");
const detail = document.getElementById(open.getAttribute("aria-controls"));
seen.closed = detail.offsetHeight; open.click(); seen.opened = detail.offsetHeight > 50; seen.expanded = open.getAttribute("aria-expanded");
seen.runs = detail.querySelector("table").tBodies[0].rows.length;
const filter = document.getElementById("filter");
filter.value = "Smi"; filter.dispatchEvent(new Event("input")); seen.filtered = rows();
seen.matches = document.getElementById("matches").textContent;
filter.value = ""; filter.dispatchEvent(new Event("input"));
const group = document.getElementById("group");
group.value = group.options[2].value; group.dispatchEvent(new Event("change")); seen.one = rows().length;
seen.wide = document.documentElement.scrollWidth <= window.innerWidth;
const result = document.createElement("pre"); result.id = "result"; result.textContent = JSON.stringify(seen); document.body.append(result);
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_sorting_filtering_and_opening_work(tmp_path: Path) -> None:
    methods = ("fine_tuning", "smile", "mixup")
    grid = fakes.grid(methods, fractions=(0.15, 0.5), seeds=3)
    effects = {"fine_tuning": 0.8, "smile": 0.9, "mixup": 0.7}
    for item in grid[:-1]:
        fakes.write_run(tmp_path, item, {"test_accuracy": effects[item.method] + 0.01 * item.seed})
    build(tmp_path, fakes.info(methods), grid)
    page = tmp_path / "probed.html"
    page.write_text((tmp_path / "report.html").read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-logging=stderr", "--v=0")
    command = [BROWSER, *options, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    seen = json.loads(unescape(re.search(r'<pre id="result">(.*?)</pre>', done.stdout).group(1)))
    assert seen == {
        "start": [*methods, *methods],
        "ascending": ["mixup", "fine_tuning", "smile"],
        "state": "ascending",
        "descending": ["smile", "fine_tuning", "mixup"],
        "names": ["fine_tuning", "mixup", "smile"],
        "marked": 1,
        "closed": 0,
        "opened": True,
        "expanded": "true",
        "runs": 3,
        "filtered": ["smile", "smile"],
        "matches": "2 of 6 rows shown",
        "one": 3,
        "wide": True,
    }
