"""When checkpoints are written, and which one is read."""

import itertools
import json
import time
from pathlib import Path

import pytest
import torch

from benchmark.storage import checksummed
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.run import train
from tests.runs import Notebook, config


class Clock:
    """Time that moves only when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def saves(clock: Clock, checkpoints: Checkpoints, seconds: float, step: float, cost: float) -> list[float]:
    """Times of the saves when a loop of ``step`` seconds asks at every step and a save takes ``cost``."""
    times = []
    until = clock.now + seconds
    while clock.now < until:
        clock.now += step
        if checkpoints.due():
            times.append(clock.now)
            start = clock.now
            checkpoints._last, checkpoints._cost = start + cost, cost
            clock.now += cost
    return times


def test_at_most_one_interval_and_one_step_are_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    times = saves(clock, Checkpoints(tmp_path, 1, 15.0), seconds=300, step=0.7, cost=0.1)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert len(times) > 15
    assert max(gaps) <= 15.0 + 0.7 + 0.1 + 1e-9


@pytest.mark.parametrize(("seconds", "cost", "every"), [(0.5, 0.0, 4), (0.25, 0.0, 2), (0.01, 0.0, 1), (0.125, 1 / 128, 4)])
def test_a_run_never_has_more_unsaved_than_an_interval_and_a_step(
    seconds: float, cost: float, every: int, images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole run by a clock on which a step takes an eighth of a second and a save ``cost``: what a kill after any step would lose.

    Writing takes at most two percent of the time, so that a save of 1/128 s makes the interval 50/128 s.
    """
    clock, saved, unsaved = Clock(monkeypatch), [0], []
    save = Checkpoints.save

    def slow(self: Checkpoints, state: dict) -> None:
        save(self, state)
        saved.append(state["step"])
        clock.now += cost
        self._last, self._cost = clock.now, cost

    class Ticking(Notebook):
        def progress(self, step: int, total: int, phase: str, images_per_second: float) -> None:
            super().progress(step, total, phase, images_per_second)
            if phase == "train":
                clock.now += 1 / 8
                unsaved.append(step - saved[-1])

    monkeypatch.setattr(Checkpoints, "save", slow)
    run = config(images, backbone, training={"steps": 14}, linearity={"pairs": 0}, runtime={"checkpoint_seconds": seconds})
    train(run, Ticking(tmp_path))
    assert len(unsaved) == 14
    assert max(unsaved) == every
    assert saved[-1] == 14


def test_writing_takes_at_most_two_percent_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    times = saves(clock, Checkpoints(tmp_path, 1, 1.0), seconds=3000, step=0.5, cost=2.0)
    assert len(times) * 2.0 <= 0.02 * 3000 + 2.0


def test_the_most_advanced_checkpoint_is_read_and_older_claims_are_dropped(tmp_path: Path) -> None:
    Checkpoints(tmp_path, 1, 15.0).save({"step": 7})
    assert Checkpoints(tmp_path, 2, 15.0).load() == ({"step": 7}, [])
    Checkpoints(tmp_path, 2, 15.0).save({"step": 9})
    assert [file.name for file in (tmp_path / "checkpoint").glob("*.pt")] == ["2.pt"]
    Checkpoints(tmp_path, 1, 15.0).save({"step": 8})
    assert Checkpoints(tmp_path, 3, 15.0).load() == ({"step": 9}, [])


def test_a_save_that_fails_leaves_the_previous_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 1, 15.0)
    checkpoints.save({"step": 3})
    with pytest.raises(Exception, match="pickle"):
        checkpoints.save({"step": 4, "bad": lambda: None})
    assert checkpoints.load() == ({"step": 3}, [])


def damage(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "empty":
        content.clear()
    elif how == "zeros":
        content[100:200] = bytes(100)
    else:
        content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "empty", "zeros", "one bit"])
def test_a_damaged_checkpoint_is_named_and_an_older_one_serves(how: str, tmp_path: Path) -> None:
    state = {"weights": torch.arange(200.0)}
    Checkpoints(tmp_path, 1, 15.0).save({"step": 7, **state})
    kept = (tmp_path / "checkpoint" / "1.pt").read_bytes()
    Checkpoints(tmp_path, 2, 15.0).save({"step": 9, **state})
    (tmp_path / "checkpoint" / "1.pt").write_bytes(kept)
    damage(tmp_path / "checkpoint" / "2.pt", how)
    found, damages = Checkpoints(tmp_path, 3, 15.0).load()
    assert found["step"] == 7
    assert torch.equal(found["weights"], state["weights"])
    assert damages == [f"{tmp_path / 'checkpoint' / '2.pt'} is damaged: its checksum differs"]
    assert json.loads((tmp_path / "checkpoint" / "step.json").read_text()) == {"step": 7}
    damage(tmp_path / "checkpoint" / "1.pt", how)
    assert Checkpoints(tmp_path, 3, 15.0).load()[0] is None
    assert json.loads((tmp_path / "checkpoint" / "step.json").read_text()) == {"step": 0}


def test_a_full_disk_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: checksummed.HashedWriter, content: bytes) -> int:
        self.error = OSError(28, "No space left on device")
        raise self.error

    monkeypatch.setattr(checksummed.HashedWriter, "write", full)
    with pytest.raises(OSError, match="No space left"):
        Checkpoints(tmp_path, 1, 15.0).save({"step": 3})
    assert not list((tmp_path / "checkpoint").iterdir())
