"""ResizeMix: paste the whole partner image, shrunk.

Qin, Fang, Zhang, Liu, Wang, Wang: ResizeMix: Mixing Data with Preserved Object Information and True Labels. arXiv 2012.11101.

    x~ = x, with R(x', t) pasted in,   L = lam CE(f(x~), y) + (1 - lam) CE(f(x~), y'),   lam = 1 - area of the pasted box

(x', y'): the partner of (x, y) under a random permutation of the batch; R(x', t): the whole partner, shrunk to t of its sides with the
nearest pixel; t ~ U(``scope``), U(.1, .8); the box has a uniform centre and is clipped at the border, and the partner is shrunk to what is
left of it. One box per batch, drawn with probability ``prob``; CE: mean over the batch.

Deviations from the authors' code (OpenMixup's): none known; as for CutMix a side of odd length loses a pixel, and lam is the share of the
pixels that are really left.
"""

from typing import ClassVar

import numpy as np

from methods.base import Batch, Component, Mixed
from methods.shared import ensure, fraction, one_hot, resizemix


class ResizeMix(Component):
    """A mixer. scope: the smallest and the largest t, in [0, 1]. prob: share of the batches that are mixed, in [0, 1].

    off_last: fraction of the steps, at the end, without mixing.
    """

    paper = "Qin et al., arXiv 2012.11101"
    color = "#cc79a7"
    marker = "s"
    mixer = True
    neutral: ClassVar = {"prob": 0.0}

    def __init__(self, *, scope: tuple[float, float] = (0.1, 0.8), prob: float = 1.0, off_last: float = 0.0) -> None:
        ensure(0 <= scope[0] <= scope[1] <= 1, "scope must be two numbers in [0, 1], the smaller first")
        ensure(0 <= prob <= 1, "prob must lie in [0, 1]")
        self.scope, self.prob, self.off_last = scope, prob, fraction(off_last)

    def mix(self, batch: Batch, num_classes: int, rng: np.random.Generator) -> Mixed:
        mixed = resizemix(batch, num_classes, rng, self.scope)
        return mixed if rng.random() < self.prob else Mixed(batch.x, one_hot(batch.y, num_classes))
