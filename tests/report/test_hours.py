"""Hours are named by the device they were spent on."""

import json
from pathlib import Path

import pytest

from benchmark.report.cells import group_runs, hours_of
from benchmark.report.collect import Run, collect
from tests.report import fakes

GRID = fakes.grid(("fine_tuning", "smile"), seeds=2)


def runs(sweep: Path, devices: dict[int, str], threads: int = 1, settings: bool = True) -> tuple[Run, ...]:
    """Four runs of half an hour; those in ``devices`` on the device of that kind."""
    for number, item in enumerate(GRID):
        kind = devices.get(number, "cpu")
        fakes.write_run(sweep, item, {"wall_seconds": 1800.0, "threads": threads, "device": f"a {kind}"})
        path = sweep / "runs" / item.run_id / "config.yaml"
        path.write_text(json.dumps(fakes.settings(item) | {"runtime": {"device": kind, "threads": threads}}))
        if not settings:
            path.unlink()
    return collect(sweep, GRID).runs


def test_cpu_hours_count_threads(tmp_path: Path) -> None:
    found = runs(tmp_path, {}, threads=4)
    hours = hours_of(found)
    assert (hours.unit, hours.total(found)) == ("CPU-hours", pytest.approx(8.0))
    assert hours.total([]) is None


def test_gpu_hours_are_wall_hours(tmp_path: Path) -> None:
    found = runs(tmp_path, dict.fromkeys(range(4), "cuda"), threads=4)
    hours = hours_of(found)
    assert (hours.unit, hours.total(found)) == ("GPU-hours", pytest.approx(2.0))


def test_gpu_hours_are_divided_by_the_workers_that_shared_the_gpu(tmp_path: Path) -> None:
    found = runs(tmp_path, dict.fromkeys(range(4), "cuda"))
    for run in found[:2]:
        run.record["workers_per_gpu"] = 4
    assert hours_of(found).total(found) == pytest.approx(2 * 0.5 / 4 + 2 * 0.5)
    (group,) = group_runs(fakes.info(("fine_tuning", "smile")), GRID, collect(tmp_path, GRID))
    assert not group.cells[0].mixed
    fakes.write_run(tmp_path, GRID[0], {**group.cells[0].runs[0].record, "workers_per_gpu": 2})
    (group,) = group_runs(fakes.info(("fine_tuning", "smile")), GRID, collect(tmp_path, GRID))
    assert group.cells[0].mixed, "its times are not those of a run that has the GPU alone"


def test_hours_of_both_kinds_are_not_called_either(tmp_path: Path) -> None:
    assert hours_of(runs(tmp_path, {0: "cuda"})).unit == "hours"


def test_without_settings_the_kind_is_not_known(tmp_path: Path) -> None:
    found = runs(tmp_path, {}, threads=4, settings=False)
    assert (hours_of(found).unit, hours_of(found).total(found)) == ("hours", pytest.approx(2.0))
