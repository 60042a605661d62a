"""Hours are named by the device they were spent on."""

import json
from pathlib import Path

import pytest

from benchmark.report.cells import hours_of
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


def test_hours_of_both_kinds_are_not_called_either(tmp_path: Path) -> None:
    assert hours_of(runs(tmp_path, {0: "cuda"})).unit == "hours"


def test_without_settings_the_kind_is_not_known(tmp_path: Path) -> None:
    found = runs(tmp_path, {}, threads=4, settings=False)
    assert (hours_of(found).unit, hours_of(found).total(found)) == ("hours", pytest.approx(2.0))
