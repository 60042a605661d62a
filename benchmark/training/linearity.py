"""How linear a network is between samples, in feature and in label space: SMILE's central claim.

For pairs i != j of different images, f the pooled features, p the softmax output, x = lam * xi + (1 - lam) * xj and
bar(g) = lam * g(xi) + (1 - lam) * g(xj), means over the pairs:

* ``feature_gap`` = mean ||f(x) - bar(f)|| / mean (lam * ||f(xi)|| + (1 - lam) * ||f(xj)||)
* ``feature_gap_rel`` = the same numerator / mean ||f(xi) - f(xj)||
* ``label_l1`` = mean ||p(x) - bar(p)||_1
* ``label_kl`` = mean cross-entropy of p(x) against the mixed one-hot label, minus that label's entropy

Both feature gaps are ratios of means, so that one pair of nearly equal features cannot carry the number. At the ends, lam 0 and 1, x is one
of the two images: the first three vanish by construction, which is checked on one batch, and the last follows from that image's own logits.
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

MEASURES = ("feature_gap", "feature_gap_rel", "label_l1", "label_kl")
_TINY = 1e-12
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
    ends: list[Tensor] = []
    n = checked = 0
    for a, b in pairs:
        n += len(a.y)
        checked = checked or n
        fa, la = _forward(net, a.x, precision)
        fb, lb = _forward(net, b.x, precision)
        for lam in lambdas:
            at_end = lam in (0.0, 1.0)
            if at_end and ends:
                f, logits = (fa, la) if lam == 1.0 else (fb, lb)
            else:
                f, logits = _forward(net, lam * a.x + (1 - lam) * b.x, precision)
            values = [*feature_terms(f, fa, fb, lam), label_l1(logits, la, lb, lam), label_kl(logits, a.y, b.y, lam)]
            sums[lam] = sums[lam] + torch.stack([v.double().sum() for v in values])
        ends = ends or [sums[0.0], sums[1.0]]
    _check_ends(ends, checked)
    return [_row(lam, sums[lam].tolist(), n) for lam in lambdas]


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


def _forward(net: Net, x: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    with autocast(x.device, precision), in_place(net):
        out = net(x)
    return out.features.float(), out.logits.float()


def _check_ends(ends: list[Tensor], n: int) -> None:
    """``ends``: the sums of the first batch at lambda 0 and 1, from a forward of their own."""
    for lam, sums in zip((0, 1), ends, strict=True):
        row = _row(lam, sums.tolist(), n)
        for name in ("feature_gap", "feature_gap_rel", "label_l1"):
            if row[name] > _END_TOLERANCE:
                raise RuntimeError(
                    f"linearity: {name} is {row[name]:.2g} at lambda {lam}, where it must vanish: the forward is not repeatable"
                )
