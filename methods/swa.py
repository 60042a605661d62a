"""SWA: evaluate the plain mean of the weights of the last part of training.

Izmailov, Podoprikhin, Garipov, Vetrov, Wilson: Averaging Weights Leads to Wider Optima and Better Generalization. UAI 2018.

    e = mean of w_t over the steps t >= start T

w_t: all parameters after step t; T: total steps; ``start``: .75; e replaces w after the last step, and BatchNorm's running
statistics are then taken anew by one pass over the run's training images, as they are no mean of those of the w_t.

Deviations from the authors' code: there one point per epoch enters the mean and the learning rate is constant or cyclic from
``start`` on; here every step enters it and the schedule stays the run's own, the same for every method.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.base import Component, Context, Step
from methods.shared import ensure, renew_statistics


class Swa(Component):
    """The mean. start: the fraction of the steps after which it begins, in [0, 1] (1: never)."""

    paper = "Izmailov et al., UAI 2018"
    color = "#009e73"
    marker = "s"
    fast: ClassVar = {"start": 0.2}
    chooses_weights = True
    neutral: ClassVar = {"start": 1.0}

    def __init__(self, *, start: float = 0.75) -> None:
        ensure(0 <= start <= 1, "start must lie in [0, 1]")
        self.start = start
        self._mean: list[Tensor] = []
        self._count = 0
        self._device = torch.device("cpu")

    def setup(self, ctx: Context) -> None:
        self._device = ctx.device

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        if step.i < self.start * step.ctx.total_steps:
            return
        weights: list[Tensor] = list(step.ctx.net.parameters())
        self._count += 1
        if self._count == 1:
            self._mean = [p.detach().clone() for p in weights]
        else:
            torch._foreach_lerp_(self._mean, weights, 1.0 / self._count)

    @torch.no_grad()
    def finish(self, ctx: Context) -> None:
        if self._count > 0:
            torch._foreach_copy_(list(ctx.net.parameters()), self._mean)
            renew_statistics(ctx)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self._count, "mean": self._mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._count, saved = state["count"], state["mean"]
        self._mean = [t.to(self._device, copy=True) for t in saved]  # a checkpoint is read to the CPU
