"""Every method, variant and published composition, through one contract, on a tiny real network."""

import importlib
import inspect
import io
from pathlib import Path
from typing import Any

import pytest
import torch

import methods
from benchmark.plugins import method_info
from methods.base import Component
from tests.runs import advance, config, trained

COMPOSITIONS = ("l2_sp+mixup", "delta+mixup", "rifle+mixup", "bss+mixup", "co_tuning+mixup", "smile+rifle", "l2_sp+cutmix")
ENTRIES = (*methods.METHODS, *methods.VARIANTS, *COMPOSITIONS)
NEVER_NEUTRAL = {"linear_probe": "it freezes the backbone"}
FEW = {"delta": {"n_batches": 1, "batch_size": 8, "head_epochs": 1}, "reg_sl": {"lambda_ext": 1.0, "lambda_head": 5.0, "gamma": 1.5}}
"""Options that keep set-up passes short or have no default, by method."""


def entry(name: str, **options: Any) -> dict[str, Any]:
    parts = name.split("+")
    few = {f"{part}.{k}": v for part in parts for k, v in FEW.get(methods.VARIANTS.get(part, (part,))[0], {}).items()}
    return {"name": f"{name} in a test", "use": name, **few, **options}


def tensors(fit: Any) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in fit.net.state_dict().items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different


@pytest.mark.parametrize("name", ENTRIES)
def test_three_steps_give_finite_terms_and_a_usable_network(name: str, images: Path, backbone: str) -> None:
    fit = trained(config(images, backbone, entry(name), training={"log_every": 1}), 3)
    assert [row["step"] for row in fit.curves] == [1, 2, 3]
    assert all(torch.isfinite(torch.tensor(list(row.values()))).all() for row in fit.curves)
    out = fit.net.eval()(torch.randn(2, 3, 32, 32))
    assert out.logits.shape == (2, 3)
    assert out.logits.isfinite().all()


@pytest.mark.parametrize("name", ENTRIES)
def test_state_restored_after_two_steps_goes_on_bit_for_bit(name: str, images: Path, backbone: str) -> None:
    run = config(images, backbone, entry(name))
    whole = trained(run, 2)
    state = torch.load(_saved(whole.state_dict()), weights_only=True)
    advance(whole, 3)
    resumed = trained(run, 0)
    resumed.load_state_dict(state)
    advance(resumed, 3)
    assert_same(tensors(whole), tensors(resumed))


@pytest.mark.parametrize("name", [name for name in methods.METHODS if name not in NEVER_NEUTRAL])
def test_neutral_options_train_bit_for_bit_like_fine_tuning(name: str, images: Path, backbone: str) -> None:
    neutral = method_info(name).declarations["neutral"]
    assert neutral is not None
    run = config(images, backbone, {"name": "neutral", "use": name, **{f"{name}.{k}": v for k, v in neutral.items()}})
    assert_same(tensors(trained(run, 4)), tensors(trained(config(images, backbone), 4)))


@pytest.mark.parametrize("name", NEVER_NEUTRAL)
def test_methods_that_cannot_be_neutral_say_so(name: str) -> None:
    assert method_info(name).declarations["neutral"] is None


def test_all_methods_see_the_same_batches(images: Path, backbone: str) -> None:
    def batches(name: str) -> list[torch.Tensor]:
        fit = trained(config(images, backbone, entry(name)), 0)
        return [t for i in range(5) for t in fit.stream.batch(i)[:3]]

    expected = batches("fine_tuning")
    for name in ENTRIES:
        assert all(torch.equal(a, b) for a, b in zip(expected, batches(name), strict=True)), name


def test_mixers_of_equal_alpha_draw_equal_lambdas_and_partners(images: Path, backbone: str) -> None:
    def draws(name: str) -> list[tuple[float, list[int]]]:
        fit = trained(config(images, backbone, entry(name)), 0)
        mixed = [fit.pipeline.mix(fit.stream.batch(i), 3, fit.ctx, i) for i in range(5)]
        return [(m.lam, m.perm.tolist()) for m in mixed]

    assert draws("mixup") == draws("smile") == draws("rifle+mixup")


@pytest.mark.parametrize("name", methods.METHODS)
def test_options_and_declarations_read_from_source_equal_the_runtime_ones(name: str) -> None:
    info = method_info(name)
    module, _, class_name = info.target.partition(":")
    found = getattr(importlib.import_module(module), class_name)
    parameters = [p for p in inspect.signature(found).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert {p.name: p.default for p in parameters} == {key: option.default for key, option in info.options.items()}
    assert len(parameters) == len(inspect.signature(found).parameters)
    for key, value in info.declarations.items():
        assert getattr(found, key) == value
    assert issubclass(found, Component)
    assert info.declarations["paper"]


def _saved(state: dict[str, Any]) -> io.BytesIO:
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return stream
