"""RegMixup: train on the clean and on the mixed images together.

Pinto, Yang, Lim, Torr, Dokania: RegMixup: Mixup as a Regularizer Can Surprisingly Improve Accuracy and Out Distribution Robustness.
NeurIPS 2022.

    L = 1/2 [CE(f(x), y) + lam CE(f(x~), y) + (1 - lam) CE(f(x~), y')],   x~ = lam x + (1 - lam) x',   lam ~ Beta(alpha, alpha)

(x', y'): the partner of (x, y) under a random permutation of the batch; lam: one per batch; alpha: 20, so that lam is near 1/2; CE: mean
over the batch. Both halves go through the network as one batch of 2 B rows, and so share BatchNorm's statistics. A step costs two of
fine-tuning's.

Deviations from the authors' code: none. The paper writes the sum of the two terms; the code, and this file, take their mean.
"""

from typing import ClassVar

import numpy as np
import torch

from methods.base import Batch, Component, Mixed
from methods.shared import ensure, fraction, mixup, one_hot


class RegMixup(Component):
    """A mixer with twice the rows. alpha: of the Beta law (>= 0).

    off_last: fraction of the steps, at the end, on the clean images alone.
    """

    paper = "Pinto et al., NeurIPS 2022"
    color = "#e69f00"
    marker = "s"
    mixer = True
    more_rows = True
    neutral: ClassVar = {"off_last": 1.0}
    forwards = 2
    backwards = 2

    def __init__(self, *, alpha: float = 20.0, off_last: float = 0.0) -> None:
        ensure(alpha >= 0, "alpha must be >= 0")
        self.alpha, self.off_last = alpha, fraction(off_last)

    def mix(self, batch: Batch, num_classes: int, rng: np.random.Generator) -> Mixed:
        mixed = mixup(batch, num_classes, rng, self.alpha)
        return Mixed(torch.cat([batch.x, mixed.x]), torch.cat([one_hot(batch.y, num_classes), mixed.target]), mixed.perm, mixed.lam)
