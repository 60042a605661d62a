"""Batches from the arena: integer crops and flips of decoded images, normalised in one fused step.

Batch ``i`` depends on ``i`` and the random streams alone, so a resumed run needs no state from the past. On the CPU an image is one slice;
on a device the split lies there as ``uint8`` and a batch is one gather, or, where it does not fit, is cut on the host and copied.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from datasets.arena import ArenaSplit
from datasets.base import DataError
from datasets.resized import Boxes, cut_boxes, gather_boxes, longest_sides, random_boxes

Made = TypeVar("Made")


class Sample(NamedTuple):
    """A batch on the device.

    x: float32 [B, 3, crop, crop], normalised, channels_last. y: int64 [B]. index: int64 [B], position in the split. extra_views: like x.
    """

    x: Tensor
    y: Tensor
    index: Tensor  # type: ignore[assignment]  # a field, where tuples have a method
    extra_views: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Preprocess:
    """What becomes of an image before the network. crop: pixels, of a square. mean, std: per channel, of values in [0, 1]."""

    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device


class Streams(Protocol):
    """Named random streams of one run."""

    def numpy(self, stream: str, step: int | None = None) -> np.random.Generator: ...


class Windows(NamedTuple):
    """Which square of each image a batch shows. top, left: int64 [B], pixels. flip: bool [B], mirrored left to right."""

    top: np.ndarray
    left: np.ndarray
    flip: np.ndarray


def random_windows(heights: np.ndarray, widths: np.ndarray, crop: int, flip: bool, rng: np.random.Generator) -> Windows:
    """Crops uniform over all positions, flips with probability one half. ``crop``, ``flip`` and the sizes do not change what is drawn."""
    u = rng.random((3, len(heights)))
    top, left = (u[:2] * (np.stack([heights, widths]) - crop + 1)).astype(np.int64)
    return Windows(top, left, (u[2] < 0.5) & flip)


def center_windows(heights: np.ndarray, widths: np.ndarray, crop: int) -> Windows:
    """torchvision's ``CenterCrop``, which rounds halves to even."""
    top, left = np.round((np.stack([heights, widths]) - crop) / 2.0).astype(np.int64)
    return Windows(top, left, np.zeros(len(heights), bool))


def cut(split: ArenaSplit, indices: np.ndarray, windows: Windows, out: np.ndarray) -> None:
    """Write the windows of the images ``indices`` to ``out``, uint8 [B, crop, crop, 3]: one slice per image."""
    crop = out.shape[1]
    for b, (i, top, left, flip) in enumerate(zip(indices, *windows, strict=True)):
        window = split.image(i)[top : top + crop, left : left + crop]
        out[b] = window[:, ::-1] if flip else window


def gather(pixels: Tensor, start: Tensor, width: Tensor, flip: Tensor, crop: int) -> Tensor:
    """The same by index arithmetic, without a loop: uint8 [B, crop, crop, 3] from the flat ``pixels``.

    start: int64 [B], position of each window's first byte. width: int64 [B], pixels in a row of the image. flip: int64 [B], 0 or 1.
    """
    steps = torch.arange(crop, device=pixels.device)
    columns = torch.where(flip[:, None].bool(), crop - 1 - steps, steps)
    corner = start[:, None, None] + 3 * (steps[:, None] * width[:, None, None] + columns[:, None, :])
    return pixels[corner[..., None] + torch.arange(3, device=pixels.device)]


def gather_normalised(pixels: Tensor, geometry: Tensor, crop: int, scale: Tensor, shift: Tensor) -> Tensor:
    """:func:`gather` and :class:`Normalise` in one function, which the compiler makes one kernel of.

    geometry: int64 [3, B]: start, width and flip. scale, shift: as :class:`Normalise` holds them.
    """
    start, width, flip = geometry
    return _normalised(gather(pixels, start, width, flip, crop), scale, shift)


