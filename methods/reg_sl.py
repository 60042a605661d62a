"""RegSL: keep every layer within a distance of its pre-trained weights; optionally correct and re-weight labels.

Li, Zhang: Improved Regularization and Robustness for Fine-tuning in Neural Networks. NeurIPS 2021.

    after every step:  W_i <- W_i0 + (W_i - W_i0) min(1, r_k / ||W_i - W_i0||),   r_k = lambda gamma^e_k,   e = (0, 0, 1, 2)

W_i: a convolution or linear weight of group k of four; W_i0: its pre-trained value; ||.||: Frobenius norm, or with ``"inf-op"`` the
sum of absolute values of each output's row (each row is then scaled by itself). BatchNorm's effective scale g / sqrt(v + 1e-6),
with weight g and running variance v, is clamped channel by channel to +-r_k around the source's. The classifier's weight is
projected around 0 with radius ``lambda_head``. Biases, and all that precedes the first group, are free. ``mode="penalty"``:
instead, sum_k r_k sum_i ||W_i - W_i0||_F^2 + lambda_head ||V||_F^2 (no 1/2; every parameter but biases, BatchNorm's weights
included), or with ``"inf-op"`` the largest row sum in place of the square. Its gradient is added after the backward pass; its value is
computed at log points only.

``self_label``: for epoch e >= 5 cross-entropies l_b are weighted by softmax_b(-l_b / T), T = 2 max(.5, exp(-.1 (e - 5))); for e >= 10 a
training label becomes the predicted class where its probability exceeds .9. Labels then stay changed. Epochs count from 1.

Deviations from the authors' code: groups are timm's last four stages (a transformer's blocks in four runs); what lies between two stages
belongs to the later, what lies behind the last to the last. Radii have no defaults: the published ones belong to ResNet-101 with Adam
and do not carry over. Weights inside their ball are left untouched bit for bit. The authors' temperature lags by one epoch. With
self-labelling the logged term is the corrected loss minus the plain cross-entropy, and labels must be unmixed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Component, Context, Net, Step
from methods.self_labels import SelfLabels
from methods.shared import ensure, stage_groups, statistics

EXPONENTS = (0, 0, 1, 2)
VARIANCE_EPS = 1e-6


def shrink_(weights: Sequence[Tensor], centres: Sequence[Tensor], radii: Tensor, norm: str) -> None:
    """Project each weight into the ball of its radius (radii: [n]) around its centre, in place."""
    offsets = torch._foreach_sub(list(weights), list(centres))
    if norm == "frob":
        factors = list(_excess(torch.stack(torch._foreach_norm(offsets)), radii).unbind())
    else:
        rows = [offset.flatten(1).abs().sum(1).view(-1, *[1] * (offset.ndim - 1)) for offset in offsets]
        factors = [_excess(row, radius) for row, radius in zip(rows, radii, strict=True)]
    torch._foreach_mul_(offsets, factors)
    torch._foreach_add_(list(weights), offsets)


def _excess(length: Tensor, radius: Tensor) -> Tensor:
    """min(1, radius / length) - 1: what a projection adds, in offsets. Exactly 0 inside the ball, so that it changes no bit there."""
    return (radius / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp_max(1.0) - 1.0


def effective_scale(weight: Tensor, variance: Tensor) -> Tensor:
    """weight / sqrt(variance + 1e-6), channel by channel."""
    return weight / (variance + VARIANCE_EPS).sqrt()


def clamp_scale(weight: Tensor, variance: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """BatchNorm weights [c] whose effective scale lies within ``radius`` [c] of ``centre``; those that do are returned as they are."""
    offset = effective_scale(weight, variance) - centre
    edge = (centre + radius * offset.sign()) * (variance + VARIANCE_EPS).sqrt()
    return torch.where(offset.abs() > radius, edge, weight)


def distance_penalty(weights: Sequence[Tensor], centres: Sequence[Tensor], factors: Tensor, norm: str) -> Tensor:
    """sum_i factors_i d_i, with d the squared Frobenius norm of weight - centre, or its largest row sum (largest entry of a vector)."""
    offsets = torch._foreach_sub(list(weights), list(centres))
    if norm == "frob":
        return (torch.stack(torch._foreach_norm(offsets)).square() * factors).sum()
    return (torch.stack([o.reshape(len(o), -1).abs().sum(1).max() for o in offsets]) * factors).sum()


def penalty_gradients(weights: Sequence[Tensor], centres: Sequence[Tensor], factors: Sequence[float], norm: str) -> tuple[Tensor, ...]:
    """The gradient of :func:`distance_penalty` in each weight; of equally large row sums the first one counts."""
    offsets = torch._foreach_sub(list(weights), list(centres))
    if norm == "frob":
        torch._foreach_mul_(offsets, [2.0 * factor for factor in factors])
        return offsets
    largest = [F.one_hot(o.reshape(len(o), -1).abs().sum(1).argmax(), len(o)).view(-1, *[1] * (o.ndim - 1)) for o in offsets]
    return torch._foreach_mul([o.sign() * row for o, row in zip(offsets, largest, strict=True)], list(factors))


def group_of(net: Net) -> dict[str, int]:
    """Group 0 .. 3 of each parameter of ``net.body`` outside the classifier, by name; free ones are absent."""
    groups = stage_groups(net)
    head = {id(p) for p in net.head_parameters()}
    names = [name for name, p in net.body.named_parameters() if id(p) not in head]
    owners = {name: k for name in names for k, group in enumerate(groups) if name.startswith(tuple(f"{stage}." for stage in group))}
    found: dict[str, int] = {}
    later = len(groups) - 1
    for name in reversed(names):
        if name not in owners and later == 0:
            break
        later = owners.get(name, later)
        found[name] = later
    return found


class RegSL(Component):
    """Projection or penalty per layer, and self-labelling.

    lambda_ext, gamma, lambda_head: lambda, gamma and the classifier's radius; all three must be given. mode, norm, self_label: see
    above. reweight_from, relabel_from: epochs. threshold: probability above which a label changes.
    """

    version = 2
    paper = "Li and Zhang, NeurIPS 2021"
    color = "#117733"
    marker = "X"
    pairs_parameters = True
    variant_looks: ClassVar = {"reg_sl_penalty": ("#117733", "^"), "reg_sl_self_label": ("#117733", "s")}
    fast: ClassVar = {"lambda_ext": 0.02, "lambda_head": 0.5, "gamma": 2.0}
    terms = ("reg_sl", "self_label")
    neutral: ClassVar = {"lambda_ext": 1e30, "lambda_head": 1e30, "gamma": 1.0}

    def __init__(
        self,
        *,
        lambda_ext: float | None = None,
        lambda_head: float | None = None,
        gamma: float | None = None,
        mode: Literal["constraint", "penalty"] = "constraint",
        norm: Literal["frob", "inf-op"] = "frob",
        self_label: bool = False,
        reweight_from: int = 5,
        relabel_from: int = 10,
        threshold: float = 0.9,
    ) -> None:
        radii = [value for value in (lambda_ext, lambda_head, gamma) if value is not None]
        ensure(all(value >= 0 for value in radii), "lambda_ext, lambda_head and gamma must be >= 0")
        self.lambda_ext, self.lambda_head, self.gamma = lambda_ext, lambda_head, gamma
        self.mode, self.norm, self.self_label = mode, norm, self_label
        self.hard_labels = self_label
        self._labels = SelfLabels(reweight_from, relabel_from, threshold) if self_label else None
        self._weights: list[Tensor] = []
        self._centres: list[Tensor] = []
        self._factors: list[float] = []
        self._radii = torch.empty(0)
        self._norms: list[nn.BatchNorm2d] = []
        self._norm_centre = self._norm_radius = torch.empty(0)

    def check(self, net: Net) -> None:
        missing = [name for name in ("lambda_ext", "lambda_head", "gamma") if getattr(self, name) is None]
        ensure(not missing, f"{', '.join(missing)} must be set in the sweep: radii depend on data set, backbone and optimizer")

    def setup(self, ctx: Context) -> None:
        assert self.lambda_ext is not None
        assert self.lambda_head is not None
        assert self.gamma is not None
        radius = {name: self.lambda_ext * self.gamma ** EXPONENTS[k] for name, k in group_of(ctx.net).items()}
        radius = {name: r for name, r in radius.items() if math.isfinite(r)}
        source, penalty = dict(ctx.source.body.named_parameters()), self.mode == "penalty"
        layers = [
            (p, source[name].detach(), radius[name])
            for name, p in ctx.net.body.named_parameters()
            if name in radius and (not name.endswith("bias") if penalty else p.ndim in (2, 4))
        ]
        if math.isfinite(self.lambda_head):
            layers += [(p, torch.zeros_like(p), self.lambda_head) for p in ctx.net.head_parameters() if p.ndim > 1]
        if layers:
            self._weights, self._centres, self._factors = (list(part) for part in zip(*layers, strict=True))
            self._radii = self._weights[0].new_tensor(self._factors)
        if not penalty:
            self._find_norms(ctx, radius)
        if self._labels is not None:
            self._labels.remember(ctx)

    def penalties(self, step: Step) -> dict[str, Tensor]:
        return {} if self._labels is None else {"self_label": self._labels.correction(step)}

    def monitor(self, step: Step) -> dict[str, Tensor]:
        if self.mode != "penalty" or not self._weights:
            return {}
        return {"reg_sl": distance_penalty(self._weights, self._centres, self._radii, self.norm)}

    @torch.no_grad()
    def before_step(self, step: Step) -> None:
        pulled = [at for at in zip(self._weights, self._centres, self._factors, strict=True) if at[0].grad is not None]
        if self.mode == "penalty" and pulled:
            weights, centres, factors = zip(*pulled, strict=True)
            torch._foreach_add_([p.grad for p in weights], penalty_gradients(weights, centres, factors, self.norm))

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        if self.mode == "penalty":
            return
        if self._weights:
            shrink_(self._weights, self._centres, self._radii, self.norm)
        if self._norms:
            weight, variance = torch.cat([m.weight for m in self._norms]), torch.cat([statistics(m)[1] for m in self._norms])
            clamped = clamp_scale(weight, variance, self._norm_centre, self._norm_radius)
            torch._foreach_copy_([m.weight for m in self._norms], list(clamped.split([m.num_features for m in self._norms])))

    def state_dict(self) -> dict[str, Any]:
        return {} if self._labels is None else {"labels": self._labels.labels}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self._labels is not None:
            self._labels.labels = state["labels"].to(self._labels.labels.device)

    def _find_norms(self, ctx: Context, radius: Mapping[str, float]) -> None:
        originals = dict(ctx.source.body.named_modules())
        modules = ctx.net.body.named_modules()
        found = [(name, m) for name, m in modules if isinstance(m, nn.BatchNorm2d) and f"{name}.weight" in radius]
        if found:
            self._norms = [m for _, m in found]
            scales = [effective_scale(originals[name].weight, originals[name].running_var) for name, _ in found]
            self._norm_centre = torch.cat(scales).detach()
            self._norm_radius = torch.cat([torch.full_like(m.weight, radius[f"{name}.weight"]) for name, m in found]).detach()
