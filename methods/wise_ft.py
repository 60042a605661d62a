"""WiSE-FT: evaluate a point between the weights before and after fine-tuning.

Wortsman, Ilharco, Kim, Li, Kornblith, Roelofs, Lopes, Hajishirzi, Farhadi, Namkoong, Schmidt: Robust Fine-Tuning of Zero-Shot
Models. CVPR 2022.

    theta = (1 - a) theta_0 + a theta_1

theta_0: all parameters before the first step, with a classifier that already works; theta_1: after the last step; a: ``alpha``, .5.
BatchNorm's running statistics are then taken anew by one pass over the run's training images; at the ends, a = 0 and a = 1, the network is
one that was there, with the statistics it had.

Deviations from the authors' code: its theta_0 is CLIP with a classifier made from text, which needs no training. Here that start
comes from another component (``lp_ft+wise_ft``); a randomly drawn classifier is refused, as half of it is no classifier at all.
"""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Component, Context
from methods.shared import ensure, renew_statistics


class WiseFt(Component):
    """The point between. alpha: a, in [0, 1] (1: the trained weights)."""

    paper = "Wortsman et al., CVPR 2022"
    color = "#009e73"
    marker = "^"
    chooses_weights = True
    needs_head_start = True
    neutral: ClassVar = {"alpha": 1.0}

    def __init__(self, *, alpha: float = 0.5) -> None:
        ensure(0 <= alpha <= 1, "alpha must lie in [0, 1]")
        self.alpha = alpha
        self._start: list[Tensor] = []
        self._buffers: list[Tensor] = []

    def setup(self, ctx: Context) -> None:
        if self.alpha < 1:
            self._start = [p.detach().clone() for p in ctx.net.parameters()]
        if self.alpha == 0:
            self._buffers = [b.clone() for b in ctx.net.buffers()]

    @torch.no_grad()
    def finish(self, ctx: Context) -> None:
        if self.alpha == 1:
            return
        torch._foreach_lerp_(list(ctx.net.parameters()), self._start, 1.0 - self.alpha)
        if self.alpha == 0:
            torch._foreach_copy_(list(ctx.net.buffers()), self._buffers)
        else:
            renew_statistics(ctx)
