"""SnapMix: paste a box of one image into another, and weigh their labels by what the network sees in the boxes.

Huang, Wang, Tao: SnapMix: Semantically Proportional Mixing for Augmenting Fine-grained Data. AAAI 2021.

    x~ = x, with R(x'[B']) in box B,   L = (1 - S(B)) CE(f(x~), y) + S'(B') CE(f(x~), y')
    S = (C - min C) / sum (C - min C),   C = sum_k W[y, k] F_k,   S(B) = sum of S over B

(x', y'): the partner of (x, y) under a random permutation of the batch; S': its map; F: the network's last map, upsampled to the image
bilinearly; W: the classifier; B, B': CutMix boxes of l, l' ~ Beta(alpha, alpha), each with a centre of its own; R: the box B' resized to
B bilinearly; alpha: 5. One pair of boxes per batch; CE: mean over the batch. The two weights need not sum to one; partners of one class
have their sum, each; a map that is flat, or no number, falls back to the area of B, as CutMix.

Deviations from the authors' code: there the maps are taken in train mode, which moves BatchNorm's running statistics twice a step; here in
eval mode, in float32. On a transformer the last map is that of the patches, to which W is applied as it is to the pooled features.
"""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Batch, Component, Context, Mixed, Net
from methods.shared import cut_box, draw_lam, draw_perm, ensure, fraction, one_hot

Box = tuple[int, int, int, int]


def mass(activation: Tensor, box: Box, otherwise: float) -> Tensor:
    """S(B): the share [B] of each map [B, H, W], its minimum subtracted, that lies in a box; ``otherwise`` where that is no number."""
    top, bottom, left, right = box
    raised = activation - activation.amin((1, 2), keepdim=True)
    share = raised[:, top:bottom, left:right].sum((1, 2)) / raised.sum((1, 2))
    return torch.where(share.isfinite(), share, torch.full_like(share, otherwise))


def snap(batch: Batch, num_classes: int, activation: Tensor, perm: Tensor, own: Box, partner: Box) -> Mixed:
    """The mixed batch for given boxes. activation: each image's map C, float [B, H, W]."""
    (top, bottom, left, right), (row, to_row, column, to_column) = own, partner
    x = batch.x.clone()
    pasted = batch.x[perm, :, row:to_row, column:to_column]
    x[:, :, top:bottom, left:right] = F.interpolate(pasted, (bottom - top, right - left), mode="bilinear", align_corners=True)
    area = (bottom - top) * (right - left) / batch.x[0, 0].numel()
    kept, given = 1.0 - mass(activation, own, area), mass(activation, partner, area)[perm]
    hot = one_hot(batch.y, num_classes).to(kept.dtype)
    same = batch.y == batch.y[perm]  # adding the two one-hot labels gives such a pair the sum; the authors count it for each label
    weight = torch.where(same, 2.0, 1.0).to(kept.dtype)[:, None]
    return Mixed(x, weight * (kept[:, None] * hot + given[:, None] * hot[perm]), perm, 1.0 - area)


class SnapMix(Component):
    """A mixer. alpha: of the Beta law (>= 0). prob: share of the batches that are mixed.

    off_last: fraction of the steps, at the end, without mixing.
    """

    paper = "Huang et al., AAAI 2021"
    color = "#cc79a7"
    marker = "v"
    mixer = True
    free_weights = True
    neutral: ClassVar = {"prob": 0.0}
    forwards = 2

    def __init__(self, *, alpha: float = 5.0, prob: float = 1.0, off_last: float = 0.0) -> None:
        ensure(alpha >= 0, "alpha must be >= 0")
        ensure(0 <= prob <= 1, "prob must lie in [0, 1]")
        self.alpha, self.prob, self.off_last = alpha, prob, fraction(off_last)
        self._net: Net | None = None

    def check(self, net: Net) -> None:
        linear = isinstance(net.head, nn.Linear) and net.head.in_features == net.body.num_features
        ensure(linear, "snapmix needs a linear classifier on the channels of the last map, for class-activation maps")

    def setup(self, ctx: Context) -> None:
        self._net = ctx.net

    def mix(self, batch: Batch, num_classes: int, rng: np.random.Generator) -> Mixed:
        plain, (height, width) = Mixed(batch.x, one_hot(batch.y, num_classes)), batch.x.shape[2:]
        lam, perm, other = draw_lam(rng, self.alpha), draw_perm(rng, batch), draw_lam(rng, self.alpha)
        apply, *centres = rng.random() < self.prob, *(int(rng.integers(side)) for side in (height, width, height, width))
        own, partner = cut_box(height, width, lam, *centres[:2]), cut_box(height, width, other, *centres[2:])
        empty = any(bottom == top or right == left for top, bottom, left, right in (own, partner))
        if not apply or empty:
            return plain
        return snap(batch, num_classes, self._activation(batch), perm, own, partner)

    @torch.no_grad()
    def _activation(self, batch: Batch) -> Tensor:
        net = self._net
        assert net is not None
        assert isinstance(net.head, nn.Linear)
        modules = list(net.modules())
        modes = [module.training for module in modules]
        net.eval()
        final = net(batch.x).maps["final"]
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        found = torch.einsum("bchw,bc->bhw", final.float(), net.head.weight[batch.y].float())
        return F.interpolate(found[:, None], batch.x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
