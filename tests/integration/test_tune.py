"""The path from a tuning sweep to its final report, on the command line."""

import json
from pathlib import Path

import pytest
import yaml

from tests.integration.test_cli import smilebench, sweep_file

TUNE = {
    "trials": 3,
    "seeds": [100],
    "val_fraction": 0.25,
    "shared": {"training.lr": {"low": 0.001, "high": 0.1, "log": True}},
    "spaces": {"smile": {"smile.feature_weight": [0.001, 0.01, 0.1]}},
}


def records(folder: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("runs/*/record.json")}


@pytest.mark.slow
def test_tune_select_sweep_report(images: Path, backbone: str, tmp_path: Path) -> None:
    selection = "results/small/selection.json"
    sweep = sweep_file(tmp_path, images, backbone, tune=TUNE, selection=selection)
    early = smilebench("sweep", sweep, cwd=tmp_path)
    assert early.returncode == 2
    assert "does not exist: run 'smilebench tune'" in " ".join(early.stderr.split())
    unready = smilebench("select", sweep, cwd=tmp_path)
    assert unready.returncode == 2
    assert "whole budget" in unready.stderr
    done = smilebench("tune", sweep, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "results" / "small"
    tuned = records(out / "tune")
    assert len(tuned) == 2 * 3
    assert {record["test_accuracy"] for record in tuned.values()} == {None}
    assert (out / "tune" / "figures" / "budget-tiny-1.png").is_file()
    again = smilebench("tune", sweep, cwd=tmp_path)
    assert records(out / "tune") == tuned, again.stderr
    assert "to do" not in again.stdout
    assert smilebench("select", sweep, cwd=tmp_path).returncode == 0
    final = smilebench("sweep", sweep, cwd=tmp_path)
    assert final.returncode == 0, final.stderr
    winners = {cell["method"]: cell["settings"] for cell in json.loads((tmp_path / selection).read_text())["cells"]}
    found = records(out)
    assert len(found) == 4
    assert all(record["lr"] == winners[record["method"]]["training.lr"] for record in found.values())
    assert all(record["val_accuracy"] is None and record["test_accuracy"] is not None for record in found.values())
    page = (out / "report.html").read_text()
    assert "Settings were selected per data set, fraction and method" in page
    assert "What a tuning budget buys" in page
    assert "No selection" not in page


@pytest.mark.slow
def test_a_diverging_trial_fails_stays_in_the_budget_and_stops_nothing(images: Path, backbone: str, tmp_path: Path) -> None:
    tune = {**TUNE, "search": "grid", "shared": {"training.lr": [0.01, 0.02, 1e30]}, "spaces": {}}
    sweep = sweep_file(tmp_path, images, backbone, tune=tune, selection="results/small/selection.json", methods=["fine_tuning"])
    done = smilebench("tune", sweep, cwd=tmp_path)
    assert done.returncode == 1
    assert "3 (1 failed)" in done.stdout
    assert smilebench("select", sweep, cwd=tmp_path).returncode == 0
    content = yaml.safe_load((tmp_path / "results/small/selection.json").read_text())
    assert "loss is not finite" in content["cells"][0]["failed"]["2"]
