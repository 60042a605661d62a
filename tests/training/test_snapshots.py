"""Snapshots: kept bit for bit, scored beside the record, gone afterwards; and event files that hold each step once."""

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file

from benchmark.errors import UsageError
from benchmark.storage.checksummed import read
from benchmark.storage.run_folder import RunFolder
from benchmark.training import record
from benchmark.training.checkpoint import Snapshots
from benchmark.training.run import Interrupted, preflight, train
from tests.runs import Notebook, config
from tests.training.test_run import steady

FAST = {"training": {"lr": 0.05}}


def rows(folder: Path) -> list[dict[str, float]]:
    return [{k: float(v) for k, v in row.items()} for row in csv.DictReader((folder / "snapshots.csv").open())]


def test_steps_are_spread_evenly_and_end_at_the_last() -> None:
    assert Snapshots(Path(), 4, 10).steps == (2, 5, 8, 10)
    assert Snapshots(Path(), 3, 3).steps == (1, 2, 3)
    assert Snapshots(Path(), 0, 10).steps == ()
    assert [step for step in range(12) if Snapshots(Path(), 4, 10).due(step)] == [2, 5, 8]


@pytest.mark.slow
def test_each_row_is_the_accuracy_of_the_run_stopped_there(images: Path, backbone: str, tmp_path: Path) -> None:
    """A constant learning rate makes the first k steps of a run those of a run of k steps."""
    flat = {"schedule": "constant", "lr": 0.05}
    train(config(images, backbone, training=flat, evaluation={"snapshots": 3}), Notebook(tmp_path / "long"))
    found = rows(tmp_path / "long")
    assert [row["step"] for row in found] == [2, 4, 6]
    for row in found:
        short = tmp_path / f"{row['step']}"
        train(config(images, backbone, training={**flat, "steps": int(row["step"])}), Notebook(short))
        assert {key: row[key] for key in row if key != "step"} == {key: steady(short)[key] for key in row if key != "step"}


def test_snapshots_change_no_field_of_the_record_but_the_hash(images: Path, backbone: str, tmp_path: Path) -> None:
    keep = {"runtime": {"keep_weights": "last"}}
    train(config(images, backbone, "smile", **keep), Notebook(tmp_path / "without"))
    train(config(images, backbone, "smile", evaluation={"snapshots": 3}, **keep), Notebook(tmp_path / "with"))
    without, found = steady(tmp_path / "without"), steady(tmp_path / "with")
    differing = {key for key in found if found[key] != without[key]}
    assert differing == {"run_id", "config_hash"}
    a, b = (load_file(tmp_path / name / "weights.safetensors") for name in ("without", "with"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not (tmp_path / "without" / "snapshots.csv").exists()
    RunFolder(tmp_path / "with").tidy()
    assert not list(tmp_path.glob("with/**/snapshots/*"))


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_they_survive_a_stop_bit_for_bit(stop: int, images: Path, backbone: str, tmp_path: Path) -> None:
    run = config(images, backbone, "smile", evaluation={"snapshots": 3}, **FAST)
    train(run, Notebook(tmp_path / "whole"))
    with pytest.raises(Interrupted):
        train(run, Notebook(tmp_path / "cut", stop_after=stop))
    train(run, Notebook(tmp_path / "cut", claim=2))
    assert (tmp_path / "cut" / "snapshots.csv").read_bytes() == (tmp_path / "whole" / "snapshots.csv").read_bytes()
    assert steady(tmp_path / "cut") == steady(tmp_path / "whole")
    for step in (2, 4):
        a, b = (load(read(tmp_path / name / "checkpoint" / "snapshots" / f"{step}.safetensors")) for name in ("cut", "whole"))
        assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("checkpoint_seconds", [1e-9, 1e9])
@pytest.mark.parametrize("step", [2, 3, 4, 5])
def test_they_survive_a_kill_bit_for_bit(step: int, checkpoint_seconds: float, images: Path, backbone: str, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(phase: str) -> None:
        if phase == "train" and session.step == step:
            raise Killed

    run = config(images, backbone, evaluation={"snapshots": 3}, runtime={"checkpoint_seconds": checkpoint_seconds}, **FAST)
    train(run, Notebook(tmp_path / "whole"))
    session = Notebook(tmp_path / "cut")
    session.on_progress = kill
    with pytest.raises(Killed):
        train(run, session)
    train(run, Notebook(tmp_path / "cut", claim=2))
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert steady(tmp_path / "cut") == steady(tmp_path / "whole")


def test_a_run_killed_while_snapshots_are_scored_ends_the_same(images: Path, backbone: str, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(phase: str) -> None:
        if phase == "evaluate snapshots":
            assert not (tmp_path / "cut" / "record.json").exists()
            raise Killed

    run = config(images, backbone, evaluation={"snapshots": 3}, **FAST)
    train(run, Notebook(tmp_path / "whole"))
    session = Notebook(tmp_path / "cut")
    session.on_progress = kill
    with pytest.raises(Killed):
        train(run, session)
    train(run, Notebook(tmp_path / "cut", claim=2))
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert steady(tmp_path / "cut") == steady(tmp_path / "whole")


@pytest.mark.parametrize("count", [1, 7])
def test_a_number_of_snapshots_that_means_nothing_is_refused(count: int, images: Path, backbone: str) -> None:
    with pytest.raises(UsageError, match=rf"evaluation\.snapshots: {count}: give 0, or 2 to training\.steps \(6\)"):
        config(images, backbone, evaluation={"snapshots": count})


def read_events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_event_files_hold_the_curves_with_each_step_once(images: Path, backbone: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = config(images, backbone, "smile", runtime={"tensorboard": True, "checkpoint_seconds": 1e-9})
    for claim, stop in ((1, 3), (2, 5), (3, None)):
        try:
            train(run, Notebook(tmp_path, claim=claim, stop_after=stop))
        except Interrupted:
            assert len(read_events(tmp_path)["lr/head"]) == stop // 2
    curves = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    found = read_events(tmp_path)
    assert found.keys() == curves[0].keys() - {"step"}
    for tag, points in found.items():
        assert [step for step, _ in points] == [2, 4, 6]
        assert [value for _, value in points] == pytest.approx([row[tag] for row in curves])


def test_event_files_are_no_part_of_a_run_and_need_their_package(
    images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config(images, backbone, runtime={"tensorboard": True})
    assert run.run_id == config(images, backbone).run_id
    monkeypatch.setattr(record.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'smilebench\[tensorboard\]'"):
        preflight([run])
    preflight([config(images, backbone)])
    train(config(images, backbone), Notebook(tmp_path))
    assert not (tmp_path / "tensorboard").exists()
