"""Protocols are defaults: what they stand for, what replaces them, and that none of them enters a run's identity."""

from pathlib import Path
from typing import Any

import pytest

from benchmark.config import grid
from benchmark.config.grid import SweepFile
from benchmark.config.run_config import LEGACY, Training
from benchmark.errors import UsageError
from benchmark.training.optim import lr_factor
from tests.runs import Notebook, config


def resolved(**changes: Any) -> Any:
    raw = {"name": "test", "datasets": ["digits"], "methods": ["fine_tuning", "l2_sp"], "seeds": 1, **changes}
    return grid.expand(SweepFile.model_validate(raw), [], "test").runs[0]


def test_tllib_is_its_column_of_the_table() -> None:
    run = resolved(protocol="tllib")
    t = run.training
    assert (t.optimizer, t.momentum, t.nesterov) == ("sgd", 0.9, True)
    assert (t.lr, t.lr * t.head_lr_factor, t.weight_decay) == (0.001, 0.01, 5e-4)
    assert (t.steps, t.batch_size, t.image_size) == (10000, 48, 224)
    assert [lr_factor(t.schedule, i, t.steps, t.milestone) for i in (0, 5999, 6000, 9999)] == [1.0, 1.0, 0.1, 0.1]
    assert (t.crop, t.flip) == ("resized", True)
    assert (run.data.resize, run.data.keep_aspect) == (256, True)


def test_vit_is_the_settings_of_its_source_and_takes_a_sweeps_own_rates() -> None:
    run = resolved(protocol="vit", methods=["fine_tuning", "bitfit"], baseline="fine_tuning")
    t = run.training
    assert (t.optimizer, t.momentum, t.nesterov) == ("adamw", 0.9, False)
    assert (t.lr, t.head_lr_factor, t.weight_decay, t.schedule, t.batch_size) == (0.001, 1.0, 1e-4, "cosine", 64)
    override = [{"match": {"method": "fine_tuning"}, "set": {"training.lr": 3e-5}}]
    assert resolved(protocol="vit", overrides=override).training.lr == 3e-5
    assert resolved(protocol="vit", training={"schedule": "step"}).training.optimizer == "adamw"
    sgd = resolved(protocol="vit", training={"optimizer": "sgd"}).training
    assert (sgd.optimizer, sgd.nesterov) == ("sgd", True)


def test_smile_is_what_the_defaults_spell_out() -> None:
    assert resolved(protocol="smile").training == Training() == resolved().training


def test_a_sweeps_own_keys_replace_a_protocols() -> None:
    own = {"datasets": [{"name": "d", "use": "digits", "keep_aspect": False}], "training": {"lr": 0.02, "crop": "random"}}
    run = resolved(protocol="tllib", **own)
    assert (run.training.lr, run.training.crop, run.data.keep_aspect) == (0.02, "random", False)
    assert (run.training.head_lr_factor, run.training.steps) == (10.0, 10000)
    override = [{"match": {"method": "fine_tuning"}, "set": {"training.schedule": "cosine", "training.lr": 0.5}}]
    run = resolved(protocol="tllib", overrides=override)
    assert (run.training.schedule, run.training.milestone, run.training.lr) == ("cosine", None, 0.5)
    run = resolved(protocol="tllib", training={"optimizer": "adamw"})
    assert (run.training.nesterov, run.training.weight_decay) == (False, 5e-4)


def test_a_protocol_is_a_label_and_not_part_of_the_identity() -> None:
    preset = resolved(protocol="tllib")
    spelled = resolved(training=preset.training.model_dump(), data={"keep_aspect": True})
    assert preset.config_hash == spelled.config_hash != resolved().config_hash


def test_later_keys_at_their_old_values_are_not_in_the_hash() -> None:
    training = resolved().identity()["training"]
    assert {path.partition(".")[2] for path in LEGACY}.isdisjoint(training)
    changed = [{"optimizer": "adamw"}, {"milestone": 0.5}, {"crop": "resized"}]
    assert len({resolved(training=t).config_hash for t in ({}, *changed)}) == 4


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"optimizer": "adam"}, ["training.optimizer", "'adam'", "'adamw'"]),
        ({"optimizer": "adamw", "nesterov": True}, ["training.nesterov", "'adamw' has no Nesterov"]),
        ({"schedule": "cosine", "milestone": 0.6}, ["training.milestone", "schedule 'cosine' has no milestone"]),
        ({"milestone": 1.5}, ["training.milestone", "less than 1"]),
        ({"crop": "resize"}, ["training.crop", "'random'", "'resized'"]),
    ],
)
def test_what_does_not_fit_together_is_refused(training: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        resolved(training=training)
    for word in words:
        assert word in str(error.value)


def test_an_unknown_protocol_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"protocol.*did you mean 'tllib'.*smile"):
        resolved(protocol="tlib")


def test_a_run_under_tllib_trains_and_says_so(images: Path, backbone: str, tmp_path: Path) -> None:
    import json

    from benchmark.training.run import train

    train(config(images, backbone, "smile+rifle", protocol="tllib"), Notebook(tmp_path))
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["protocol"], record["lr"]) == ("tllib", 0.001)
