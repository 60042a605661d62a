"""SAM: take the gradient at the worst point near the weights. Variant ``asam``: near in units of each weight's size.

Foret, Kleiner, Mobahi, Neyshabur: Sharpness-Aware Minimization for Efficiently Improving Generalization. ICLR 2021.
Kwon, Kim, Park, Choi: ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural Networks. ICML 2021.

    e = rho g / (||g|| + 1e-12),   the step is taken from w with the gradient of L at w + e
    asam:   e = rho T^2 g / (||T g|| + 1e-12),   T = |w| + eta for weights, 1 for the rest

g: gradient of the loss (all terms, no weight decay) at w; the norm runs over all trained parameters together; rho: .05 (asam .5);
eta: .01; weights: the network's parameters so called, BatchNorm's among them. Both gradients are of the same batch, mix and noise,
and BatchNorm's running statistics see the first pass only. A step costs two of fine-tuning's.

Deviations from the authors' code: none. w is put back from a copy, not by subtracting e, so that no rounding is left.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Component, Context, Step
from methods.shared import ensure


def ascent(gradients: list[Tensor], scales: list[Tensor] | None, rho: float) -> list[Tensor]:
    """e of the equations above. scales: T per parameter, or None for 1."""
    scaled = gradients if scales is None else torch._foreach_mul(gradients, scales)
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(scaled)))
    moved = torch._foreach_mul(scaled, rho / (norm + 1e-12))
    return list(moved if scales is None else torch._foreach_mul(moved, scales))


class Sam(Component):
    """The second pass. rho: radius (>= 0; 0 makes no second pass). adaptive, eta: ASAM's T."""

    paper = "Foret et al., ICLR 2021"
    color = "#999933"
    marker = "o"
    variant_looks: ClassVar = {"asam": ("#999933", "^")}
    moves_weights = True
    neutral: ClassVar = {"rho": 0.0}
    forwards = 2
    backwards = 2

    def __init__(self, *, rho: float = 0.05, adaptive: bool = False, eta: float = 0.01) -> None:
        ensure(rho >= 0, "rho must be >= 0")
        ensure(eta >= 0, "eta must be >= 0")
        self.rho, self.adaptive, self.eta = rho, adaptive, eta
        self._weights: set[torch.nn.Parameter] = set()

    def setup(self, ctx: Context) -> None:
        self._weights = {p for name, p in ctx.net.named_parameters() if name.endswith("weight")}

    def second_pass(self, step: Step) -> AbstractContextManager[None] | None:
        assert step.ctx.optimizer is not None
        return self._moved(step.ctx.optimizer) if self.rho > 0 else None

    @contextmanager
    def _moved(self, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        params = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        with torch.no_grad():
            scales = [p.abs() + self.eta if p in self._weights else torch.ones_like(p) for p in params] if self.adaptive else None
            kept = [p.clone() for p in params]
            torch._foreach_add_(params, ascent([p.grad for p in params], scales, self.rho))
        yield
        with torch.no_grad():
            torch._foreach_copy_(params, kept)
