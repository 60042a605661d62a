"""The training loop in small: SGD over the groups, with the pipeline's hooks around it."""

import copy
import dataclasses
import importlib
import uuid
from collections.abc import Callable
from typing import Any

import torch

import methods
from benchmark.training.pipeline import Pipeline
from benchmark.training.setup_cache import SetupCache
from methods.base import Component
from tests.methods.tiny import CLASSES, SOURCE_CLASSES, context, images, pair, step


def build(name: str, **overrides: Any) -> Component:
    """A method or variant, with the options that it cannot do without."""
    method, options = methods.VARIANTS.get(name, (name, {}))
    module, _, class_name = methods.METHODS[method].partition(":")
    found = getattr(importlib.import_module(module), class_name)
    return found(**{**found.fast, **options, **overrides})


class Run:
    """One run of ``components`` on a small net. ``wrap`` may compile the net; ``autocast`` trains in bfloat16."""

    def __init__(
        self,
        *components: Component,
        architecture: str = "test_resnet",
        size: int = 32,
        wrap: Callable[[Any], Any] = lambda net: net,
        autocast: bool = False,
        **options: Any,
    ) -> None:
        self.size, self.autocast = size, autocast
        self.pipeline = Pipeline([(type(c).__name__, c) for c in components], [(type(c).__name__, 0) for c in components])
        self.net, source = pair(architecture, **options)
        self.pipeline.check(self.net, SOURCE_CLASSES)
        for net in (self.net, source):
            net.tap(self.pipeline.taps(self.net))
        self.pipeline.surgery(self.net)
        ctx = context(self.net, source, images(size=size), total_steps=6, lr=None)
        self.pipeline.setup(ctx, SetupCache({"made by": uuid.uuid4().hex}))
        claimed = self.pipeline.claimed_decay
        groups = [(self.net.body_parameters(), "backbone"), (self.net.head_parameters(), "head")]
        groups += [(list(module.parameters()), "extra") for module, _ in self.pipeline.extra_modules()]
        groups = [{"params": params, "weight_decay": 1e-4 if (d := claimed(name)) is None else d, "lr": 0.05} for params, name in groups]
        self.optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True)
        self.ctx = dataclasses.replace(ctx, optimizer=self.optimizer)
        self.forward = wrap(self.net)

    def steps(self, start: int, stop: int) -> list[dict[str, float]]:
        """Train from step ``start`` to ``stop``; the loss terms of each step."""
        return [self._step(i) for i in range(start, stop)]

    def _step(self, i: int) -> dict[str, float]:
        batch = images(size=self.size, seed=i)._replace(extra_views=(images(size=self.size, seed=i + 100).x,))
        self.pipeline.enter(i, self.ctx)
        mixed = self.pipeline.mix(batch, CLASSES, self.ctx, i)
        self.pipeline.before_forward(i, self.ctx)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
            at = step(self.ctx, batch, i, mixed, self.forward(mixed.x, mixed.edit))
            losses = self.pipeline.losses(at)
        assert all(loss.dtype == torch.float32 and loss.ndim == 0 for loss in losses.values())
        self.optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        self.pipeline.before_step(at)
        with torch.no_grad():
            losses |= self.pipeline.monitor(at)
        self.optimizer.step()
        self.pipeline.after_step(at)
        return {name: loss.item() for name, loss in losses.items()}

    def state(self) -> dict[str, Any]:
        return copy.deepcopy(
            {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "pipeline": self.pipeline.state_dict()}
        )

    def restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.pipeline.load_state_dict(state["pipeline"])
