"""Pictures that lie beside a sweep come into its report, where they are of its present runs."""

import json
from pathlib import Path

import pytest

from benchmark.report import batches
from benchmark.report.batches import batch_pictures, fingerprint
from benchmark.report.collect import Expected
from tests.report import fakes

METHODS = ("fine_tuning", "smile")
PNG = b"\x89PNG made up"


def put(out: Path, item: Expected, **changes: object) -> Path:
    folder = out / batches.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{item.dataset}-{item.method}.png"
    file.write_bytes(PNG)
    about = {
        "dataset": item.dataset,
        "method": item.method,
        "run_id": item.run_id,
        "title": f"{item.method} <first>",
        "caption": "mixed & seen",
    }
    file.with_suffix(".json").write_text(json.dumps(about | changes))
    return file


def test_pictures_come_in_the_order_of_the_sweep_and_only_of_its_runs(tmp_path: Path) -> None:
    grid = fakes.grid(("smile", "fine_tuning", "mixup"), seeds=1)
    for item in reversed(grid):
        put(tmp_path, item)
    assert [picture.method for picture in batch_pictures(tmp_path, grid)] == ["smile", "fine_tuning", "mixup"]
    before = fingerprint(tmp_path)
    put(tmp_path, grid[0], run_id="of other settings")
    (tmp_path / batches.FOLDER / "toys-mixup.json").write_text("{")
    assert [picture.method for picture in batch_pictures(tmp_path, grid)] == ["fine_tuning"]
    assert fingerprint(tmp_path) != before
    assert batch_pictures(tmp_path / "nowhere", grid) == []


def test_a_page_holds_the_first_and_links_to_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = fakes.grid(METHODS, seeds=1)
    for item in grid:
        put(tmp_path, item)
    monkeypatch.setattr(batches, "INLINE_LIMIT", len(PNG))
    first, second = batch_pictures(tmp_path, grid)
    assert first.source.startswith("data:image/png;base64,")
    assert second.source == second.file == "batches/toys-smile.png"


@pytest.mark.slow
def test_a_report_shows_them_and_is_redrawn_when_they_change(tmp_path: Path) -> None:
    from benchmark.report.build import build

    grid = fakes.grid(METHODS, seeds=2)
    fakes.write_sweep(tmp_path, grid)
    assert "first batch" not in build(tmp_path, fakes.info(METHODS), grid).html.read_text()
    for item in grid:
        if item.seed == 0:
            put(tmp_path, item)
    report = build(tmp_path, fakes.info(METHODS), grid)
    page = report.html.read_text()
    assert report.redrawn
    assert "The first batch as the network sees it" in page
    assert page.index("fine_tuning &lt;first&gt;") < page.index("smile &lt;first&gt;")
    assert "mixed &amp; seen" in page
    assert not build(tmp_path, fakes.info(METHODS), grid).redrawn
    (tmp_path / batches.FOLDER / "toys-smile.json").unlink()
    assert "smile &lt;first&gt;" not in build(tmp_path, fakes.info(METHODS), grid).html.read_text()
    assert list((tmp_path / batches.FOLDER).glob("*.png")), "a report removes no picture"
