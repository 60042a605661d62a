"""BSS: batch spectral shrinkage.

Chen, Wang, Fu, Long, Wang: Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for Safe Transfer
Learning. NeurIPS 2019.

    L = CE + eta sum_{i=1..k} sigma_{-i}^2

sigma_{-i}: the i-th smallest of the min(B, d) singular values of the batch's pooled features F [B, d]; k: how many, 1; eta: 1e-3. The
sum is not divided by the batch size. With a mixer, F holds the features of the mixed images.

Deviations from the authors' code: sigma^2 comes as eigenvalues of the smaller Gram matrix (F F^T or F^T F) in float64, which is the same
number without a singular value decomposition of F. On a GPU the smallest one comes by powers of the inverse, as an eigenvalue
routine would make the host wait.
"""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Component, Step
from methods.shared import ensure, wide

ROUNDS, POWER = 4, 64
"""Together the 2^24-th power. 64 times over, a matrix of trace 1 with up to 16,384 rows stays above the smallest float64."""
SHIFT = 1e-13


def smallest_squared_singular_values(features: Tensor, k: int) -> Tensor:
    """Sum of the ``k`` smallest squared singular values (all, when there are fewer) of features [B, d], a scalar."""
    features = wide(features)
    with torch.autocast(features.device.type, enabled=False):
        f = features.double()
        gram = f @ f.T if f.shape[0] <= f.shape[1] else f.T @ f
        found = smallest_eigenvalue(gram) if k == 1 and gram.is_cuda else torch.linalg.eigvalsh(gram)[:k].sum()
        return found.to(features.dtype)


def smallest_eigenvalue(gram: Tensor) -> Tensor:
    """Of a positive semi-definite float64 matrix [n, n], a scalar: by an inverse and its powers, so that a device's host waits for nothing.

    The 2^24-th power of (G / tr G + 1e-13)^-1, scaled to trace 1, is the projector onto the eigenvectors of the smallest eigenvalue. What
    lies within 6e-8 of it, relatively, or 1e-13 of the trace is not told apart from it and moves the value by less than that.
    """
    with torch.no_grad():
        p = gram / gram.trace().clamp_min(torch.finfo(gram.dtype).tiny)
        p.diagonal().add_(SHIFT)
        p = torch.linalg.inv_ex(p).inverse
        for _ in range(ROUNDS):
            p = torch.linalg.matrix_power(p / p.trace(), POWER)
        p = p / p.trace()
    return (gram * p).sum()


class BSS(Component):
    """The spectral penalty. eta: its weight (>= 0). k: how many singular values it shrinks (>= 1)."""

    paper = "Chen et al., NeurIPS 2019"
    color = "#882255"
    marker = "*"
    terms = ("bss",)
    neutral: ClassVar = {"eta": 0.0}

    def __init__(self, *, eta: float = 1e-3, k: int = 1) -> None:
        ensure(eta >= 0, "eta must be >= 0")
        ensure(k >= 1, "k must be >= 1")
        self.eta, self.k = eta, k

    def penalties(self, step: Step) -> dict[str, Tensor]:
        if self.eta == 0:
            return {}
        return {"bss": self.eta * smallest_squared_singular_values(step.out.features, self.k)}
