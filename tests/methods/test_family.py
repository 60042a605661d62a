"""Every method and variant trains a tiny network; neutral options train like fine-tuning; a restored run goes on as if never stopped."""

import copy
import importlib

import pytest
import torch

import methods
from benchmark.training.pipeline import Pipeline
from methods.base import Component
from tests.methods.tiny import CLASSES, context, images, pair, step

NAMES = [*methods.METHODS, *methods.VARIANTS]
NEVER_NEUTRAL = {"linear_probe"}
REQUIRED = {"reg_sl": {"lambda_ext": 0.02, "lambda_head": 0.5, "gamma": 2.0}}


def build(name, **overrides) -> Component:
    method, options = methods.VARIANTS.get(name, (name, {}))
    module, _, class_name = methods.METHODS[method].partition(":")
    return getattr(importlib.import_module(module), class_name)(**{**REQUIRED.get(method, {}), **options, **overrides})


class Run:
    """The loop in small: SGD over the groups, with the pipeline's hooks around it."""

    def __init__(self, component: Component, wd: float = 1e-4) -> None:
        self.pipeline = Pipeline([("it", component)])
        self.net, source = pair(component=component)
        self.pipeline.check(self.net, 7)
        self.pipeline.surgery(self.net)
        ctx = context(self.net, source, total_steps=6, lr=None)
        self.pipeline.setup(ctx)
        decay = self.pipeline.weight_decay(wd)
        groups = [(self.net.body_parameters(), "backbone"), (self.net.head_parameters(), "head")]
        groups += [(list(module.parameters()), "extra") for module, _ in self.pipeline.extra_modules()]
        groups = [{"params": params, "weight_decay": decay(name), "lr": 0.05} for params, name in groups]
        self.optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True)
        self.ctx = type(ctx)(**{**vars(ctx), "optimizer": self.optimizer})

    def steps(self, start: int, stop: int) -> list[dict[str, float]]:
        terms = []
        for i in range(start, stop):
            batch = images(seed=i)._replace(extra_views=(images(seed=i + 100).x,))
            self.net.train()
            self.pipeline.train_mode(self.net)
            mixed = self.pipeline.mix(batch, CLASSES, self.ctx, i)
            self.pipeline.before_forward(i, self.ctx)
            at = step(self.ctx, batch, i, mixed, self.net(mixed.x, mixed.edit))
            losses = self.pipeline.losses(at)
            self.optimizer.zero_grad()
            sum(losses.values()).backward()
            self.pipeline.before_step(at)
            with torch.no_grad():
                losses |= self.pipeline.monitor(at)
            self.optimizer.step()
            self.pipeline.after_step(at)
            terms.append({name: loss.item() for name, loss in losses.items()})
        return terms

    def state(self):
        return copy.deepcopy(
            {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "pipeline": self.pipeline.state_dict()}
        )

    def restore(self, state) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.pipeline.load_state_dict(state["pipeline"])


def equal(a, b) -> bool:
    return all(torch.equal(t, b[name]) for name, t in a.items())


@pytest.mark.parametrize("name", NAMES)
def test_restored_run_goes_on_bit_for_bit(name):
    torch.set_num_threads(1)
    whole = Run(build(name))
    whole.steps(0, 2)
    saved = whole.state()
    terms = whole.steps(2, 6)
    assert all(value == value and abs(value) < 1e6 for row in terms for value in row.values())
    resumed = Run(build(name))
    resumed.restore(saved)
    assert resumed.steps(2, 6) == terms
    assert equal(resumed.net.state_dict(), whole.net.state_dict())


@pytest.mark.parametrize("name", sorted(methods.METHODS))
def test_neutral_options_train_like_fine_tuning(name):
    torch.set_num_threads(1)
    neutral = type(build(name)).neutral
    if name in NEVER_NEUTRAL:
        assert neutral is None
        return
    plain, run = Run(build("fine_tuning")), Run(build(name, **neutral))
    plain.steps(0, 4)
    run.steps(0, 4)
    assert equal(plain.net.state_dict(), run.net.state_dict())


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("fine_tuning",)])
def test_default_options_do_not(name):
    torch.set_num_threads(1)
    plain, run = Run(build("fine_tuning")), Run(build(name))
    plain.steps(0, 6)
    run.steps(0, 6)
    assert not equal(plain.net.state_dict(), run.net.state_dict())


def test_variants_differ_from_their_method_and_each_other():
    keys = [(method, tuple(sorted(options.items()))) for method, options in methods.VARIANTS.values()]
    assert len(set(keys)) == len(keys)
    assert all(options for _, options in keys)
    assert not set(methods.VARIANTS) & set(methods.METHODS)
