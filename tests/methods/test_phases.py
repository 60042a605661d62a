"""What trains when: gradual unfreezing and BitFit, in the training loop; runs that stop inside a special phase."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmark.config.run_config import RunConfig
from benchmark.training.pipeline import Pipeline
from benchmark.training.run import Interrupted, train
from methods.gradual_unfreezing import unfrozen_at
from methods.testing import STEPS, Trial, advance, tiny_run, trained
from tests.runs import Notebook
from tests.training.test_run import VARYING


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, t in after.items() if not torch.equal(t, before[name])}


def test_stages_begin_at_equal_distance_from_the_top() -> None:
    assert unfrozen_at(0.5, 1000, 5) == (500, 400, 300, 200, 100)
    assert unfrozen_at(0.0, 1000, 3) == (0, 0, 0)


def test_a_stage_stands_still_until_its_step_statistics_included(images: Path, backbone: str) -> None:
    """Six steps, five stages, spread over all of the run: the top one from step 1 on."""
    run = trained(Trial("gradual_unfreezing", {"until": 1.0}, images, backbone).run, 0)
    begins = unfrozen_at(1.0, STEPS, 5)
    assert begins == (6, 5, 4, 2, 1)
    prefixes = {"body.layer1": 1, "body.layer2": 2, "body.layer3": 3, "body.layer4": 4, "body.fc": -1}
    for i in range(STEPS):
        before = {name: t.clone() for name, t in run.net.state_dict().items()}
        advance(run, 1)
        moved = changed(before, run.net.state_dict())
        moving = {stage for name in moved for prefix, stage in prefixes.items() if name.startswith(prefix)}
        assert moving == {-1, *(stage for stage in (1, 2, 3, 4) if i >= begins[stage])}
        assert not [name for name in moved if name.startswith("body.conv1")]
        assert all(p.requires_grad or p.grad is None for p in run.net.parameters())


def test_a_run_resumed_between_two_stages_goes_on_bit_for_bit(images: Path, backbone: str) -> None:
    trial = Trial("gradual_unfreezing", {"until": 1.0}, images, backbone)
    for stop in (1, 3, 5):
        whole = trained(trial.run, stop)
        state = whole.state_dict()
        resumed = trained(trial.run, 0)
        resumed.load_state_dict(torch.load(_saved(state), weights_only=True))
        advance(whole, STEPS - stop)
        advance(resumed, STEPS - stop)
        assert not changed(whole.net.state_dict(), resumed.net.state_dict())


def _saved(state: dict[str, object]) -> object:
    import io

    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("bn_train", [False, True])
def test_bitfit_moves_biases_and_the_classifier(bn_train: bool, images: Path, backbone: str) -> None:
    run = trained(Trial("bitfit", {"bn_train": bn_train}, images, backbone).run, 0)
    before = {name: t.clone() for name, t in run.net.state_dict().items()}
    advance(run, 2)
    moved = changed(before, run.net.state_dict())
    trained_names = {name for name, p in run.net.named_parameters() if p.grad is not None}
    biases = {name for name, _ in run.net.named_parameters() if name.endswith("bias")}
    statistics = {name for name, _ in run.net.named_buffers()} if bn_train else set()
    assert trained_names == biases | {"body.fc.weight"}
    assert moved <= trained_names | statistics
    assert {"body.fc.weight", "body.layer4.0.bn2.bias"} <= moved


def test_mixing_ends_where_off_last_says(images: Path, backbone: str) -> None:
    entry = {"name": "m", "use": "smile", "off_last": 0.4}
    run = trained(tiny_run(images, backbone, entry, training={"log_every": 1}), STEPS)
    mixed = [run.pipeline.mix(run_batch(run, i), 3, run.ctx, i).perm is not None for i in range(STEPS)]
    assert mixed == [True] * 4 + [False] * 2
    assert ["loss/smile_feature" in row for row in run.curves] == mixed
    assert ["loss/smile_source" in row for row in run.curves] == mixed


def run_batch(run, i):
    from methods.base import Batch

    return Batch(*run.stream.batch(i))


def started(name: str, options: dict[str, Any], images: Path, backbone: str) -> RunConfig:
    entry = {"name": "method under test", "use": name, **options}
    return tiny_run(images, backbone, entry, training={"log_every": 1}, runtime={"device": "cpu", "keep_weights": "last"})


def outcome(folder: Path) -> tuple[dict[str, Any], list[dict[str, float]], dict[str, Tensor]]:
    """The record, the curves and the evaluated weights, without times."""
    record = json.loads((folder / "record.json").read_text())
    curves = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    steady = [{key: value for key, value in row.items() if key not in VARYING} for row in curves]
    return {key: value for key, value in record.items() if key not in VARYING}, steady, load_file(folder / "weights.safetensors")


def assert_same_outcome(folder: Path, expected: Path) -> None:
    (record, curves, weights), (other_record, other_curves, other_weights) = outcome(folder), outcome(expected)
    assert record == other_record
    assert curves == other_curves
    assert len(curves) == STEPS
    assert weights.keys() == other_weights.keys()
    assert not changed(weights, other_weights)


@pytest.mark.parametrize(
    ("name", "options", "stop"),
    [
        ("gradual_unfreezing", {"until": 1.0}, 3),  # between the second stage and the third
        ("swa", {"start": 0.2}, 4),  # two weights averaged
        ("ema", {}, 4),
        ("ftp", {}, 1),  # its first step, which only measures, is behind
        ("spd", {}, 1),
        ("sam", {}, 3),
    ],
)
def test_a_run_stopped_inside_a_special_phase_ends_as_the_undisturbed_one(
    name: str, options: dict[str, Any], stop: int, images: Path, backbone: str, tmp_path: Path
) -> None:
    run = started(name, options, images, backbone)
    train(run, Notebook(tmp_path / "whole"))
    with pytest.raises(Interrupted):
        train(run, Notebook(tmp_path / "cut", stop_after=stop))
    again = Notebook(tmp_path / "cut", claim=2)
    train(run, again)
    assert f"resumed at step {stop} of {STEPS} (claim 2)" in again.lines
    assert_same_outcome(tmp_path / "cut", tmp_path / "whole")


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("swa", "methods.swa.renew_statistics"),  # the mean is in the network, its statistics are not
        ("lp_ft+wise_ft", "methods.wise_ft.renew_statistics"),
        ("ema", None),
        ("swa", None),
    ],
)
def test_a_run_killed_while_it_chooses_its_weights_ends_as_the_undisturbed_one(
    name: str, place: str | None, images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """place: what is interrupted; None: all of it is done, and the process dies before it evaluates."""
    run = started(name, {}, images, backbone)
    train(run, Notebook(tmp_path / "whole"))
    finish = Pipeline.finish

    def killed(*_: Any) -> None:
        raise Killed

    def finished(self: Pipeline, ctx: Any) -> None:
        finish(self, ctx)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(*(Pipeline, "finish", finished) if place is None else (place, killed))
        with pytest.raises(Killed):
            train(run, Notebook(tmp_path / "cut"))
    again = Notebook(tmp_path / "cut", claim=2)
    train(run, again)
    assert f"resumed at step {STEPS} of {STEPS} (claim 2)" in again.lines
    assert_same_outcome(tmp_path / "cut", tmp_path / "whole")
