"""Clean evaluation: eval mode, inference mode, large fixed batches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmark.training.cpu_forms import in_place
from benchmark.training.session import Interrupted, Session
from datasets.stream import Sample
from methods.base import Net

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Predictions:
    """Predictions on a list of images, each array [n].

    probability, true_probability: those of the predicted and of the true class. loss: the mean cross-entropy, in nats.
    """

    index: np.ndarray
    label: np.ndarray
    top1: np.ndarray
    probability: np.ndarray
    true_probability: np.ndarray
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

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: the mean over images of |accuracy - mean probability| in the image's bin.

        The bins are of equal width, (k/15, (k+1)/15], over the probability of the predicted class (Guo et al., ICML 2017).
        """
        bins = np.clip(np.ceil(self.probability.astype(np.float64) * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
        gaps = np.bincount(bins, (self.top1 == self.label) - self.probability.astype(np.float64), CALIBRATION_BINS)
        return float(np.abs(gaps).sum() / len(bins))


@torch.inference_mode()
def evaluate(net: Net, batches: Iterable[Sample], precision: str) -> Predictions:
    """Predict every image of ``batches``; the net is left in eval mode."""
    net.eval()
    parts: list[list[torch.Tensor]] = []
    with in_place(net):
        for sample in batches:
            with autocast(sample.x.device, precision):
                logits = net(sample.x).logits
            log_p = torch.log_softmax(logits.float(), dim=1)
            best = log_p.max(dim=1)
            true = log_p.gather(1, sample.y[:, None])[:, 0]
            parts.append([sample.index, sample.y, best.indices, best.values.exp(), true.exp(), true])
    index, label, top1, probability, true_probability, log_true = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return Predictions(index, label, top1, probability, true_probability, float(np.mean(-log_true, dtype=np.float64)))


def followed(batches: Iterable[Sample], session: Session, step: int, phase: str, total: int) -> Iterator[Sample]:
    """``batches``, with word to ``session`` of how many of ``total`` images are done.

    ``Interrupted`` before the next batch when asked to stop: the run's checkpoint of its last step ``step`` is written by then.
    """
    done = 0
    session.progress(step, step, phase, 0.0)
    for sample in batches:
        if session.stop_requested():
            raise Interrupted(f"stopped in '{phase}', after {done} of {total} images")
        yield sample
        done += len(sample.y)
        session.progress(step, step, f"{phase} {done}/{total}", 0.0)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bf16 autocast where the run's precision asks for it; weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
