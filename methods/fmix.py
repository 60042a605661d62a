"""FMix: mix two images through a mask of arbitrary shape, made of low-pass noise.

Harris, Marcu, Painter, Niranjan, Pruegel-Bennett, Hare: FMix: Enhancing Mixed Sample Data Augmentation. arXiv 2002.12047.

    x~ = M x + (1 - M) x',   L = lam CE(f(x~), y) + (1 - lam) CE(f(x~), y'),   lam = mean(M)
    M = 0 on the largest share 1 - l of the pixels of  upsampled irfft2(z / max(|k|, 1/32)^delta),   l ~ Beta(alpha, alpha)

(x', y'): the partner of (x, y) under a random permutation of the batch; z: complex Gaussian spectrum of a 32 x 32 image; |k|: size of the
frequency; delta: ``decay``, 3; alpha: 1. One mask per batch, drawn with probability ``prob``; CE: mean over the batch.

Deviations from the authors' code: there the noise has the image's own side, and its number of pixels is rounded up or down at random;
here 32, and the nearest whole number. lam is the share of the pixels that are really left.
"""

from typing import ClassVar

import numpy as np

from methods.base import Batch, Component, Mixed
from methods.shared import ensure, fmix, fraction, one_hot


class FMix(Component):
    """A mixer. alpha: of the Beta law (>= 0; 0 shows nothing of the partner). decay: delta (>= 0). prob: share of mixed batches, in [0, 1].

    off_last: fraction of the steps, at the end, without mixing.
    """

    paper = "Harris et al., arXiv 2002.12047"
    color = "#cc79a7"
    marker = "^"
    mixer = True
    neutral: ClassVar = {"prob": 0.0}

    def __init__(self, *, alpha: float = 1.0, decay: float = 3.0, prob: float = 1.0, off_last: float = 0.0) -> None:
        ensure(min(alpha, decay) >= 0, "alpha and decay must be >= 0")
        ensure(0 <= prob <= 1, "prob must lie in [0, 1]")
        self.alpha, self.decay, self.prob, self.off_last = alpha, decay, prob, fraction(off_last)

    def mix(self, batch: Batch, num_classes: int, rng: np.random.Generator) -> Mixed:
        mixed = fmix(batch, num_classes, rng, self.alpha, self.decay)
        return mixed if rng.random() < self.prob else Mixed(batch.x, one_hot(batch.y, num_classes))
