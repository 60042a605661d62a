"""Manifold mixup: mix hidden maps at a random layer.

Verma, Lamb, Beckham, Najafi, Mitliagkas, Lopez-Paz, Bengio: Manifold Mixup: Better Representations by Interpolating Hidden
States. ICML 2019.

    h~_k = lam h_k(x) + (1 - lam) h_k(x'),   L = lam CE(f_k(h~_k), y) + (1 - lam) CE(f_k(h~_k), y')

k: layer, uniform in {0, 1, 2} at every step (0: the images, 1 and 2: the outputs of the first two stages); h_k: the network up to
it; f_k: the rest; (x', y'): the partner of (x, y) under a random permutation of the batch; lam ~ Beta(alpha, alpha), one per
batch, alpha 2; CE: mean over the batch.

Deviations from the authors' code: its loss is a binary cross-entropy of the softmax against the mixed label, averaged over batch and
classes; ours is the paper's cross-entropy. One of its networks mixes the labels but not the images at layer 0; here both.
The stages are the first of the last four that timm names (ResNet: ``layer1``, ``layer2``).
"""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from methods.base import Batch, Component, Edit, Mixed, Net
from methods.shared import draw_lam, draw_perm, ensure, fraction, one_hot, stage_groups, wide


class ManifoldMixup(Component):
    """A mixer. alpha: of the Beta law (>= 0; 0 mixes nothing). layers: where it may mix; 0 is the input, k the k-th of four stages.

    off_last: fraction of the steps, at the end, without mixing.
    """

    paper = "Verma et al., ICML 2019"
    version = 2
    color = "#999933"
    marker = "h"
    mixer = True
    mixes_inside = True
    neutral: ClassVar = {"alpha": 0.0}
    legacy: ClassVar = {"off_last": 0.0}

    def __init__(self, *, alpha: float = 2.0, layers: tuple[int, ...] = (0, 1, 2), off_last: float = 0.0) -> None:
        self.off_last = fraction(off_last)
        ensure(alpha >= 0, "alpha must be >= 0")
        ensure(bool(layers) and set(layers) <= set(range(5)), "layers must be a non-empty choice from 0 (the input) to 4 (the last stage)")
        self.alpha, self.layers = alpha, layers
        self._taps: tuple[str, ...] = ()

    def check(self, net: Net) -> None:
        stages = len(stage_groups(net))
        ensure(max(self.layers) <= stages, f"this backbone has {stages} stages, layers asks for stage {max(self.layers)}")

    def taps(self, net: Net) -> tuple[str, ...]:
        self._taps = tuple(group[-1] for group in stage_groups(net))
        return tuple(self._taps[layer - 1] for layer in self.layers if layer > 0)

    def mix(self, batch: Batch, num_classes: int, rng: np.random.Generator) -> Mixed:
        lam, perm = draw_lam(rng, self.alpha), draw_perm(rng, batch)
        layer = self.layers[rng.integers(len(self.layers))]
        mixed = Mixed(batch.x, one_hot(batch.y, num_classes), perm, lam)
        mixed = mixed._replace(target=mixed.blend(mixed.target))
        if layer == 0:
            return mixed._replace(x=mixed.blend(batch.x))
        # lam as a tensor: a compiled forward would specialise on a float and recompile at every step.
        weight = torch.full((), lam, dtype=batch.x.dtype, device=batch.x.device)

        def blend(t: Tensor) -> Tensor:
            full = wide(t)  # the label's lam is not rounded to half precision either
            return (weight * full + (1 - weight) * full[perm]).to(t.dtype)

        return mixed._replace(edit=Edit(self._taps[layer - 1], blend))
