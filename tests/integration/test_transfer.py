"""Real transfer: the embedded ImageNet weights against the same network from random initialisation."""

from pathlib import Path

import pytest

from benchmark.config import grid
from benchmark.training.run import train
from tests.runs import Notebook
from tests.training.test_run import record

pytestmark = pytest.mark.slow


def accuracy(folder: Path, sweep: str, *assignments: str) -> float:
    run = grid.load(sweep, ["seeds=[10]", "linearity.pairs=0", "runtime.device=cpu", *assignments]).runs[0]
    train(run, Notebook(folder))
    return record(folder)["test_accuracy"]


def test_pretrained_weights_beat_random_ones_on_digits(tmp_path: Path) -> None:
    """At 5 % of the labels and 45 steps, where ``results/reference/transfer`` has gains of 30 to 49 points over ten seeds."""
    at = ("transfer", "fractions=[0.05]")
    gain = accuracy(tmp_path / "a", *at, "methods=[fine_tuning]", "baseline=fine_tuning") - accuracy(
        tmp_path / "b", *at, "methods=[{name: from_scratch, use: fine_tuning}]"
    )
    assert gain >= 0.30


def test_pretrained_weights_beat_random_ones_on_cifar10(tmp_path: Path, cifar10: Path) -> None:
    use = f"datasets=[{{name: cifar10, use: 'cifar10:{cifar10}'}}]"
    few = ["methods=[fine_tuning]", "training.steps=150", "data.test_images=1000", use]
    gain = accuracy(tmp_path / "a", "cifar10", *few) - accuracy(tmp_path / "b", "cifar10", "pretrained=false", *few)
    assert gain >= 0.15
