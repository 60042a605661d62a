"""A sweep that was carried out on one machine and is looked at on another: ``auto`` means there what it meant here."""

import json
from pathlib import Path

import pytest
import yaml

from benchmark import devices
from benchmark.config import grid
from benchmark.config.run_config import load_run
from benchmark.devices import Gpu
from benchmark.perf import scale
from benchmark.report.figures import write
from benchmark.sweep.order import Order, SweepOutcome
from tests.commands import command

SWEEP = {
    "name": "x",
    "datasets": ["digits"],
    "methods": ["fine_tuning", "l2_sp"],
    "seeds": 1,
    "training": {"steps": 5000, "batch_size": 8, "image_size": 32},
}
A100, T4 = Gpu("A100", (8, 0), 2**36), Gpu("T4", (7, 5), 2**34)


def carried_out(order: Order, *_: object, **__: object) -> SweepOutcome:
    """Every run is done, with a made-up record."""
    for run_id in order.runs:
        folder = order.folder(run_id)
        folder.record_path.write_text(json.dumps(scale.record(load_run(folder.config_path), 1)))
    return SweepOutcome(0, done=order.runs)


@pytest.mark.parametrize(("made", "seen"), [(A100, None), (T4, None), (None, A100), (T4, A100)])
def test_a_report_on_another_machine_finds_every_run(
    made: Gpu | None, seen: Gpu | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def at(card: Gpu | None) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "" if card is None else "0")
        monkeypatch.setattr(devices, "gpu", lambda cache: card)
        monkeypatch.setattr(devices, "compile_problem", lambda device: "")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(write, "PER_GROUP", ())
    monkeypatch.setattr("benchmark.sweep.runner.run_local", carried_out)
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(SWEEP))
    at(made)
    code, shown = command(capsys, "sweep", "x.yaml")
    assert code == 0, shown
    at(seen)
    code, shown = command(capsys, "report", "x.yaml")
    assert code == 0, shown
    assert "missing" not in shown
    assert command(capsys, "status", "x.yaml")[1].startswith("0 queued, 0 running, 0 interrupted, 0 failed, 2 done")
    elsewhere = grid.load("x.yaml", out=tmp_path / "elsewhere").runs
    assert {run.run_id for run in elsewhere}.isdisjoint(path.name for path in (tmp_path / "results" / "x" / "runs").iterdir())
