"""L2-SP: weight decay toward the pre-trained weights instead of toward zero.

Li, Grandvalet, Davoine: Explicit Inductive Bias for Transfer Learning with Convolutional Networks. ICML 2018.

    L = CE + alpha/2 ||w - w0||^2 + beta/2 ||v||^2

w: all parameters of the backbone (kernels, biases, BatchNorm's affine parameters); w0: their pre-trained values; v: the
new classifier (weight and bias). Both norms are plain sums of squares. The penalty acts on the gradient, g += alpha (w - w0),
after the backward pass, so it is the same for every optimizer; its value is computed at log points only.

Deviations from the authors' code: the TensorFlow code penalises convolution kernels only (``params="kernels"``), with alpha .1.
That is not our default: all parameters with alpha = beta = .01, as the DELTA and TLLib repositories have it. The SMILE repository adds
weight decay 1e-4 on all parameters, which moves the fixed point from w0 to alpha w0 / (alpha + 1e-4); ``l2_sp_smile`` does so too.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Component, Context, Step
from methods.shared import ensure, squared_distance


class L2SP(Component):
    """The pull toward the source.

    alpha: weight of the pull (>= 0). beta: weight decay of the classifier. wd_backbone: ordinary weight decay of the
    backbone, toward zero. params: what is pulled; ``"kernels"`` are the parameters with two or more dimensions.
    """

    paper = "Li et al., ICML 2018"
    color = "#0072b2"
    marker = "^"
    pairs_parameters = True
    variant_looks: ClassVar = {"l2_sp_smile": ("#0072b2", "P")}
    terms = ("l2_sp",)
    neutral: ClassVar = {"alpha": 0.0, "beta": 1e-4, "wd_backbone": 1e-4}

    def __init__(
        self,
        *,
        alpha: float = 0.01,
        beta: float = 0.01,
        wd_backbone: float = 0.0,
        params: Literal["all", "kernels"] = "all",
    ) -> None:
        ensure(min(alpha, beta, wd_backbone) >= 0, "alpha, beta and wd_backbone must be >= 0")
        self.alpha, self.beta, self.wd_backbone, self.params = alpha, beta, wd_backbone, params
        self._pairs: list[tuple[torch.nn.Parameter, Tensor]] = []

    def weight_decay(self, group: str) -> float | None:
        return {"backbone": self.wd_backbone, "head": self.beta}.get(group)

    def setup(self, ctx: Context) -> None:
        pairs = zip(ctx.net.body_parameters(), ctx.source.body_parameters(), strict=True)
        self._pairs = [(p, p0.detach()) for p, p0 in pairs if self.params == "all" or p.ndim > 1]

    def monitor(self, step: Step) -> dict[str, Tensor]:
        params, start = zip(*self._pairs, strict=True)
        return {"l2_sp": 0.5 * self.alpha * squared_distance(params, start)}

    def before_step(self, step: Step) -> None:
        pairs = [(p, p0) for p, p0 in self._pairs if p.grad is not None]
        if self.alpha == 0 or not pairs:
            return
        params, start = zip(*pairs, strict=True)
        with torch.no_grad():
            pull = torch._foreach_sub(params, start)
            torch._foreach_add_([p.grad for p in params], pull, alpha=self.alpha)
