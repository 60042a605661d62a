"""A training batch as a picture: rows of images with their words."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from benchmark.report.figures.canvas import font_families, plain
from benchmark.report.style import RC

TILE = 0.85
"""Inches of an image's side; a line of words below it needs ``_LINE``."""
_LINE = 0.11
_LEFT = 0.75
_TOP = 0.3
_LONGEST = 16
_DPI = 150
_LIGHT = 1.15
"""What would be white: 1 is a light grey, which is seen on white paper."""


@dataclass(frozen=True)
class ImageRow:
    """A row of a picture. words: below each image; none or n.

    pixels: uint8 [n, S, S, 3], or float [n, S, S] from 0 (black) to 1 (light grey).
    """

    title: str
    pixels: np.ndarray
    words: tuple[str, ...]


def batch_png(rows: Sequence[ImageRow], title: str, small: bool = False) -> bytes:
    """A picture of ``rows`` below each other, as PNG. small: of fewer pixels and 256 colours, a fifth of the size."""
    texts = [title, *(word for row in rows for word in row.words)]
    with matplotlib.rc_context(RC | {"font.family": font_families(texts)[0]}):
        canvas = FigureCanvasAgg(_figure(rows, title))
        canvas.figure.set_dpi(_DPI * 2 // 3 if small else _DPI)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    out = io.BytesIO()
    (image.quantize(256) if small else image).save(out, "PNG", optimize=True)
    return out.getvalue()


def _figure(rows: Sequence[ImageRow], title: str) -> Figure:
    columns = max(len(row.pixels) for row in rows)
    lines = [max((word.count("\n") + 1 for word in map(_lines, row.words)), default=0) for row in rows]
    width = _LEFT + columns * TILE + 0.05
    height = _TOP + sum(TILE + 0.05 + count * _LINE for count in lines) + 0.05
    figure = Figure(figsize=(width, height))
    figure.text(0.05 / width, 1 - 0.1 / height, plain(title), va="top", ha="left")
    top = height - _TOP
    for row, count in zip(rows, lines, strict=True):
        bottom = top - TILE
        figure.text(0.05 / width, (bottom + TILE / 2) / height, plain(row.title), va="center", ha="left")
        for column, pixels in enumerate(row.pixels):
            place = ((_LEFT + column * TILE) / width, bottom / height, (TILE - 0.05) / width, (TILE - 0.05) / height)
            axes = figure.add_axes(place)
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=_LIGHT, interpolation="nearest" if len(pixels) < 100 else "antialiased")
            axes.set_axis_off()
            if row.words:
                axes.text(0.5, -0.03, plain(_lines(row.words[column])), transform=axes.transAxes, va="top", ha="center", fontsize=5.5)
        top = bottom - 0.05 - count * _LINE
    return figure


def _lines(words: str) -> str:
    """Each term of a sum on a line of its own, long ones shortened."""
    return "\n".join(term if len(term) <= _LONGEST else f"{term[: _LONGEST - 1]}…" for term in words.split(" + "))
