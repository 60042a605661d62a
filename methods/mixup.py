"""mixup: train on convex combinations of image pairs and of their labels.

Zhang, Cisse, Dauphin, Lopez-Paz: mixup: Beyond Empirical Risk Minimization. ICLR 2018.

    x~ = lam x + (1 - lam) x',   L = lam CE(f(x~), y) + (1 - lam) CE(f(x~), y'),   lam ~ Beta(alpha, alpha)

(x', y'): the partner of (x, y) under a random permutation of the batch; lam: one per batch; CE: mean over the batch. The two
cross-entropies are one against the mixed label lam y + (1 - lam) y'.

Deviations from the authors' code: our default for alpha is .2, the SMILE repository's value (the authors' code
has 1). ``fold`` replaces lam by
max(lam, 1 - lam), as the SMILE repository does: the law of the mixed batch is the same, only which image counts as the original changes.
"""

from typing import ClassVar

import numpy as np

from methods.base import Batch, Component, Mixed
from methods.shared import ensure, fraction, mixup


class Mixup(Component):
    """A mixer. alpha: of the Beta law (>= 0; 0 mixes nothing). fold: lam >= 1/2.

    off_last: fraction of the steps, at the end, without mixing.
    """

    paper = "Zhang et al., ICLR 2018"
    color = "#e69f00"
    marker = "P"
    mixer = True
    neutral: ClassVar = {"alpha": 0.0}
    legacy: ClassVar = {"off_last": 0.0}

    def __init__(self, *, alpha: float = 0.2, fold: bool = False, off_last: float = 0.0) -> None:
        self.off_last = fraction(off_last)
        ensure(alpha >= 0, "alpha must be >= 0")
        self.alpha, self.fold = alpha, fold

    def mix(self, batch: Batch, num_classes: int, rng: np.random.Generator) -> Mixed:
        return mixup(batch, num_classes, rng, self.alpha, self.fold)
