"""Labels that training corrects, and weights for its samples, as RegSL has them."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import Context, Step
from methods.shared import wide

T0, T_FLOOR, T_RATE = 2.0, 0.5, 0.1


def reweighted(losses: Tensor, temperature: float) -> Tensor:
    """sum_b softmax_b(-losses / T) losses, the weights without gradient."""
    return (losses * torch.softmax(-losses.detach() / temperature, dim=0)).sum()


class SelfLabels:
    """The labels of all training images, by index. reweight_from, relabel_from: epochs, from 1. threshold: above it a label changes."""

    def __init__(self, reweight_from: int, relabel_from: int, threshold: float) -> None:
        self._reweight_from, self._relabel_from, self._threshold = reweight_from, relabel_from, threshold
        self.labels = torch.empty(0, dtype=torch.int64)
        self._num_images = 0

    def remember(self, ctx: Context) -> None:
        """Take the labels as they are given."""
        pairs = [(batch.index, batch.y) for batch in ctx.train_pass(256)]
        index, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        self.labels = torch.zeros(int(index.max()) + 1, dtype=torch.int64, device=ctx.device)
        self.labels[index] = y
        self._num_images = len(y)

    def correction(self, step: Step) -> Tensor:
        """The loss with corrected labels and weights, minus the cross-entropy that the loop adds."""
        batch, logits = step.batch, wide(step.out.logits)
        epoch = 1 + step.i // (self._num_images // len(batch.y))  # a pass drops its last, incomplete batch
        labels = self.labels[batch.index]
        if epoch >= self._relabel_from:
            probability, predicted = logits.detach().softmax(1).max(1)
            labels = torch.where(probability > self._threshold, predicted, labels)
            self.labels[batch.index] = labels
        losses = F.cross_entropy(logits, labels, reduction="none")
        temperature = T0 * max(T_FLOOR, math.exp(-T_RATE * (epoch - self._reweight_from)))
        corrected = reweighted(losses, temperature) if epoch >= self._reweight_from else losses.mean()
        return corrected - F.cross_entropy(logits, batch.y)
