"""DELTA: keep the feature maps near the source's, channel by channel as each matters.

Li, Xiong, Wang, Rao, Liu, Huan: DELTA: Deep Learning Transfer using Feature Map with Attention for Convolutional
Networks. ICLR 2019.

    L = CE + alpha sum_j c_j/2 sum_{b,k} W_jk ||F_jk(x_b) - F*_jk(x_b)||^2 / (h_j w_j) + beta/2 ||v||^2
    W_j = softmax_k((I_jk - mean I_j) / std I_j / tau),   I_jk = loss without channel k - loss

F_j, F*_j: maps [c_j, h_j, w_j] of tapped layer j in the student and in the source network (eval mode) on the same images; b: image of
the batch (summed, not averaged); k: channel; v: the classifier (weight and bias). I: increase of the source network's loss on the new
task when a channel's map is zero, with a classifier trained on its features, averaged over 4 batches of 32 augmented
training images; std: population. alpha and beta .01, tau 5. A value of alpha is valid only with its scaling and batch size.

Deviations from the authors' code: I is measured on 4 batches (``n_batches``) of 32 (``batch_size``); there batches have 64 images, and
TLLib takes 10 of 32. Its exponential schedule ends at .0316 of the rate, ours at .01 (``training.exp_end``). Its classifier for I is
trained for 10 epochs with BatchNorm statistics that drift; here for 10
epochs (SGD, momentum .9, rate .01 falling tenfold per 6 epochs, weight decay 1e-4) on features of unaugmented images, computed once
in eval mode. Backbones other than bottleneck ResNets are tapped at their last four stages, transformers at four evenly spaced
blocks; there a removed channel is zero after the stage, while a ResNet's is zero before BatchNorm, in both codes. ``delta_smile``
is the SMILE repository's: the output map only, weighted by what was measured on the last ``conv3`` (on the map itself where there
is none), without c and 1/2, plus weight decay 1e-4 on all parameters. ``delta_plain`` has W = 1/c: with ``scale="fea_map"``, which
omits 1/(h w), it is the authors' ``fea_map``.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Component, Context, MethodError, Net, Step
from methods.channel_importance import fast_importance, train_head
from methods.shared import ensure, stage_groups, wide


def map_distance(student: Tensor, source: Tensor, weight: Tensor, scale: str, batch_reduction: str) -> Tensor:
    """Weighted squared distance between maps [B, c, h, w] with channel weights [c], summed or averaged over the batch.

    Factor by ``scale``: ``"delta"`` c / (2 h w), ``"fea_map"`` c / 2, ``"smile"`` 1 / (h w).
    """
    per_channel = (wide(student) - wide(source)).square().sum((2, 3))
    channels, area = student.shape[1], student.shape[2:].numel()
    factor = {"delta": channels / (2 * area), "fea_map": channels / 2, "smile": 1 / area}[scale]
    total = factor * (per_channel * weight).sum()
    return total / len(student) if batch_reduction == "mean" else total


def attention(importance: Tensor, tau: float, standardise: bool = True) -> Tensor:
    """Importances [c] -> weights [c] that sum to 1: softmax over channels at temperature ``tau``, of z-scores if ``standardise``."""
    if standardise:
        spread = importance.std(correction=0)
        importance = (importance - importance.mean()) / spread.clamp_min(torch.finfo(spread.dtype).tiny)
    return torch.softmax(importance / tau, dim=0)


def conv3_paths(net: Net) -> tuple[str, ...]:
    """The last ``conv3`` of each of a bottleneck ResNet's four layers, before BatchNorm; () for any other network."""
    names = {name for name, _ in net.body.named_modules()}
    layers = [getattr(net.body, f"layer{k}", ()) for k in range(1, 5)]
    paths = tuple(f"layer{k}.{len(layer) - 1}.conv3" for k, layer in enumerate(layers, start=1))
    return paths if names.issuperset(paths) else ()


