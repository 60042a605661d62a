"""Evaluation says how far it is and stops when asked; calibration by hand; what pairs and images cannot do is refused before any run."""

import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import log_loss

from benchmark.errors import UsageError
from benchmark.training.evaluate import Predictions, evaluate
from benchmark.training.run import Interrupted, preflight, train
from datasets.stream import Sample
from tests.runs import Notebook, config
from tests.training.test_run import done, steady


def evaluation(probability: list[float], right: list[bool]) -> Predictions:
    n = len(right)
    p = np.array(probability, np.float32)
    label = np.zeros(n, np.int64)
    return Predictions(np.arange(n), label, np.where(right, 0, 1), p, p, 0.0)


def test_calibration_error_by_hand() -> None:
    # Bins of a fifteenth: .55 and .59 share one (.533 to .6], .95 lies in (.933, 1].
    found = evaluation([0.55, 0.59, 0.95, 0.95], [True, False, True, True]).calibration_error
    assert found == pytest.approx((2 * abs(0.5 - 0.57) + 2 * abs(1 - 0.95)) / 4, rel=1e-6)
    assert evaluation([1.0, 1.0], [True, True]).calibration_error == 0
    assert evaluation([1.0], [False]).calibration_error == 1
    assert evaluation([0.0, 1 / 15], [False, True]).calibration_error == pytest.approx(abs(0.5 - 1 / 30))


@pytest.mark.parametrize(("label", "top1", "mean"), [([0, 0, 2], [0, 1, 2], 0.75), ([3, 3, 3, 1], [3, 3, 0, 0], 1 / 3)])
def test_the_mean_over_classes_is_over_those_that_are_there(label: list[int], top1: list[int], mean: float) -> None:
    p = np.ones(len(label), np.float32)
    assert Predictions(np.arange(len(label)), np.array(label), np.array(top1), p, p, 0.0).mean_class_accuracy == pytest.approx(mean)


@pytest.mark.parametrize("phase", ["evaluate train 4/36", "evaluate test 8/18", "linearity train 4/8", "linearity test 4/8"])
def test_a_run_asked_to_stop_while_it_is_measured_stops_there_and_goes_on(phase: str, images: Path, backbone: str, tmp_path: Path) -> None:
    run = config(images, backbone, linearity={"pairs": 8}, evaluation={"batch_size": 4})
    expected = done(run, tmp_path / "whole")
    session = Notebook(tmp_path / "cut")
    session.stop_requested = lambda: phase in session.phases
    with pytest.raises(Interrupted, match=phase.rpartition(" ")[0]):
        train(run, session)
    assert session.phases[-1] == phase, "not one batch more"
    again = Notebook(tmp_path / "cut", claim=2)
    train(run, again)
    assert "train" not in again.phases
    assert steady(tmp_path / "cut") == expected


def test_a_single_test_image_is_refused_where_linearity_needs_pairs(images: Path, backbone: str, tmp_path: Path) -> None:
    one = shutil.copytree(images, tmp_path / "one")
    for file in sorted((one / "test").glob("*/*.png"))[1:]:
        file.unlink()
    with pytest.raises(UsageError, match=r"data\.test_images: linearity is measured on pairs of test images, and there is only 1"):
        preflight([config(one, backbone)])
    preflight([config(one, backbone, linearity={"pairs": 0})])
    with pytest.raises(UsageError, match=r"data\.test_images: 1: Input should be greater than or equal to 2"):
        config(images, backbone, data={"test_images": 1})


def test_files_are_written_while_the_clock_stands_still(
    images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints and snapshots that take 1,000 seconds change no speed by a thousandth."""
    import time

    from benchmark.training.checkpoint import Checkpoints, Snapshots

    late, real = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + late[0])

    def slow(method):
        def saved(*args):
            method(*args)
            late[0] += 1000

        return saved

    monkeypatch.setattr(Checkpoints, "save", slow(Checkpoints.save))
    monkeypatch.setattr(Snapshots, "save", slow(Snapshots.save))
    train(config(images, backbone, evaluation={"snapshots": 3}, runtime={"checkpoint_seconds": 1e-9}), Notebook(tmp_path))
    assert late[0] == 1000 * (6 + 2)
    import json

    record = json.loads((tmp_path / "record.json").read_text())
    assert record["images_per_second"] > 6 * 8 / 500


class Fixed(torch.nn.Module):
    """Gives an image the logits that its first pixels hold."""

    def forward(self, x: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=x[:, 0, 0, :CLASSES])


CLASSES = 7


def test_calibration_and_likelihood_are_those_of_plain_loops_over_softmax_in_float64() -> None:
    rng = np.random.default_rng(0)
    logits, label = rng.normal(0, 2, (500, CLASSES)).astype(np.float32), rng.integers(0, CLASSES, 500)
    images = torch.zeros(500, 3, 1, CLASSES)
    images[:, 0, 0] = torch.from_numpy(logits)
    parts = [Sample(images[i : i + 64], torch.from_numpy(label[i : i + 64]), torch.arange(i, min(i + 64, 500))) for i in range(0, 500, 64)]
    found = evaluate(Fixed(), parts, "fp32")
    losses, bins = [], [[0, 0.0, 0.0] for _ in range(15)]
    for row, true in zip(logits.astype(np.float64), label, strict=True):
        p = [math.exp(value) / math.fsum(math.exp(other) for other in row) for value in row]
        losses.append(-math.log(p[true]))
        top = max(range(CLASSES), key=p.__getitem__)
        bin_ = next(k for k in range(15) if p[top] <= (k + 1) / 15)
        bins[bin_][0] += 1
        bins[bin_][1] += top == true
        bins[bin_][2] += p[top]
    error = math.fsum(n / 500 * abs(right / n - confidence / n) for n, right, confidence in bins if n)
    assert found.loss == pytest.approx(math.fsum(losses) / 500, rel=1e-6)
    assert found.loss == pytest.approx(log_loss(label, softmax(logits.astype(np.float64), axis=1)), rel=1e-6)
    assert found.calibration_error == pytest.approx(error, rel=1e-5)
    assert error > 0.05
