"""FTP: fast trainable projection keeps each row of the weights within a learned distance of its source.

Tian, Liu, Smith, Kira: Fast Trainable Projection for Robust Fine-Tuning. NeurIPS 2023.

    w <- w0 + clamp(c / n, 0, 1) u,   u = w' - w0,   n = ||u||_1 per row
    c <- clip(c - Adam(k' sum_rows <g, u-> / n-), 1e-8, max n)

per parameter tensor of the backbone; w': its value after the optimizer's step; w0: its pre-trained value; a row: one output
channel, and a vector is one row; c: the tensor's radius, from ``radius`` = 1e-8 on, so that the first step ends where it began; g: the
gradient at the next step; u-, n-: u and n of the step before; Adam: with ``lr`` .01, .9, .999 and eps 1e-8; k': ``k``, 1, where the sum is
positive, else 1. The classifier is left alone.

Deviations from the authors' code: there the projection is part of an optimizer of its own; here it follows the run's. That a vector is
one row is our reading.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.base import Component, Context, Step
from methods.shared import ensure, together

SMALLEST = 1e-8
BETAS = (0.9, 0.999)


def row_norms(u: Tensor) -> Tensor:
    """The 1-norm of each row, at least 1e-8, kept as a column that divides ``u``."""
    return u.abs().sum(tuple(range(1, u.ndim)) if u.ndim > 1 else None, keepdim=True).clamp_min_(SMALLEST)


def _inner(g: Tensor | None, direction: Tensor) -> Tensor:
    """sum_rows <g, u> / n, with ``direction`` = u / n: how fast the loss grows with c."""
    if g is None:
        return direction.new_zeros(())
    if g.stride() != direction.stride():
        return (g * direction).sum()
    return torch.dot(*(t.as_strided((t.numel(),), (1,)) for t in (g, direction)))  # as they lie in memory, which has no gaps


class Ftp(Component):
    """The projection. radius: c at the start (> 0; None: no projection). lr: of c. k: factor on what makes c smaller (>= 0)."""

    version = 2
    paper = "Tian et al., NeurIPS 2023"
    color = "#117733"
    marker = "v"
    pairs_parameters = True
    neutral: ClassVar = {"radius": None}

    def __init__(self, *, radius: float | None = 1e-8, lr: float = 0.01, k: float = 1.0) -> None:
        ensure(radius is None or radius > 0, "radius must be > 0")
        ensure(min(lr, k) >= 0, "lr and k must be >= 0")
        self.radius, self.lr, self.k = radius, lr, k
        self._pairs: list[tuple[torch.nn.Parameter, Tensor]] = []
        self._previous: list[Tensor] = []
        self._c = self._m = self._v = torch.zeros(0)
        self._count = 0

    def setup(self, ctx: Context) -> None:
        if self.radius is not None:
            self._pairs = list(zip(ctx.net.body_parameters(), ctx.source.body_parameters(), strict=True))
            first = self._pairs[0][0]
            self._c = torch.full((len(self._pairs),), self.radius, dtype=first.dtype, device=first.device)
            self._m, self._v = torch.zeros_like(self._c), torch.zeros_like(self._c)

    @torch.no_grad()
    def before_step(self, step: Step) -> None:
        if self._previous:
            parts = zip(self._pairs, self._previous, strict=True)
            self._learn(torch.stack([_inner(p.grad, direction) for (p, _), direction in parts]))

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        if not self._pairs:
            return
        params, start = (list(part) for part in zip(*self._pairs, strict=True))
        self._previous, radii = [], []
        for part in together(params):
            u = list(torch._foreach_sub(params[part], start[part]))
            norms = [row_norms(t) for t in u]
            c = torch.minimum(self._c[part], torch.stack([n.max() for n in norms])).clamp_min(SMALLEST)
            shares = [(each / n).clamp_max_(1.0) for each, n in zip(c.unbind(), norms, strict=True)]
            for p, p0, share in zip(params[part], start[part], shares, strict=True):
                torch.lerp(p0, p, share, out=p)  # exact at both ends
            self._previous += [t.div_(n) for t, n in zip(u, norms, strict=True)]
            radii.append(c)
        self._c = torch.cat(radii)

    def _learn(self, slope: Tensor) -> None:
        """One step of Adam on the radii."""
        slope, self._count = torch.where(slope > 0, self.k * slope, slope), self._count + 1
        self._m = BETAS[0] * self._m + (1 - BETAS[0]) * slope
        self._v = BETAS[1] * self._v + (1 - BETAS[1]) * slope.square()
        m, v = (t / (1 - beta**self._count) for t, beta in zip((self._m, self._v), BETAS, strict=True))
        self._c = self._c - self.lr * m / (v.sqrt() + 1e-8)

    def state_dict(self) -> dict[str, Any]:
        return {"previous": self._previous, "adam": [self._c, self._m, self._v], "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._count, device = state["count"], self._c.device
        self._previous = [u.to(device) for u in state["previous"]]
        self._c, self._m, self._v = (t.to(device) for t in state["adam"])