class Delta(Component):
    """The feature-map penalty and its one-off measurement of channel importance.

    alpha: weight of the penalty. beta: weight decay of the classifier. wd_backbone: of the backbone. layers: ``"delta_repo"`` taps the
    last ``conv3`` of each layer of a bottleneck ResNet, ``"stages"`` what :func:`methods.shared.stage_groups` says, ``"final"`` the
    output map, ``"auto"`` the first where it exists, else the second. attention: channel weights from importance, or uniform.
    scale, batch_reduction: see :func:`map_distance`. tau, standardise: see :func:`attention`. n_batches, batch_size: training
    images for the importance. head_epochs, head_lr: of the classifier behind it.
    """

    paper = "Li et al., ICLR 2019"
    color = "#56b4e9"
    marker = "D"
    variant_looks: ClassVar = {"delta_smile": ("#56b4e9", "X"), "delta_plain": ("#56b4e9", "s")}
    fast: ClassVar = {"n_batches": 1, "batch_size": 8, "head_epochs": 1}
    terms = ("delta",)
    neutral: ClassVar = {"alpha": 0.0, "beta": 1e-4, "wd_backbone": 1e-4}
    compares_networks = True
    forwards = 2

    def __init__(
        self,
        *,
        alpha: float = 0.01,
        beta: float = 0.01,
        wd_backbone: float = 0.0,
        layers: Literal["auto", "stages", "delta_repo", "final"] = "auto",
        attention: Literal["importance", "uniform"] = "importance",
        scale: Literal["delta", "fea_map", "smile"] = "delta",
        batch_reduction: Literal["sum", "mean"] = "sum",
        tau: float = 5.0,
        standardise: bool = True,
        n_batches: int = 4,
        batch_size: int = 32,
        head_epochs: int = 10,
        head_lr: float = 0.01,
    ) -> None:
        ensure(min(alpha, beta, wd_backbone) >= 0, "alpha, beta and wd_backbone must be >= 0")
        ensure(min(tau, head_lr) > 0, "tau and head_lr must be > 0")
        ensure(min(n_batches, batch_size) >= 1 and head_epochs >= 0, "n_batches and batch_size must be >= 1, head_epochs >= 0")
        self.alpha, self.beta, self.wd_backbone = alpha, beta, wd_backbone
        self.layers, self.attention, self.scale, self.batch_reduction = layers, attention, scale, batch_reduction
        self.tau, self.standardise = tau, standardise
        self.n_batches, self.batch_size, self.head_epochs, self.head_lr = n_batches, batch_size, head_epochs, head_lr
        self._weights: dict[str, Tensor] = {}

    def check(self, net: Net) -> None:
        if self.layers == "delta_repo" and not conv3_paths(net):
            raise MethodError("layers='delta_repo' is for bottleneck ResNets; use 'auto', 'stages' or 'final' on this backbone")

    def taps(self, net: Net) -> tuple[str, ...]:
        return tuple(dict.fromkeys([tap for pair in self._layers(net) for tap in pair])) if self.alpha > 0 else ()

    def weight_decay(self, group: str) -> float | None:
        return {"backbone": self.wd_backbone, "head": self.beta}.get(group)

    def setup(self, ctx: Context) -> None:
        if self.alpha == 0:
            return
        layers = self._layers(ctx.source)
        if self.attention == "uniform":
            maps = ctx.source(next(ctx.train_pass(2)).x).maps
            self._weights = {tap: torch.full((maps[tap].shape[1],), 1 / maps[tap].shape[1], device=ctx.device) for tap, _ in layers}
            return
        measured = [at for _, at in layers]
        options = {"taps": measured, "n_batches": self.n_batches, "batch_size": self.batch_size}
        options |= {"head_epochs": self.head_epochs, "head_lr": self.head_lr, "draws": ctx.rng.seed("setup")}
        importance = ctx.cached("delta_importance", options, lambda: self._measure(ctx, measured))
        self._weights = {tap: attention(importance[at].to(ctx.device), self.tau, self.standardise) for tap, at in layers}

    def penalties(self, step: Step) -> dict[str, Tensor]:
        if self.alpha == 0:
            return {}
        student, source = step.out.maps, step.source("mixed").maps
        distances = [
            map_distance(student[tap], source[tap], weight, self.scale, self.batch_reduction) for tap, weight in self._weights.items()
        ]
        return {"delta": self.alpha * torch.stack(distances).sum()}

    def _layers(self, net: Net) -> list[tuple[str, str]]:
        """Pairs of the tap that is compared and the tap at which its channels' importance is measured."""
        if self.layers == "final":
            return [("final", (conv3_paths(net) or ("final",))[-1])]
        paths = () if self.layers == "stages" else conv3_paths(net)
        return [(tap, tap) for tap in paths or [group[-1] for group in stage_groups(net)]]

    def _measure(self, ctx: Context, taps: list[str]) -> dict[str, Tensor]:
        rng = ctx.rng.torch("setup")
        with torch.no_grad():
            pooled = [(ctx.source(batch.x).features.float(), batch.y) for batch in ctx.train_pass(self.batch_size)]
        features, y = (torch.cat(parts) for parts in zip(*pooled, strict=True))
        head = train_head(features, y, ctx.num_classes, self.head_epochs, self.head_lr, rng)
        batches = list(ctx.train_pass(self.batch_size, augment=True, batches=self.n_batches))
        return {tap: torch.stack([fast_importance(ctx.source, head, tap, b.x, b.y) for b in batches]).mean(0) for tap in taps}
