"""Crops of random area and aspect ratio, resized to a square: torchvision's ``RandomResizedCrop(size, scale=(.2, 1))`` on decoded images.

The boxes follow the law of ``RandomResizedCrop.get_params``: up to ten attempts at an area uniform in ``SCALE`` times the image's and an
aspect ratio log-uniform in ``RATIO``, then a position uniform over all; where no attempt fits, the largest central box within ``RATIO``.
A batch equals torchvision's ``resized_crop`` of the decoded image (Pillow 13: bilinear, antialiased) byte for byte, cut on the host or on
a device. The host resizes with PIL, one direction after the other; a device does it in two batched products with PIL's weights, which are
whole numbers, split so that float32 (TF32 too) holds every sum exactly.

The usual pipeline crops the original file; ours crops its copy, resized to ``data.resize`` beforehand, so fine detail that a small box
would enlarge is gone. Measured on scikit-learn's two photos (640 x 427 pixels; resize 256 with the aspect ratio kept, crop 224; the same
boxes, their edges rounded to whole pixels of the file): the mean absolute difference is 3.4 levels of 255 over the boxes of this law, 4.3
for those of less than .35 of the image, 2.5 for those of more than .6 (two random boxes of one photo: 59).
"""

from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.arena import ArenaSplit

SCALE = (0.2, 1.0)
RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10
POINT = 22
"""Bits of PIL's fixed point."""

Sides = TypeVar("Sides", np.ndarray, Tensor)


class Boxes(NamedTuple):
    """Which box of each image a batch shows. top, left, height, width: int64 [B], pixels. flip: bool [B], mirrored left to right."""

    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray
    flip: np.ndarray


