"""Reading records: nothing is swallowed, nothing stale is mixed in."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.report.build import build
from benchmark.report.collect import Expected, collect
from benchmark.report.figures import write
from tests.report import fakes

GRID = fakes.grid(("fine_tuning", "smile"), seeds=2)


def states(sweep: Path, expected: Any = GRID) -> dict[str, tuple[str, str]]:
    return {item.expected.run_id: (item.state, item.reason) for item in collect(sweep, expected).absent}


def test_every_expected_run_is_either_read_or_named(tmp_path: Path) -> None:
    fakes.write_sweep(tmp_path, GRID, holes=[GRID[0].run_id, GRID[3].run_id])
    fakes.write_failure(tmp_path, GRID[3], "out of memory")
    found = collect(tmp_path, GRID)
    assert [run.expected for run in found.runs] == [GRID[1], GRID[2]]
    assert states(tmp_path) == {GRID[0].run_id: ("missing", "no record yet"), GRID[3].run_id: ("failed", "out of memory")}


def test_a_record_wins_over_an_old_failure(tmp_path: Path) -> None:
    fakes.write_sweep(tmp_path, GRID)
    fakes.write_failure(tmp_path, GRID[0])
    assert len(collect(tmp_path, GRID).runs) == 4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"test_accuracy": None}, "`test_accuracy` is missing"),
        ({"test_accuracy": float("nan")}, "`test_accuracy` is missing or not a finite number"),
        ({"wall_seconds": True}, "`wall_seconds`"),
        ({"subset_hash": 3}, "`subset_hash` is missing or not text"),
        ({"test_ece": "0.1"}, "`test_ece` is no number"),
        ({"train_loss": True}, "`train_loss` is no number"),
        ({"peak_memory_bytes": [1]}, "`peak_memory_bytes` is no number"),
        ({"run_id": "another"}, "it belongs to run another"),
        ({"linearity": {"train": {}, "test": {}}}, "`linearity.train.feature`"),
    ],
)
def test_an_incomplete_record_is_named_with_its_field(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    fakes.write_sweep(tmp_path, GRID)
    record = tmp_path / "runs" / GRID[0].run_id / "record.json"
    record.write_text(json.dumps(fakes.record(GRID[0]) | changes))
    state, why = states(tmp_path)[GRID[0].run_id]
    assert state == "unreadable"
    assert reason in why


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\x01"])
def test_a_damaged_record_is_unreadable_not_missing(tmp_path: Path, content: str) -> None:
    fakes.write_sweep(tmp_path, GRID)
    (tmp_path / "runs" / GRID[1].run_id / "record.json").write_text(content)
    assert states(tmp_path)[GRID[1].run_id][0] == "unreadable"


def test_linearity_may_be_switched_off(tmp_path: Path) -> None:
    fakes.write_run(tmp_path, GRID[0], {"linearity": None})
    (run,) = collect(tmp_path, GRID[:1]).runs
    assert run.gap("test", "label_l1") is None
    assert run.linearity() == []


@pytest.mark.parametrize("field", ["data_hash", "weights_hash"])
def test_records_of_other_data_or_weights_than_the_latest_are_stale(tmp_path: Path, field: str) -> None:
    fakes.write_sweep(tmp_path, GRID)
    fakes.write_run(tmp_path, GRID[2], {field: "new", "finished_at": "2000-01-02T00:00:00+00:00"})
    fakes.write_run(tmp_path, GRID[3], {field: "new"})
    found = states(tmp_path)
    assert set(found) == {GRID[0].run_id, GRID[1].run_id}
    assert all(state == "stale" and field in reason for state, reason in found.values())


def test_staleness_is_judged_per_data_set(tmp_path: Path) -> None:
    grid = fakes.grid(("fine_tuning",), ("toys", "more_toys"), seeds=1)
    fakes.write_sweep(tmp_path, grid)
    assert len({run.record["data_hash"] for run in collect(tmp_path, grid).runs}) == 2


def decoded(sweep: Path, item: Expected, resize: int, data_hash: str, **changes: Any) -> None:
    """A finished run whose settings say how its images were decoded."""
    fakes.write_run(sweep, item, {"data_hash": data_hash, **changes})
    data = {"use": f"folder:{sweep}/{item.seed}", "split": None, "test_from": None, "resize": resize, "also_test": None}
    settings = fakes.settings(item) | {"data": data, "seed": item.seed}
    (sweep / "runs" / item.run_id / "config.yaml").write_text(json.dumps(settings))


def test_runs_whose_settings_decode_images_otherwise_are_not_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PER_GROUP", ())
    for item in GRID:
        decoded(tmp_path, item, *((64, "small") if item.method == "smile" else (256, "large")))
    report = build(tmp_path, fakes.info(("fine_tuning", "smile")), GRID)
    assert states(tmp_path) == {}
    assert [row[2].text for row in report.tables[0].rows] == ["2", "2"]
    (note,) = [note for note in report.tables[0].notes if "same images" in note]
    assert note.endswith("(fine_tuning: resize 256; smile: resize 64)")
    decoded(tmp_path, GRID[2], 64, "changed", finished_at="2000-01-02T00:00:00+00:00")
    assert states(tmp_path) == {GRID[3].run_id: ("stale", f"data_hash differ from the latest record of this data set ({GRID[2].run_id})")}


def test_fractions_with_other_images_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PER_GROUP", ())
    grid = fakes.grid(("fine_tuning", "smile"), fractions=(0.15, 0.5), seeds=1)
    for item in grid:
        decoded(tmp_path, item, *((64, "small") if item.fraction == 0.15 else (256, "large")))
    tables = build(tmp_path, fakes.info(("fine_tuning", "smile")), grid).tables
    noted = [[note for note in table.notes if "other fractions" in note] for table in tables]
    assert [note.partition(": ")[0] for (note,) in noted] == [
        "The images are not those of the other fractions (resize 64)",
        "The images are not those of the other fractions (resize 256)",
    ]


def test_other_weights_are_stale_however_images_are_decoded(tmp_path: Path) -> None:
    for item in GRID:
        decoded(tmp_path, item, *((64, "small") if item.method == "smile" else (256, "large")))
    decoded(tmp_path, GRID[2], 64, "small", weights_hash="new", finished_at="2000-01-02T00:00:00+00:00")
    found = states(tmp_path)
    assert set(found) == {GRID[0].run_id, GRID[1].run_id, GRID[3].run_id}
    assert all("weights_hash" in reason and "data_hash" not in reason for _, reason in found.values())


def test_a_run_without_its_settings_is_judged_by_the_latest(tmp_path: Path) -> None:
    for item in GRID:
        decoded(tmp_path, item, *((64, "small") if item.method == "smile" else (256, "large")))
    decoded(tmp_path, GRID[3], 64, "small", finished_at="2000-01-02T00:00:00+00:00")
    for item in (GRID[0], GRID[2]):
        (tmp_path / "runs" / item.run_id / "config.yaml").unlink()
    assert set(states(tmp_path)) == {GRID[0].run_id}


def test_other_run_folders_are_counted_and_left_out(tmp_path: Path) -> None:
    fakes.write_sweep(tmp_path, GRID)
    found = collect(tmp_path, GRID[:3])
    assert (len(found.runs), found.extra) == (3, 1)


def test_the_fingerprint_follows_records_failures_and_expectations(tmp_path: Path) -> None:
    def fingerprint(expected: Any = GRID) -> str:
        return collect(tmp_path, expected).fingerprint

    seen = [fingerprint()]
    fakes.write_sweep(tmp_path, GRID)
    seen.append(fingerprint())
    assert fingerprint() == seen[-1]
    seen.append(fingerprint(GRID[:3]))
    fakes.write_run(tmp_path, GRID[0], {"test_accuracy": 0.5})
    seen.append(fingerprint())
    (tmp_path / "runs" / GRID[0].run_id / "record.json").unlink()
    seen.append(fingerprint())
    fakes.write_failure(tmp_path, GRID[0])
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)


def test_a_sweep_without_a_folder_is_all_missing(tmp_path: Path) -> None:
    found = collect(tmp_path / "nowhere", GRID)
    assert (found.runs, len(found.absent), found.extra) == ((), 4, 0)
