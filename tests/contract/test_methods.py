"""Every method, variant and published composition, through the contract of :mod:`methods.testing`."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import methods
from benchmark.config.method_options import method_info, method_looks
from benchmark.errors import UsageError
from methods.base import Batch
from methods.testing import (
    CHECKS,
    REFERENCE_STEPS,
    ContractError,
    Trial,
    advance,
    check_batches,
    check_neutral,
    check_resume,
    check_source,
    check_training,
    fine_tuning,
    logged_terms,
    tiny_run,
    trained,
)
from tests.contract.entries import ADAPTERS, ENTRIES, TEMPLATE, transformer, trial

NEVER_NEUTRAL = {
    "linear_probe": "it freezes the backbone",
    "bitfit": "it freezes the weights",
    "lora": "it freezes the weights",
    "ssf": "it freezes the weights",
    "vpt": "it freezes the weights",
    "adaptformer": "it freezes the weights",
    "lp_ft": "its classifier starts elsewhere than a drawn one",
}
CHECKED = [
    pytest.param(check, name, id=f"{check.__name__}-{name}")
    for check in CHECKS
    for name in (*ENTRIES, TEMPLATE)
    if not (name in methods.VARIANTS and check in (check_source, check_neutral))  # checks of the class: the method's own
]


@pytest.mark.parametrize(("check", "name"), CHECKED)
def test_contract(check: Callable[[Trial], None], name: str, images: Path, backbone: str) -> None:
    check(trial(name, images, backbone))


@pytest.mark.parametrize(
    "name", ["lr_decay", "ema", "swa", "lp_ft", "sam", "spd", "ftp", "gradual_unfreezing", "bitfit", "snapmix", "smile"]
)
def test_a_transformer_trains_and_resumes(name: str, images: Path, backbone: str) -> None:
    check_resume(Trial(name, {}, images, transformer(Path(backbone.partition("@")[2]).parent)))


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_names_what_a_convolutional_network_lacks(name: str, images: Path, backbone: str) -> None:
    with pytest.raises(UsageError, match=f"method '{name}'.*none"):
        trained(tiny_run(images, backbone, name), 0)


def test_every_name_has_a_colour_and_a_marker_of_its_own() -> None:
    looks = method_looks()
    assert set(looks) == {*methods.METHODS, *methods.VARIANTS}
    assert len(set(looks.values())) == len(looks)
    assert all(re.fullmatch("#[0-9a-f]{6}", color) and marker for color, marker in looks.values())


def test_every_method_has_a_paper_and_only_these_are_never_neutral() -> None:
    declared = {name: method_info(name).declarations for name in methods.METHODS}
    assert all(info["paper"] for info in declared.values())
    assert {name for name, info in declared.items() if info["neutral"] is None} == set(NEVER_NEUTRAL)


@pytest.mark.parametrize("name", [name for name in methods.METHODS if method_info(name).declarations["terms"]])
def test_every_declared_term_is_logged_by_the_method_or_a_variant(name: str, images: Path, backbone: str) -> None:
    family = [name, *(variant for variant, (base, _) in methods.VARIANTS.items() if base == name)]
    logged: set[str] = set()
    for member in family:
        logged |= logged_terms(trained(trial(member, images, backbone).run, 1))
        if logged == set(method_info(name).declarations["terms"]):
            return
    pytest.fail(f"declared {method_info(name).declarations['terms']}, logged {logged}")


@pytest.mark.parametrize("name", [name for name in ENTRIES if name != "fine_tuning"])
def test_default_options_do_change_training(name: str, images: Path, backbone: str) -> None:
    tried = trial(name, images, backbone)
    fit = trained(tried.run, REFERENCE_STEPS)
    fit.pipeline.finish(fit.ctx)
    changed, plain = fit.net.state_dict(), fine_tuning(images, tried.backbone)[1]
    assert changed.keys() != plain.keys() or any(not changed[key].equal(tensor) for key, tensor in plain.items())


def test_variants_differ_from_their_method_and_each_other() -> None:
    keys = [(method, tuple(sorted(options.items()))) for method, options in methods.VARIANTS.values()]
    assert len(set(keys)) == len(keys)
    assert not set(methods.VARIANTS) & set(methods.METHODS)
    for method, options in methods.VARIANTS.values():
        defaults = method_info(method).options
        assert options
        assert all(value != defaults[key].default for key, value in options.items())


def test_mixers_of_equal_alpha_draw_equal_lambdas_and_partners(images: Path, backbone: str) -> None:
    def draws(name: str) -> list[tuple[float, list[int]]]:
        fit = trained(trial(name, images, backbone).run, 0)
        mixed = [fit.pipeline.mix(Batch(*fit.stream.batch(i)), 3, fit.ctx, i) for i in range(5)]
        return [(m.lam, m.perm.tolist()) for m in mixed]

    assert draws("mixup") == draws("smile") == draws("rifle+mixup")


BROKEN = """
import random
from typing import ClassVar

