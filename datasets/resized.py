"""Crops of random area and aspect ratio, resized to a square: torchvision's ``RandomResizedCrop(size, scale=(.2, 1))`` on decoded images.

The boxes follow the law of ``RandomResizedCrop.get_params``: up to ten attempts at an area uniform in ``SCALE`` times the image's and an
aspect ratio log-uniform in ``RATIO``, then a position uniform over all; where no attempt fits, the largest central box within ``RATIO``.
On the host a batch equals torchvision's ``resized_crop`` of the decoded image (PIL, bilinear, antialiased) byte for byte. On a device it
is two batched products with PIL's weights, across before down: the same bytes, but up to one level of 255 away in boxes higher than the
crop, some of which Pillow resizes down before across since version 13.

The usual pipeline crops the original file; ours crops its copy, resized to ``data.resize`` beforehand, so fine detail that a small box
would enlarge is gone. Measured on scikit-learn's two photos (640 x 427 pixels; resize 256 with the aspect ratio kept, crop 224; the same
boxes, their edges rounded to whole pixels of the file): the mean absolute difference is 3.4 levels of 255 over the boxes of this law, 4.3
for those of less than .35 of the image, 2.5 for those of more than .6 (two random boxes of one photo: 59).
"""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.arena import ArenaSplit

SCALE = (0.2, 1.0)
RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10
ONE = 2.0**22
"""PIL's fixed point."""


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
    return Boxes(top, left, *size, (mirrored < 0.5) & flip)


def largest(heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Height and width, int64 [2, n], of the largest box whose aspect ratio lies in ``RATIO``."""
    height = np.minimum(heights, np.rint(widths / RATIO[0]))
    width = np.minimum(widths, np.rint(heights * RATIO[1]))
    return np.stack([height, width]).astype(np.int64)


def cut_boxes(split: ArenaSplit, indices: np.ndarray, boxes: Boxes, out: np.ndarray) -> None:
    """Write the boxes of the images ``indices``, resized, to ``out``, uint8 [B, crop, crop, 3]: one image at a time."""
    size = out.shape[2], out.shape[1]
    for b, (i, top, left, height, width, flip) in enumerate(zip(indices, *boxes, strict=True)):
        box = np.ascontiguousarray(split.image(i)[top : top + height, left : left + width])
        resized = np.asarray(Image.fromarray(box).resize(size, Image.Resampling.BILINEAR))
        out[b] = resized[:, ::-1] if flip else resized


def gather_boxes(pixels: Tensor, geometry: Tensor, largest_box: tuple[int, int], crop: int) -> Tensor:
    """The same without a loop: uint8 [B, crop, crop, 3] from the flat ``pixels``.

    geometry: int64 [5, B]: position of each box's first byte, pixels in a row of the image, box height, box width, flip (0 or 1).
    largest_box: no box is higher or wider.
    """
    start, row, height, width, flip = geometry
    y, x = (torch.arange(side, device=pixels.device) for side in largest_box)
    inside = torch.minimum(y, height[:, None] - 1), torch.minimum(x, width[:, None] - 1)
    corner = start[:, None, None] + 3 * (inside[0][:, :, None] * row[:, None, None] + inside[1][:, None, :])
    box = pixels[corner[..., None] + torch.arange(3, device=pixels.device)].double()
    across = weights(width, largest_box[1], crop)
    across = torch.where(flip[:, None, None].bool(), across.flip(1), across)
    narrow = _rounded(torch.einsum("box,byxc->byoc", across, box))
    return _rounded(torch.einsum("boy,byxc->boxc", weights(height, largest_box[0], crop), narrow)).to(torch.uint8)


def weights(sides: Tensor, longest: int, crop: int) -> Tensor:
    """PIL's antialiased bilinear interpolation from ``sides`` [B] pixels to ``crop``, float64 [B, crop, longest].

    The weights of a pixel sum to ``ONE`` or nearly so: they are whole numbers, so that sums are exact in any order.
    """
    scale = (sides.double() / crop)[:, None, None]
    centre = (torch.arange(crop, device=sides.device).double()[:, None] + 0.5) * scale
    at = torch.arange(longest, device=sides.device) + 0.5
    triangle = (1 - (at - centre).abs() / scale.clamp(min=1)).clamp_(min=0) * (at < sides[:, None, None])
    return (triangle / triangle.sum(2, keepdim=True) * ONE + 0.5).floor_()


def _rounded(sums: Tensor) -> Tensor:
    return sums.div_(ONE).add_(0.5).floor_().clamp_(0, 255)
