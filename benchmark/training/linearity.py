"""How linear a network is between samples, in feature and in label space: SMILE's central claim.

For pairs i != j, f the pooled features, p the softmax output, x = lam * xi + (1 - lam) * xj and bar(g) = lam * g(xi) + (1 - lam) * g(xj):

* ``feature_gap`` = ||f(x) - bar(f)|| / max(lam * ||f(xi)|| + (1 - lam) * ||f(xj)||, 1e-12)
* ``feature_gap_rel`` = the same numerator / max(||f(xi) - f(xj)||, 1e-12)
* ``label_l1`` = ||p(x) - bar(p)||_1
* ``label_kl`` = cross-entropy of p(x) against the mixed one-hot label, minus that label's entropy
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmark.config.run_config import Linearity
from benchmark.training.evaluate import autocast
from datasets.stream import Sample
from methods.base import Net

MEASURES = ("feature_gap", "feature_gap_rel", "label_l1", "label_kl")
_TINY = 1e-12
_END_TOLERANCE = 1e-3


def draw_pairs(n: int, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """``pairs`` pairs of different positions below n, int64 [pairs, 2]."""
    first = rng.integers(0, n, pairs)
    second = (first + rng.integers(1, n, pairs)) % n
    return np.stack([first, second], axis=1)


@torch.inference_mode()
def measure(
    net: Net, batches: Callable[[np.ndarray], Iterator[Sample]], pairs: np.ndarray, config: Linearity, precision: str
) -> list[dict]:
    """Mean of each measure over the pairs, one row per lambda (both ends included).

    ``batches(indices)`` streams clean images in the order given. The net is left in eval mode.
    """
    net.eval()
    lambdas = [float(lam) for lam in np.linspace(0, 1, config.lambdas)]
    sums: dict[float, Tensor | float] = dict.fromkeys(lambdas, 0.0)
    for a, b in zip(batches(pairs[:, 0]), batches(pairs[:, 1]), strict=True):
        fa, la = _forward(net, a.x, precision)
        fb, lb = _forward(net, b.x, precision)
        for lam in lambdas:
            f, logits = _forward(net, lam * a.x + (1 - lam) * b.x, precision)
            values = [*feature_gaps(f, fa, fb, lam), label_l1(logits, la, lb, lam), label_kl(logits, a.y, b.y, lam)]
            sums[lam] = sums[lam] + torch.stack([v.double().sum() for v in values])
    rows = [{"lam": lam, **dict(zip(MEASURES, (sums[lam] / len(pairs)).tolist(), strict=True)), "n_pairs": len(pairs)} for lam in lambdas]
    _check_ends(rows)
    return rows


def summary(rows: list[dict]) -> dict[str, float]:
    """Means over 0 < lambda < 1, under the names of the record."""
    inner = [row for row in rows if 0 < row["lam"] < 1]
    names = {"feature": "feature_gap", "feature_rel": "feature_gap_rel", "label_l1": "label_l1", "label_kl": "label_kl"}
    return {short: float(np.mean([row[name] for row in inner])) for short, name in names.items()}


def feature_gaps(f: Tensor, fa: Tensor, fb: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    """``feature_gap`` and ``feature_gap_rel`` per pair, each [B], from features [B, F]."""
    gap = (f - (lam * fa + (1 - lam) * fb)).norm(dim=1)
    scale = lam * fa.norm(dim=1) + (1 - lam) * fb.norm(dim=1)
    return gap / scale.clamp_min(_TINY), gap / (fa - fb).norm(dim=1).clamp_min(_TINY)


def label_l1(logits: Tensor, la: Tensor, lb: Tensor, lam: float) -> Tensor:
    """``label_l1`` per pair [B], from logits [B, C]."""
    return (logits.softmax(1) - (lam * la.softmax(1) + (1 - lam) * lb.softmax(1))).abs().sum(1)


def label_kl(logits: Tensor, ya: Tensor, yb: Tensor, lam: float) -> Tensor:
    """``label_kl`` per pair [B], in nats."""
    log_p = logits.log_softmax(1)
    cross = -(lam * log_p.gather(1, ya[:, None]) + (1 - lam) * log_p.gather(1, yb[:, None]))[:, 0]
    weights = torch.tensor([lam, 1 - lam], dtype=log_p.dtype, device=log_p.device)
    entropy = torch.special.entr(weights).sum()
    return cross - torch.where(ya == yb, torch.zeros_like(entropy), entropy)


def _forward(net: Net, x: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    with autocast(x.device, precision):
        out = net(x)
    return out.features.float(), out.logits.float()


def _check_ends(rows: list[dict]) -> None:
    for row in (rows[0], rows[-1]):
        for name in ("feature_gap", "feature_gap_rel", "label_l1"):
            if row[name] > _END_TOLERANCE:
                raise RuntimeError(
                    f"linearity: {name} is {row[name]:.2g} at lambda {row['lam']:g}, where it must vanish: the forward is not repeatable"
                )