import numpy as np
import torch

from methods.base import Component, Mixed
from methods.shared import one_hot


class Undeclared(Component):
    def penalties(self, step):
        return {"extra": step.out.features.square().mean()}


class PerSample(Component):
    terms = ("extra",)

    def penalties(self, step):
        return {"extra": step.out.features.square().mean(1)}


class Infinite(Component):
    terms = ("extra",)

    def penalties(self, step):
        return {"extra": step.out.features.square().sum() / 0}


class OwnDraws(Component):
    mixer = True

    def mix(self, batch, num_classes, rng):
        lam, perm = random.random(), torch.arange(len(batch.y))
        mixed = Mixed(batch.x, one_hot(batch.y, num_classes), perm.flip(0), lam)
        return mixed._replace(x=mixed.blend(mixed.x), target=mixed.blend(mixed.target))


class InPlace(Component):
    mixer = True

    def mix(self, batch, num_classes, rng):
        return Mixed(batch.x.mul_(0.5), one_hot(batch.y, num_classes))


class Heavy(Component):
    mixer = True

    def mix(self, batch, num_classes, rng):
        return Mixed(batch.x, 2 * one_hot(batch.y, num_classes))


class Forgets(Component):
    def __init__(self, *, every: int = 1) -> None:
        self.every, self.mean = every, 0

    def before_step(self, step):
        for p in step.ctx.net.body_parameters():
            p.grad.mul_(1 + self.mean)
        self.mean += 1


class NotNeutral(Component):
    neutral: ClassVar = {"weight": 0.0}

    def __init__(self, *, weight: float = 1.0) -> None:
        self.weight = weight

    def weight_decay(self, group):
        return 0.1
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "broken_methods.py").write_text(BROKEN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield "broken_methods"


@pytest.mark.parametrize(
    ("name", "check", "words"),
    [
        ("Undeclared", check_training, "'extra'.*'terms'"),
        ("PerSample", check_training, "float32 scalar"),
        ("OwnDraws", check_batches, "something else than the generator"),
        ("InPlace", check_batches, "in place"),
        ("Heavy", check_batches, "no distribution"),
        ("Forgets", check_resume, "resumed run differs"),
        ("NotNeutral", check_neutral, "differs from fine-tuning"),
    ],
)
def test_a_broken_promise_is_named(name: str, check: Callable[[Trial], None], words: str, broken: str, images: Path, backbone: str) -> None:
    with pytest.raises(ContractError, match=words):
        check(Trial(f"{broken}:{name}", {}, images, backbone))


def test_a_term_that_is_not_finite_is_named_by_the_loop(broken: str, images: Path, backbone: str) -> None:
    with pytest.raises(RuntimeError, match="not finite at step 1: extra"):
        advance(trained(Trial(f"{broken}:Infinite", {}, images, backbone).run, 0), 1)
