"""Clean evaluation: eval mode, inference mode, large fixed batches."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from datasets.stream import Sample
from methods.base import Net


@dataclass(frozen=True)
class Evaluation:
    """Predictions on a list of images, each array [n]. ``probability`` is that of the predicted class; ``loss`` the mean cross-entropy."""

    index: np.ndarray
    label: np.ndarray
    top1: np.ndarray
    probability: np.ndarray
    loss: float

    @property
    def accuracy(self) -> float:
        """Fraction of images predicted right."""
        return float(np.mean(self.top1 == self.label))

    @property
    def mean_class_accuracy(self) -> float:
        """Mean over the classes present of the per-class accuracy."""
        right = self.top1 == self.label
        return float(np.mean([right[self.label == c].mean() for c in np.unique(self.label)]))


@torch.inference_mode()
def evaluate(net: Net, batches: Iterable[Sample], precision: str) -> Evaluation:
    """Predict every image of ``batches``; the net is left in eval mode."""
    net.eval()
    parts: list[list[torch.Tensor]] = []
    for sample in batches:
        with autocast(sample.x.device, precision):
            logits = net(sample.x).logits
        log_p = torch.log_softmax(logits.float(), dim=1)
        best = log_p.max(dim=1)
        loss = -log_p.gather(1, sample.y[:, None])[:, 0]
        parts.append([sample.index, sample.y, best.indices, best.values.exp(), loss])
    index, label, top1, probability, loss = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return Evaluation(index, label, top1, probability, float(np.mean(loss, dtype=np.float64)))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bf16 autocast where the run's precision asks for it; weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
