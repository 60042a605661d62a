"""EMA: evaluate an exponential moving average of the weights.

Polyak and Juditsky: Acceleration of Stochastic Approximation by Averaging. SIAM J. Control and Optimization, 1992; as in
timm's ModelEmaV3.

    after step t = 0, 1, ..:   e <- d_t e + (1 - d_t) w,   d_t = min(d, 1 - (1 + t)^(-2/3))

w: weights and floating-point buffers of the network (BatchNorm's running statistics are averaged as the weights are); e: their average,
which replaces w after the last step; d: ``decay``, .9998; without ``warm_up`` d_t = d, and e starts at the source network with its new
classifier. A run of 60 steps needs the warm-up: 1 / (1 - d) is 5,000 steps.

Deviations from the authors' code: timm has the warm-up off by default.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.base import Component, Context, Step
from methods.shared import ensure


def averaging(decay: float, t: int, warm_up: bool) -> float:
    """d_t: the weight of the old average at step ``t``."""
    return min(decay, 1.0 - (1.0 + t) ** (-2 / 3)) if warm_up else decay


class Ema(Component):
    """The average. decay: d, in [0, 1) (0: the last weights themselves). warm_up: see above."""

    paper = "Polyak and Juditsky, 1992"
    color = "#009e73"
    marker = "o"
    chooses_weights = True
    neutral: ClassVar = {"decay": 0.0}

    def __init__(self, *, decay: float = 0.9998, warm_up: bool = True) -> None:
        ensure(0 <= decay < 1, "decay must lie in [0, 1)")
        self.decay, self.warm_up = decay, warm_up
        self._weights: list[Tensor] = []
        self._average: list[Tensor] = []

    def setup(self, ctx: Context) -> None:
        self._weights = [t for t in (*ctx.net.parameters(), *ctx.net.buffers()) if t.is_floating_point()] if self.decay > 0 else []
        self._average = [t.detach().clone() for t in self._weights]

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        if self._weights:
            torch._foreach_lerp_(self._average, self._weights, 1.0 - averaging(self.decay, step.i, self.warm_up))

    @torch.no_grad()
    def finish(self, ctx: Context) -> None:
        if self._weights:
            torch._foreach_copy_(self._weights, self._average)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self._average}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for average, saved in zip(self._average, state["average"], strict=True):
            average.copy_(saved)