def random_boxes(heights: np.ndarray, widths: np.ndarray, flip: bool, rng: np.random.Generator) -> Boxes:
    """Boxes by the law above, flips with probability one half; neither ``flip`` nor the sizes change what is drawn."""
    n = len(heights)
    position, mirrored, shape = rng.random((2, n)), rng.random(n), rng.random((2, ATTEMPTS, n))
    area = (SCALE[0] + (SCALE[1] - SCALE[0]) * shape[0]) * (heights * widths.astype(np.float64))
    aspect = np.exp(np.log(RATIO[0]) + np.log(RATIO[1] / RATIO[0]) * shape[1])
    tried = np.rint(np.sqrt(np.stack([area / aspect, area * aspect]))).astype(np.int64)
    fits = ((tried > 0) & (tried <= np.stack([heights, widths])[:, None])).all(0)
    first = np.take_along_axis(tried, fits.argmax(0)[None, None], 1)[:, 0]
    size = np.where(fits.any(0), first, largest(heights, widths))
    free = np.stack([heights, widths]) - size
    top, left = np.where(fits.any(0), (position * (free + 1)).astype(np.int64), free // 2)
    return Boxes(top, left, size[0], size[1], (mirrored < 0.5) & flip)


def largest(heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Height and width, int64 [2, n], of the largest box whose aspect ratio lies in ``RATIO``."""
    height = np.minimum(heights, np.rint(widths / RATIO[0]))
    width = np.minimum(widths, np.rint(heights * RATIO[1]))
    return np.stack([height, width]).astype(np.int64)


def down_first(height: Sides, width: Sides, crop: int) -> Sides:
    """bool [B]: whether a box is resized down before across, where Pillow 13 finds that less work; earlier versions never do.

    The order decides the rounding in between, so it is ours whatever the version.
    """
    return (height > crop) & (2 * width < height + crop)


def cut_boxes(split: ArenaSplit, indices: np.ndarray, boxes: Boxes, out: np.ndarray) -> None:
    """Write the boxes of the images ``indices``, resized, to ``out``, uint8 [B, crop, crop, 3]: one image at a time."""
    crop = out.shape[1]
    downs = down_first(boxes.height, boxes.width, crop)
    for b, (i, down, top, left, height, width, flip) in enumerate(zip(indices, downs, *boxes, strict=True)):
        box = Image.fromarray(np.ascontiguousarray(split.image(i)[top : top + height, left : left + width]))
        between = (int(width), crop) if down else (crop, int(height))
        resized = np.asarray(box.resize(between, Image.Resampling.BILINEAR).resize((crop, crop), Image.Resampling.BILINEAR))
        out[b] = resized[:, ::-1] if flip else resized


def gather_boxes(pixels: Tensor, geometry: Tensor, longest: tuple[int, int], crop: int) -> Tensor:
    """The same without a loop: uint8 [B, crop, crop, 3] from the flat ``pixels``.

    geometry: int64 [5, B]: position of each box's first byte, pixels in a row of the image, box height, box width, flip (0 or 1).
    longest: see :func:`longest_sides`. Boxes that are resized down first are read as if transposed, and turned back at the end.
    """
    start, row, height, width, flip = geometry
    turned = down_first(height, width, crop)
    first, second = torch.where(turned, height, width), torch.where(turned, width, height)
    step_first, step_second = torch.where(turned, row, 1), torch.where(turned, 1, row)
    i, j = (torch.arange(side, device=pixels.device) for side in longest)
    along = torch.minimum(i, first[:, None] - 1) * step_first[:, None]
    other = torch.minimum(j, second[:, None] - 1) * step_second[:, None]
    corner = start[:, None, None] + 3 * (other[:, :, None] + along[:, None, :])
    box = pixels[corner[..., None] + torch.arange(3, device=pixels.device)]
    narrow = _product(weights(first, longest[0], crop), box.transpose(1, 2)).transpose(1, 2)
    small = _product(weights(second, longest[1], crop), narrow)
    small = torch.where(turned[:, None, None, None], small.transpose(1, 2), small)
    return torch.where(flip[:, None, None, None].bool(), small.flip(2), small)


def longest_sides(boxes: Boxes, crop: int) -> tuple[int, int]:
    """The longest side of the boxes in the direction that is resized first, and in the other."""
    turned = down_first(boxes.height, boxes.width, crop)
    first, second = np.where(turned, boxes.height, boxes.width), np.where(turned, boxes.width, boxes.height)
    return int(first.max()), int(second.max())


def weights(sides: Tensor, longest: int, crop: int) -> Tensor:
    """PIL's antialiased bilinear interpolation from ``sides`` [B] pixels to ``crop``, int32 [B, crop, longest].

    The weights of a pixel sum to ``2 ** POINT`` or nearly so. They are float64 until they are rounded, as in PIL.
    """
    scale = (sides.double() / crop)[:, None, None]
    centre = (torch.arange(crop, device=sides.device).double()[:, None] + 0.5) * scale
    at = torch.arange(longest, device=sides.device) + 0.5
    triangle = (1 - (at - centre).abs() / scale.clamp(min=1)).clamp_(min=0) * (at < sides[:, None, None])
    return (triangle / triangle.sum(2, keepdim=True) * 2.0**POINT + 0.5).int()


def _product(weight: Tensor, pixels: Tensor) -> Tensor:
    """PIL's weighted sums along a direction, rounded: uint8 [B, crop, n, 3] of int32 weights [B, crop, m] and uint8 pixels [B, m, n, 3].

    Each part of a weight has so few bits that the sum of its products stays below 2 ** 24, where float32 is exact in any order.
    """
    size, (batch, longest, other, _) = weight.shape[1], pixels.shape
    taps = min(2 * -(-longest // size) + 1, longest)
    bits = min(11, 24 - 8 - taps.bit_length())
    shifts = range(0, POINT, bits)
    parts = [(weight >> shift) & ((1 << bits) - 1) if shift + bits < POINT else weight >> shift for shift in shifts]
    sums = torch.bmm(torch.cat(parts, 1).float(), pixels.reshape(batch, longest, other * 3).float()).int()
    total = sum(part << shift for part, shift in zip(sums.split(size, 1), shifts, strict=True))
    return ((total + (1 << (POINT - 1))) >> POINT).clamp_(0, 255).to(torch.uint8).reshape(batch, size, other, 3)
