"""Reading records: nothing is swallowed, nothing stale is mixed in."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.report.collect import collect
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
