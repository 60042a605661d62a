"""How linear a network is between samples, in feature and in label space: SMILE's central claim.

For pairs i != j of different images, f the pooled features, p the softmax output, x = lam * xi + (1 - lam) * xj and
bar(g) = lam * g(xi) + (1 - lam) * g(xj), means over the pairs:

* ``feature_gap`` = mean ||f(x) - bar(f)|| / mean (lam * ||f(xi)|| + (1 - lam) * ||f(xj)||)
* ``feature_gap_rel`` = the same numerator / mean ||f(xi) - f(xj)||
* ``label_l1`` = mean ||p(x) - bar(p)||_1
* ``label_kl`` = mean cross-entropy of p(x) against the mixed one-hot label, minus that label's entropy

Both feature gaps are ratios of means, so that one pair of nearly equal features cannot carry the number. At the ends, lam 0 and 1, x is one
of the two images: the first three vanish by construction, as is checked on a few pairs, and the last follows from that image's own logits.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.config.run_config import Linearity
from benchmark.training.cpu_forms import in_place
from benchmark.training.evaluate import autocast
from datasets.arena import ArenaSplit
from datasets.base import DataError
from datasets.stream import Sample, center_windows, cut
from methods.base import Net

_Out = tuple[Tensor, Tensor]
"""Features [B, F] and logits [B, C]."""
MEASURES = ("feature_gap", "feature_gap_rel", "label_l1", "label_kl")
_TINY = 1e-12
_CHECKED = 8
"""Pairs on which the ends are checked."""
_END_TOLERANCE = 1e-3


def draw_pairs(split: ArenaSplit, indices: np.ndarray, crop: int, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """``pairs`` pairs of images among ``indices`` whose central crops differ, as positions in the split: int64 [pairs, 2].

    A second image with the first one's pixels gives way to the next in order that has others. DataError where no image has.
    """
    n = len(indices)
    first = rng.integers(0, n, pairs)
    second = (first + rng.integers(1, n, pairs)) % n
    for row, (i, j) in enumerate(zip(first, second, strict=True)):
        shown = _shown(split, indices[i], crop)
        others = ((j + step) % n for step in range(n))
        found = next((k for k in others if k != i and not np.array_equal(shown, _shown(split, indices[k], crop))), None)
        if found is None:
            raise DataError(f"linearity: the {n} images of {split.name} to draw pairs from all show the same; set linearity.pairs to 0")
        second[row] = found
    return indices[np.stack([first, second], axis=1)]


def _shown(split: ArenaSplit, i: int, crop: int) -> np.ndarray:
    one = np.array([i])
    out = np.empty((1, crop, crop, 3), np.uint8)
    cut(split, one, center_windows(split.heights[one], split.widths[one], crop), out)
    return out


@torch.inference_mode()
def measure(net: Net, pairs: Iterable[tuple[Sample, Sample]], config: Linearity, precision: str) -> list[dict]:
    """Each measure over the pairs, one row per lambda (both ends included).

    pairs: batches of clean first images beside batches of as many second ones. The net is left in eval mode.
    """
    net.eval()
    lambdas = [float(lam) for lam in np.linspace(0, 1, config.lambdas)]
    sums: dict[float, Any] = dict.fromkeys(lambdas, 0.0)
    n = 0
    with in_place(net):
        for a, b in pairs:
            if n == 0:
                _check_ends(net, a, b, precision)
            n += len(a.y)
            ends = {1.0: _forward(net, a.x, precision), 0.0: _forward(net, b.x, precision)}
            for lam in lambdas:
                found = ends[lam] if lam in ends else _forward(net, lam * a.x + (1 - lam) * b.x, precision)
                sums[lam] = sums[lam] + _terms(found, ends[1.0], ends[0.0], (a.y, b.y), lam)
    return [_row(lam, sums[lam].tolist(), n) for lam in lambdas]


def _terms(found: _Out, of_a: _Out, of_b: _Out, labels: tuple[Tensor, Tensor], lam: float) -> Tensor:
    """Sums over the pairs of what the measures are made of, float64 [5]."""
    (f, logits), (fa, la), (fb, lb) = found, of_a, of_b
    values = [*feature_terms(f, fa, fb, lam), label_l1(logits, la, lb, lam), label_kl(logits, *labels, lam)]
    return torch.stack([v.double().sum() for v in values])


def _row(lam: float, sums: list[float], n: int) -> dict:
    gap, scale, distance, l1, kl = sums
    values = {"feature_gap": gap / max(scale, _TINY), "feature_gap_rel": gap / max(distance, _TINY), "label_l1": l1 / n, "label_kl": kl / n}
    return {"lam": lam, **values, "n_pairs": n}


def summary(rows: list[dict]) -> dict[str, float]:
    """Means over 0 < lambda < 1, under the names of the record."""
    inner = [row for row in rows if 0 < row["lam"] < 1]
    names = {"feature": "feature_gap", "feature_rel": "feature_gap_rel", "label_l1": "label_l1", "label_kl": "label_kl"}
    return {short: float(np.mean([row[name] for row in inner])) for short, name in names.items()}


def feature_terms(f: Tensor, fa: Tensor, fb: Tensor, lam: float) -> tuple[Tensor, Tensor, Tensor]:
    """Per pair, each [B], from features [B, F]: the gap's numerator, and the denominators of ``feature_gap`` and ``feature_gap_rel``."""
    gap = (f - (lam * fa + (1 - lam) * fb)).norm(dim=1)
    return gap, lam * fa.norm(dim=1) + (1 - lam) * fb.norm(dim=1), (fa - fb).norm(dim=1)