def _normalised(raw: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    flat = raw.reshape(-1, len(scale)).to(torch.float32)
    return torch.addcmul(shift, flat, scale).view(raw.shape).permute(0, 3, 1, 2)


class Normalise:
    """uint8 [B, h, w, 3] to float32 [B, 3, h, w] in channels_last: ``(x / 255 - mean) / std`` as one multiply-add.

    The factors are laid out for a whole row of pixels, so that the inner loop runs over ``3 * w`` neighbouring values instead of 3.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], width: int, device: torch.device) -> None:
        scale = 1.0 / (255.0 * np.array(std, np.float64))
        shift = -np.array(mean, np.float64) / np.array(std, np.float64)
        self.scale, self.shift = (torch.from_numpy(np.tile(v, width).astype(np.float32)).to(device) for v in (scale, shift))

    def __call__(self, raw: Tensor) -> Tensor:
        return _normalised(raw, self.scale, self.shift)


class Cutter:
    """Cuts windows of one split and delivers them on a device: from ``pixels`` there, or else from the host.

    The host's copies go through pinned memory and are not waited for, so that it cuts the next batch while the device computes.
    """

    def __init__(self, split: ArenaSplit, crop: int, device: torch.device, pixels: Tensor | None) -> None:
        self.split, self.crop, self.device, self.pixels = split, crop, device, pixels

    def __call__(self, indices: np.ndarray, windows: Windows | Boxes) -> Tensor:
        """uint8 [B, crop, crop, 3] on the device."""
        if self.pixels is None:
            return self.host(indices, windows).to(self.device, non_blocking=True)
        if isinstance(windows, Boxes):
            return gather_boxes(self.pixels, self.geometry(indices, windows), longest_sides(windows, self.crop), self.crop)
        start, width, flip = self.geometry(indices, windows)
        return gather(self.pixels, start, width, flip, self.crop)

    def host(self, indices: np.ndarray, windows: Windows | Boxes) -> Tensor:
        """The same on the host, pinned where it is to be copied."""
        out = torch.empty((len(indices), self.crop, self.crop, 3), dtype=torch.uint8, pin_memory=self.device.type != "cpu")
        if isinstance(windows, Boxes):
            cut_boxes(self.split, indices, windows, out.numpy())
        else:
            cut(self.split, indices, windows, out.numpy())
        return out

    def geometry(self, indices: np.ndarray, windows: Windows | Boxes) -> Tensor:
        """int64 [rows, B] on the device: first byte and row length, the size where it varies, flip (0 or 1)."""
        width = self.split.widths[indices].astype(np.int64)
        start = self.split.offsets[indices] + 3 * (windows.top * width + windows.left)
        size = [windows.height, windows.width] if isinstance(windows, Boxes) else []
        return to_device(np.stack([start, width, *size, windows.flip.astype(np.int64)]), self.device)


class Ahead(Generic[Made]):
    """``make(i)`` in order of i, the next one made by a thread while this one is used. What it raises is raised where it is asked for."""

    def __init__(self, make: Callable[[int], Made]) -> None:
        self._make, self._pool = make, ThreadPoolExecutor(1, "cut-ahead")
        self._next: tuple[int, Future[Made]] | None = None

    def __call__(self, i: int) -> Made:
        number, waiting = self._next or (None, None)
        made = waiting if number == i and waiting is not None else self._pool.submit(self._make, i)
        self._next = i + 1, self._pool.submit(self._make, i + 1)
        return made.result()


class TrainStream:
    """An endless stream of augmented batches over ``indices``, in a fresh order each epoch; an epoch's last, incomplete batch is dropped.

    flip: mirror with probability one half. resized: crops of random area and aspect ratio (:mod:`datasets.resized`) instead of
    squares. rng: stream ``order`` at the epoch's number gives the order, stream ``augment`` at ``i`` the crops and flips, view after
    view. With fewer images than ``batch_size`` a batch is all of them; a single image is refused. pixels: the split's, on the device, where
    they lie there. compile: square crops are then cut, flipped and normalised by one compiled kernel. ahead: cut the next batch in a thread
    while this one is used; None: where the host cuts for a device (on the CPU a run has no core to spare).
    """

    def __init__(
        self,
        split: ArenaSplit,
        indices: np.ndarray,
        preprocess: Preprocess,
        *,
        batch_size: int,
        flip: bool,
        rng: Streams,
        views: int = 1,
        resized: bool = False,
        compile: bool = False,
        pixels: Tensor | None = None,
        ahead: bool | None = None,
    ) -> None:
        if len(indices) < 2:
            raise DataError(f"{len(indices)} training images are too few: at least 2 are needed; choose a larger fraction")
        crop, self.device = preprocess.crop, preprocess.device
        check_size(split, indices, crop)
        self.split, self.indices, self.crop, self.flip, self.rng, self.views = split, indices, crop, flip, rng, views
        self.pixels = pixels
        self.batch_size = min(batch_size, len(indices))
        self.steps_per_epoch = len(indices) // self.batch_size
        self.resized = resized
        self._cut = Cutter(split, crop, self.device, pixels)
        self._normalise = Normalise(preprocess.mean, preprocess.std, crop, self.device)
        fuses = compile and self._cut.pixels is not None and not resized
        self._fused = torch.compile(gather_normalised, dynamic=False) if fuses else None
        self._labels = torch.from_numpy(split.labels).to(self.device)
        self._order: tuple[int, np.ndarray] = (-1, indices)
        on_host = self._cut.pixels is None
        self._host = Ahead(self._cut_on_host) if on_host and (self.device.type != "cpu" if ahead is None else ahead) else None

    def batch(self, i: int) -> Sample:
        """Training batch ``i`` >= 0."""
        if self._host is not None:
            chosen, raw = self._host(i)
            x, *extra = (self._normalise(view.to(self.device, non_blocking=True)) for view in raw)
        else:
            chosen = self._chosen(i)
            x, *extra = (self._view(chosen, windows) for windows in self._windows(i, chosen))
        (index,) = to_device(chosen[None], self.device)
        return Sample(x, self._labels[index], index, tuple(extra))

    def _cut_on_host(self, i: int) -> tuple[np.ndarray, list[Tensor]]:
        chosen = self._chosen(i)
        return chosen, [self._cut.host(chosen, windows) for windows in self._windows(i, chosen)]

    def _view(self, chosen: np.ndarray, windows: Windows | Boxes) -> Tensor:
        if self._fused is None or self._cut.pixels is None:
            return self._normalise(self._cut(chosen, windows))
        geometry = self._cut.geometry(chosen, windows)
        return self._fused(self._cut.pixels, geometry, self.crop, self._normalise.scale, self._normalise.shift)

    def raw(self, i: int) -> Tensor:
        """The first view of batch ``i`` before normalisation: uint8 [B, 3, crop, crop]."""
        chosen = self._chosen(i)
        return self._cut(chosen, next(self._windows(i, chosen))).permute(0, 3, 1, 2)

    def _chosen(self, i: int) -> np.ndarray:
        epoch, position = divmod(i, self.steps_per_epoch)
        order = self._order  # read once: the thread that cuts ahead may be in the next epoch
        if order[0] != epoch:
            self._order = order = (epoch, self.rng.numpy("order", epoch).permutation(self.indices))
        return order[1][position * self.batch_size : (position + 1) * self.batch_size]

    def _windows(self, i: int, chosen: np.ndarray) -> Iterator[Windows | Boxes]:
        rng = self.rng.numpy("augment", i)
        heights, widths = self.split.heights[chosen], self.split.widths[chosen]
        return (augment(heights, widths, self.crop, self.flip, self.resized, rng) for _ in range(self.views))


def augment(heights: np.ndarray, widths: np.ndarray, crop: int, flip: bool, resized: bool, rng: np.random.Generator) -> Windows | Boxes:
    """The windows of one training batch."""
    return random_boxes(heights, widths, flip, rng) if resized else random_windows(heights, widths, crop, flip, rng)


def eval_batches(
    split: ArenaSplit, indices: np.ndarray, preprocess: Preprocess, batch_size: int, pixels: Tensor | None = None
) -> Iterator[Sample]:
    """The images ``indices`` in the order given, centre-cropped; the last batch may be smaller. pixels: as in :class:`TrainStream`."""
    return _pass(split, indices, preprocess, batch_size, center_windows, pixels)


def train_batches(
    split: ArenaSplit,
    indices: np.ndarray,
    preprocess: Preprocess,
    *,
    batch_size: int,
    flip: bool,
    rng: np.random.Generator,
    batches: int | None = None,
    resized: bool = False,
    pixels: Tensor | None = None,
) -> Iterator[Sample]:
    """One shuffled pass with random crops and flips: every image once (the last batch may be smaller), or the first ``batches`` batches."""
    order = rng.permutation(indices)[: None if batches is None else batches * batch_size]
    return _pass(split, order, preprocess, batch_size, lambda h, w, size: augment(h, w, size, flip, resized, rng), pixels)


def _pass(
    split: ArenaSplit,
    indices: np.ndarray,
    preprocess: Preprocess,
    batch_size: int,
    windows: Callable[[np.ndarray, np.ndarray, int], Windows | Boxes],
    pixels: Tensor | None,
) -> Iterator[Sample]:
    crop, device = preprocess.crop, preprocess.device
    check_size(split, indices, crop)
    cutter, normalise = Cutter(split, crop, device, pixels), Normalise(preprocess.mean, preprocess.std, crop, device)
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        x = normalise(cutter(chosen, windows(split.heights[chosen], split.widths[chosen], crop)))
        index, y = to_device(np.stack([chosen, split.labels[chosen]]), device)
        yield Sample(x, y, index)


def check_size(split: ArenaSplit, indices: np.ndarray, crop: int) -> None:
    """DataError when one of the images is smaller than the crop; names it."""
    sides = np.minimum(split.heights[indices], split.widths[indices])
    if len(sides) and sides.min() < crop:
        i = indices[sides.argmin()]
        raise DataError(
            f"{split.name}/{split.keys[i]} is {split.widths[i]}x{split.heights[i]} pixels after resizing, smaller than the crop of {crop}: "
            f"raise data.resize to at least {crop} or lower training.image_size"
        )


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """An int64 array on ``device``, in one copy that the host does not wait for."""
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.int64))
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
