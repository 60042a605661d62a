"""SPD: selective projection decay pulls a layer back to the source only where its step goes on in an inconsistent direction.

Tian, Huang, Kira: Rethinking Weight Decay for Robust Fine-Tuning of Foundation Models. NeurIPS 2024.

    if  -<g, w - w0> < 0:   w' <- w' - lambda r (w' - w0),   r = clamp((||w' - w0|| - ||w - w0||) / ||w' - w0||, 0, 1)

per parameter tensor of the backbone; w, w': its value before and after the optimizer's step; w0: its pre-trained value; g: its gradient
at w; r: the share of the distance that the step added; lambda: ``weight``, 1. Norms are Euclidean, over the whole
tensor. The classifier is left alone.

Deviations from the authors' code: there the projection is part of an optimizer of its own (Adam's or SGD's step inside); here it follows
the run's own optimizer, whose weight decay acts as in every method.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Component, Context, Step
from methods.shared import ensure, together


def inner_products(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """<a, b> of each pair of tensors, [n]. Of several pairs the difference of two 1-norms, as there is no sum over a list of tensors."""
    tensors = list(torch._foreach_mul(list(a), list(b)))
    if len(tensors) == 1:
        return tensors[0].sum()[None]
    above, below = torch._foreach_clamp_min(tensors, 0.0), torch._foreach_clamp_max(tensors, 0.0)
    return torch.stack(torch._foreach_norm(above, 1)) - torch.stack(torch._foreach_norm(below, 1))


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of each tensor, [n]."""
    return torch.stack(torch._foreach_norm(list(tensors)))


def retreat(old: Tensor, new: Tensor, inconsistent: Tensor, weight: float) -> Tensor:
    """-lambda r of each tensor, [n], 0 where not ``inconsistent``. old, new: ||w - w0|| and ||w' - w0||, [n]."""
    ratio = ((new - old) / new.clamp_min(torch.finfo(new.dtype).tiny)).clamp(0.0, 1.0)
    return torch.where(inconsistent, -weight * ratio, torch.zeros_like(ratio))


class Spd(Component):
    """The projection. weight: lambda (>= 0; 0 projects nothing)."""

    paper = "Tian et al., NeurIPS 2024"
    color = "#117733"
    marker = "o"
    pairs_parameters = True
    neutral: ClassVar = {"weight": 0.0}

    def __init__(self, *, weight: float = 1.0) -> None:
        ensure(weight >= 0, "weight must be >= 0")
        self.weight = weight
        self._pairs: list[tuple[torch.nn.Parameter, Tensor]] = []

    def setup(self, ctx: Context) -> None:
        self._pairs = list(zip(ctx.net.body_parameters(), ctx.source.body_parameters(), strict=True))

    @torch.no_grad()
    def before_step(self, step: Step) -> None:
        pairs = [(p, p0) for p, p0 in self._pairs if p.grad is not None]
        if self.weight == 0 or not pairs:
            return
        params, start = (list(part) for part in zip(*pairs, strict=True))
        inner, distances = [], []
        for part in together(params):
            away = torch._foreach_sub(params[part], start[part])
            distances.append(norms(away))
            inner.append(inner_products([p.grad for p in params[part]], away))
        step.scratch["spd"] = params, start, torch.cat(distances), torch.cat(inner) > 0

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        if "spd" not in step.scratch:
            return
        params, start, distances, inconsistent = step.scratch["spd"]
        for part in together(params):
            if params[0].device.type == "cpu" and not inconsistent[part].any():
                continue  # a device would have to be waited for
            away = list(torch._foreach_sub(params[part], start[part]))
            factors = retreat(distances[part], norms(away), inconsistent[part], self.weight)
            torch._foreach_mul_(away, list(factors.to(away[0].dtype).unbind()))
            torch._foreach_add_(params[part], away)