def label_l1(logits: Tensor, la: Tensor, lb: Tensor, lam: float) -> Tensor:
    """``label_l1`` per pair [B], from logits [B, C]."""
    return (logits.softmax(1) - (lam * la.softmax(1) + (1 - lam) * lb.softmax(1))).abs().sum(1)


def label_kl(logits: Tensor, ya: Tensor, yb: Tensor, lam: float) -> Tensor:
    """``label_kl`` per pair [B], in nats."""
    log_p = logits.log_softmax(1)
    cross = -(lam * log_p.gather(1, ya[:, None]) + (1 - lam) * log_p.gather(1, yb[:, None]))[:, 0]
    entropy = -sum(weight * math.log(weight) for weight in (lam, 1 - lam) if weight > 0)
    return cross - entropy * (ya != yb).to(cross.dtype)


def _forward(net: Net, x: Tensor, precision: str) -> _Out:
    with autocast(x.device, precision):
        out = net(x)
    return out.features.float(), out.logits.float()


def _check_ends(net: Net, a: Sample, b: Sample, precision: str) -> None:
    """RuntimeError where the first three measures do not vanish at lambda 0 and 1 of the first pairs, by two forwards of their own."""
    xa, xb, labels = a.x[:_CHECKED], b.x[:_CHECKED], (a.y[:_CHECKED], b.y[:_CHECKED])
    ends = (1.0, 0.0)
    of_a, of_b = _halves(_forward(net, torch.cat([xa, xb]), precision))
    mixed = _halves(_forward(net, torch.cat([lam * xa + (1 - lam) * xb for lam in ends]), precision))
    for lam, found in zip(ends, mixed, strict=True):
        row = _row(lam, _terms(found, of_a, of_b, labels, lam).tolist(), len(xa))
        for name in ("feature_gap", "feature_gap_rel", "label_l1"):
            if row[name] > _END_TOLERANCE:
                raise RuntimeError(
                    f"linearity: {name} is {row[name]:.2g} at lambda {lam:g}, where it must vanish: the forward is not repeatable"
                )


def _halves(out: _Out) -> tuple[_Out, _Out]:
    features, logits = (t.chunk(2) for t in out)
    return (features[0], logits[0]), (features[1], logits[1])
