"""LP-FT: find the classifier on frozen features first, then train the whole network from there.

Kumar, Raghunathan, Jones, Ma, Liang: Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution. ICLR 2022.

    (W, c) = argmin  C sum_b CE(softmax(W g(x_b) + c), y_b) + 1/2 ||W||^2,   then L = CE over all parameters from (W, c)

g: the pre-trained backbone, pooled, in eval mode; x_b: the run's training images as they are evaluated; C: ``C``, 1. The first problem
is convex: L-BFGS in float64 solves it, in at most ``iterations`` steps, before the first step of training.

Deviations from the authors' code: it takes C from 50 values by accuracy on validation images; here C is fixed, so that no image beyond the
run's is seen. There the second part has a cosine schedule and no weight decay; here the run's own, the same for every method. The command
of its README keeps BatchNorm in eval mode in the second part: ``bn_eval``.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Component, Context, Net
from methods.shared import batch_norms, ensure, wide


def logistic_regression(features: Tensor, y: Tensor, num_classes: int, C: float, iterations: int) -> tuple[Tensor, Tensor]:
    """(W, c) of the objective above from features [n, F] and labels [n]; float64 throughout, started at zero."""
    features = features.double()
    weight = features.new_zeros((num_classes, features.shape[1]), requires_grad=True)
    bias = features.new_zeros(num_classes, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe", tolerance_grad=1e-6)

    def objective() -> Tensor:
        solver.zero_grad()
        loss = C * F.cross_entropy(F.linear(features, weight, bias), y, reduction="sum") + 0.5 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        solver.step(objective)
    return weight.detach(), bias.detach()


class LpFt(Component):
    """The classifier's start. C: inverse weight of its penalty (> 0). iterations: of L-BFGS. bn_eval: BatchNorm stays in eval mode."""

    paper = "Kumar et al., ICLR 2022"
    color = "#6b4c1e"
    marker = "^"
    sets_head = True

    def __init__(self, *, C: float = 1.0, iterations: int = 200, bn_eval: bool = False) -> None:
        ensure(C > 0, "C must be > 0")
        ensure(iterations >= 1, "iterations must be >= 1")
        self.C, self.iterations, self.bn_eval = C, iterations, bn_eval

    def check(self, net: Net) -> None:
        ensure(isinstance(net.head, nn.Linear), f"lp_ft starts a linear classifier, this backbone's is a {type(net.head).__name__}")

    @torch.no_grad()
    def setup(self, ctx: Context) -> None:
        def compute() -> dict[str, Tensor]:
            seen = [(wide(ctx.run_source(batch.x).features), batch.y) for batch in ctx.train_pass(64)]
            features, y = (torch.cat(column) for column in zip(*seen, strict=True))
            weight, bias = logistic_regression(features, y, ctx.num_classes, self.C, self.iterations)
            return {"weight": weight.to(features.dtype), "bias": bias.to(features.dtype)}

        found = ctx.cached("lp_ft", {"C": self.C, "iterations": self.iterations}, compute)
        for name, p in ctx.net.head.named_parameters():
            p.copy_(found[name])

    def train_mode(self, net: Net) -> None:
        if self.bn_eval:
            for norm in batch_norms(net):
                norm.eval()
