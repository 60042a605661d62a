"""The first training batch of a run as its network sees it: the draws that step 0 takes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.config.method_options import method_info
from benchmark.config.run_config import RunConfig
from benchmark.report.figures.batch import ImageRow
from benchmark.training.loop import Fit, shown
from benchmark.training.preflight import preflight
from benchmark.training.run import assemble
from datasets.stream import Preprocess
from methods.base import Batch, Mixed


@dataclass(frozen=True)
class FirstBatch:
    """B images, S pixels a side, and the M rows that a network with C classes sees of them.

    images: uint8 [B, S, S, 3], the crops; views: further ones of the same images. rows: uint8 [M, S, S, 3]; M is a multiple of B. own:
    float [M, S, S], each pixel's share that is the image's own; None where it cannot be told. label, index: int64 [B], the class, and the
    place in the training split; keys: name of each image. target: float [M, C]. partner: int64 [B], row of the image that each is mixed
    with; None where nothing is mixed. lam: weight of the image itself. inside: module after which maps are mixed, '' for none.
    """

    config: RunConfig
    classes: tuple[str, ...]
    images: np.ndarray
    views: tuple[np.ndarray, ...]
    rows: np.ndarray
    own: np.ndarray | None
    label: np.ndarray
    index: np.ndarray
    keys: tuple[str, ...]
    target: np.ndarray
    partner: np.ndarray | None
    lam: float
    inside: str

    @property
    def blocks(self) -> int:
        """How many rows there are of each image."""
        return len(self.rows) // len(self.images)

    def title(self) -> str:
        """Which batch this is."""
        config = self.config
        where = f"{config.dataset} at {100 * config.fraction:g} % of the labels, seed {config.seed}"
        return f"{config.method}: the first batch on {where}"

    def words(self) -> str:
        """What is done to the images, in a sentence."""
        count, side = self.images.shape[:2]
        crops = f"{count} crops of {side} x {side} pixels"
        if self.partner is None:
            mixes = any(method_info(component.use).declarations["mixer"] for component in self.config.components)
            why = " (the method mixes a share of the batches; another seed may show one)" if mixes else ""
            return f"{crops}, nothing is mixed at this step{why}: the network sees the crops."
        lam = f"weight of an image's own part {self.lam:.3f}"
        if self.inside:
            return f"{crops}, {lam}: the network sees the crops, and their features are mixed at the output of {self.inside}."
        more = f", {self.blocks} rows of each image" if self.blocks > 1 else ""
        return f"{crops}, {lam}{more}: the network sees each image mixed with its partner."

    def own_weight(self, row: int) -> float:
        """What a row has of its own image: the mean over its pixels; ``lam`` where it is mixed inside the network or pixels do not tell."""
        return self.lam if self.inside or self.own is None else float(self.own[row].mean())

    def label_words(self, row: int) -> str:
        """The classes of a row's target with their weights, the heaviest first."""
        weights = self.target[row]
        order = [c for c in np.argsort(-weights, kind="stable") if weights[c] > 0]
        return " + ".join(f"{weights[c]:.2f} {self.classes[c]}" for c in order) or "no class"

    def strips(self, count: int) -> list[ImageRow]:
        """The first ``count`` images as a figure shows them, row by row."""
        n = min(count, len(self.images))
        names = tuple(self.classes[label] for label in self.label[:n])
        found = [ImageRow("image", self.images[:n], names)]
        found += [ImageRow(f"view {number}", view[:n], ()) for number, view in enumerate(self.views, start=2)]
        if self.partner is None:
            return found
        others = self.partner[:n]
        found.append(ImageRow("partner", self.images[others], tuple(self.classes[self.label[p]] for p in others)))
        for block in range(self.blocks):
            at = slice(block * len(self.images), block * len(self.images) + n)
            name = "seen" if self.blocks == 1 else f"seen, row {block + 1}"
            found.append(ImageRow(name, self.rows[at], tuple(self.label_words(row) for row in range(at.start, at.stop))))
            if self.own is not None and np.ptp(self.own[at], axis=(1, 2)).any():
                found.append(ImageRow("own part", self.own[at], ()))
        return found


def first_batch(config: RunConfig) -> FirstBatch:
    """The batch of step 0 of the run ``config``, put together on the CPU as the run would be, set-up passes included.

    What a run cannot do is refused in words, as before a sweep.
    """
    runtime = config.runtime.model_copy(update={"device": "cpu"})
    on_cpu = config.model_copy(update={"runtime": runtime, "precision": "fp32", "compile": "off"})
    preflight([on_cpu])
    fit, images, _ = assemble(on_cpu)
    batch, mixed = shown(fit, 0)
    return FirstBatch(
        config=config,
        classes=images.arena.classes,
        images=_pixels(batch.x, fit.preprocess),
        views=tuple(_pixels(view, fit.preprocess) for view in batch.extra_views),
        rows=_pixels(mixed.x, fit.preprocess),
        own=_own_part(fit, batch, mixed),
        label=batch.y.numpy(),
        index=batch.index.numpy(),
        keys=tuple(images.train.keys[i] for i in batch.index.tolist()),
        target=mixed.target.numpy(),
        partner=None if mixed.perm is None else mixed.perm.numpy(),
        lam=mixed.lam,
        inside=mixed.edit.tap if mixed.edit is not None else "",
    )


def _pixels(x: Tensor, preprocess: Preprocess) -> np.ndarray:
    """Normalised images as uint8 [n, S, S, 3]."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    return ((x * std + mean) * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _own_part(fit: Fit, batch: Batch, mixed: Mixed) -> np.ndarray | None:
    """Mixing the same draws over images of one value each tells every pixel's weights: what is left of the value is the own part.

    None where the rows are no images one by one, or where a mixer looks at the pixels before it mixes.
    """
    count = len(batch.y)
    if mixed.perm is None or len(mixed.x) % count:
        return None
    values = torch.arange(count, dtype=torch.float32)
    flat = values[:, None, None, None].expand_as(batch.x).contiguous()
    again = fit.pipeline.mix(batch._replace(x=flat), fit.ctx.num_classes, fit.ctx, 0)
    if again.perm is None or again.x.shape != mixed.x.shape or not again.perm.equal(mixed.perm):
        return None
    blocks = len(mixed.x) // count
    own, partner = (v.repeat(blocks)[:, None, None] for v in (values, values[mixed.perm]))
    alone = own == partner  # an image whose partner is itself
    share = torch.where(alone, 1.0, (again.x[:, 0] - partner) / torch.where(alone, 1.0, own - partner)).clamp(0, 1)
    kept = ((share == 1) & ~alone)[:, None].expand_as(mixed.x)
    return share.numpy() if mixed.x[kept].equal(batch.x.repeat(blocks, 1, 1, 1)[kept]) else None
