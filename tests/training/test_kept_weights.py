"""``runtime.keep_weights: best_per_cell``: one network per cell, chosen without a look at test, whatever order runs end in."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from benchmark.config import grid
from benchmark.config.run_config import RunConfig
from benchmark.storage import yamlio
from benchmark.storage.run_folder import write_record
from benchmark.sweep import carry_out
from benchmark.terminal import console
from benchmark.training import kept_weights
from benchmark.training.run import train
from tests.runs import Notebook, config

BEST = {"keep_weights": "best_per_cell"}


def finish(folder: Path, run: RunConfig, record: dict[str, Any], *, killed: bool = False) -> Path:
    """What a run does at its end, in a made-up folder. killed: between its record and the rest."""
    place = folder / run.run_id
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.yaml").write_text(yamlio.dump(run.model_dump(mode="json")))
    record = {"seed": run.seed, "val_accuracy": None, **record}
    if kept_weights.wanted(place, run, record):
        (place / kept_weights.FILE).write_text("weights")
    write_record(place, record)
    if not killed:
        kept_weights.prune(place, run)
    return place


def kept(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{kept_weights.FILE}"))


def seeds(images: Path, backbone: str, count: int, **changes: Any) -> list[RunConfig]:
    run = config(images, backbone, runtime=BEST, **changes)
    return [run.model_copy(update={"seed": seed}) for seed in range(count)]


def test_the_best_by_training_loss_stays_in_whatever_order_runs_end(images: Path, backbone: str, tmp_path: Path) -> None:
    runs = seeds(images, backbone, 4)
    losses, accuracies = (0.5, 0.2, 0.2, 0.9), (0.1, 0.2, 0.9, 1.0)  # test accuracy asks for another one
    for n, order in enumerate(itertools.permutations(range(4))):
        for k in order:
            finish(tmp_path / str(n), runs[k], {"train_loss": losses[k], "test_accuracy": accuracies[k]})
            assert len(kept(tmp_path / str(n))) == 1
        assert kept(tmp_path / str(n)) == [runs[1].run_id]
        assert kept_weights.best(tmp_path / str(n) / runs[3].run_id, runs[3]) == tmp_path / str(n) / runs[1].run_id


def test_validation_accuracy_comes_before_the_loss(images: Path, backbone: str, tmp_path: Path) -> None:
    runs = seeds(images, backbone, 3, data={"val_fraction": 0.25})
    for run, (loss, val) in zip(runs, ((0.1, 0.5), (0.9, 0.75), (0.2, 0.5)), strict=True):
        finish(tmp_path, run, {"train_loss": loss, "val_accuracy": val})
    assert kept(tmp_path) == [runs[1].run_id]


def test_two_runs_that_end_at_once_and_one_that_is_killed_leave_the_best(images: Path, backbone: str, tmp_path: Path) -> None:
    runs = seeds(images, backbone, 3)
    for run, loss in zip(runs, (0.3, 0.2, 0.4), strict=True):
        finish(tmp_path, run, {"train_loss": loss}, killed=True)
    assert kept(tmp_path) == sorted(run.run_id for run in runs[:2])  # the third was worse when it ended, and wrote none
    for run in runs:
        kept_weights.prune(tmp_path / run.run_id, run)
        assert kept(tmp_path) == [runs[1].run_id]


def test_other_settings_other_choices_and_unfinished_runs_are_left_alone(images: Path, backbone: str, tmp_path: Path) -> None:
    first, second = seeds(images, backbone, 2)
    longer = config(images, backbone, runtime=BEST, training={"steps": 7})
    everything = config(images, backbone, runtime={"keep_weights": "last"}).model_copy(update={"seed": 5})
    for run in (longer, everything):
        finish(tmp_path, run, {"train_loss": 9.0})
    unfinished = tmp_path / first.model_copy(update={"seed": 7}).run_id
    unfinished.mkdir()
    (unfinished / kept_weights.FILE).write_text("half of a run")
    finish(tmp_path, first, {"train_loss": 1.0})
    finish(tmp_path, second, {"train_loss": 0.5})
    assert kept(tmp_path) == sorted((longer.run_id, everything.run_id, unfinished.name, second.run_id))


def test_a_resumed_run_that_is_no_longer_the_best_drops_what_it_had_written(images: Path, backbone: str, tmp_path: Path) -> None:
    first, second = seeds(images, backbone, 2)
    (tmp_path / first.run_id).mkdir()
    (tmp_path / first.run_id / kept_weights.FILE).write_text("of the attempt that was killed")
    finish(tmp_path, second, {"train_loss": 0.5})
    finish(tmp_path, first, {"train_loss": 0.6})
    assert kept(tmp_path) == [second.run_id]


def test_real_runs_keep_one_network_with_its_class_names(images: Path, backbone: str, tmp_path: Path) -> None:
    runs = seeds(images, backbone, 2)
    for run in runs:
        folder = tmp_path / run.run_id
        folder.mkdir()
        (folder / "config.yaml").write_text(yamlio.dump(run.model_dump(mode="json")))
        train(run, Notebook(folder))
    records = [json.loads((tmp_path / run.run_id / "record.json").read_text()) for run in runs]
    best = min(records, key=lambda record: record["train_loss"])
    assert kept(tmp_path) == [best["run_id"]]
    with safe_open(tmp_path / best["run_id"] / kept_weights.FILE, "pt") as file:
        assert json.loads(file.metadata()["classes"]) == ["class0", "class1", "class2"]


def test_a_sweep_mends_what_a_kill_left(backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("method=fine_tuning", "dataset=digits", "runtime.device=cpu", "runtime.keep_weights=best_per_cell")
    sweep = grid.single([*asked, f"backbone='{backbone}'"], tmp_path)
    (run,) = sweep.runs
    worse = run.model_copy(update={"seed": 1})
    finish(tmp_path / "runs", worse, {"train_loss": 0.9}, killed=True)
    finish(tmp_path / "runs", run, {"train_loss": 0.3}, killed=True)
    assert len(kept(tmp_path / "runs")) == 2
    for step in ("prepare_data", "verify_data", "_carry_out"):
        monkeypatch.setattr(carry_out, step, lambda *_: 0)
    carry_out.complete(sweep, tmp_path, 1, console)
    assert kept(tmp_path / "runs") == [run.run_id]
