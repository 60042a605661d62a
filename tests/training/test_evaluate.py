"""Evaluation says how far it is and stops when asked; calibration by hand; what pairs and images cannot do is refused before any run."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import UsageError
from benchmark.training.evaluate import Predictions
from benchmark.training.run import Interrupted, preflight, train
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

    from benchmark.training.checkpoint import Checkpoints
    from benchmark.training.snapshots import Snapshots

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
