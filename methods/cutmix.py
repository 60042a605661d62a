"""CutMix: paste a box of one image into another and mix their labels by area.

Yun, Han, Oh, Chun, Choe, Yoo: CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features. ICCV 2019.

    x~ = M x + (1 - M) x',   L = lam CE(f(x~), y) + (1 - lam) CE(f(x~), y'),   lam = mean(M)

(x', y'): the partner of (x, y) under a random permutation of the batch; M: 0 in a box, 1 elsewhere. The box has relative side
sqrt(1 - l) with l ~ Beta(alpha, alpha), a uniform centre, and is clipped at the border; lam is the area that is really left.
One box per batch, drawn with probability ``prob``; CE: mean over the batch.

Deviations from the authors' code: none in the box (odd sides lose a pixel there and here); prob .5 is their CIFAR setting (1 on
ImageNet). ``cutmix_smile`` has the SMILE repository's alpha .2, at which most boxes are nearly empty or nearly full.
"""

from typing import ClassVar

import numpy as np

from methods.base import Batch, Component, Mixed
from methods.shared import cutmix, ensure, fraction


class CutMix(Component):
    """A mixer. alpha: of the Beta law (>= 0; 0 pastes nothing). prob: share of the batches that are mixed, in [0, 1].

    off_last: fraction of the steps, at the end, without mixing.
    """

    paper = "Yun et al., ICCV 2019"
    color = "#cc79a7"
    marker = "X"
    variant_looks: ClassVar = {"cutmix_smile": ("#cc79a7", "p")}
    mixer = True
    neutral: ClassVar = {"prob": 0.0}
    legacy: ClassVar = {"off_last": 0.0}

    def __init__(self, *, alpha: float = 1.0, prob: float = 0.5, off_last: float = 0.0) -> None:
        self.off_last = fraction(off_last)
        ensure(alpha >= 0, "alpha must be >= 0")
        ensure(0 <= prob <= 1, "prob must lie in [0, 1]")
        self.alpha, self.prob = alpha, prob

    def mix(self, batch: Batch, num_classes: int, rng: np.random.Generator) -> Mixed:
        return cutmix(batch, num_classes, rng, self.alpha, self.prob)
