"""A contact sheet: some images of a data set with their labels, on one page."""

import re
from itertools import cycle, islice

from PIL import Image, ImageDraw, ImageFont

from datasets.base import DataSet, Item

TILE = 160
CAPTION = 30
COLUMNS = 8


def choose(items: tuple[Item, ...], n: int) -> list[Item]:
    """``n`` images, or all, spread evenly over the split: as many classes as there can be, in the order of their labels."""
    by_class: dict[int, list[Item]] = {}
    for item in items:
        by_class.setdefault(item.label, []).append(item)
    labels = sorted(by_class)
    if len(labels) > n:
        labels = [labels[i * len(labels) // n] for i in range(n)]
    pools = {label: iter(by_class[label]) for label in labels}
    order = islice(cycle(labels), n * len(labels))
    chosen = (next(pools[label], None) for label in order)
    return sorted(islice((item for item in chosen if item), n), key=lambda item: item.label)


def sheet(dataset: DataSet, split: str, n: int = 40) -> Image.Image:
    """A page of ``n`` images of ``split``, each above its class name; the images keep their aspect."""
    items = choose(dataset.splits[split], n)
    rows = -(-len(items) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for i, item in enumerate(items):
        left, top = i % COLUMNS * TILE, i // COLUMNS * (TILE + CAPTION)
        image = dataset.open(item)
        side = TILE - 8
        scale = side / max(image.size)
        image = image.resize([max(1, round(length * scale)) for length in image.size], Image.Resampling.BICUBIC)
        page.paste(image, (left + (TILE - image.width) // 2, top + (TILE - image.height) // 2))
        draw.text((left + 4, top + TILE), _fitting(dataset.classes[item.label], font, TILE - 8), "black", font)
    return page


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """``text`` over at most two lines of ``width`` pixels, broken between words where it can be, cut where it is longer."""
    lines = [""]
    for word in re.findall(r".[^ _/-]*", text):
        if font.getlength(lines[-1] + word) > width:
            lines.append("")
        lines[-1] += word
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) > 2:
        lines[1] += "…"
    return "\n".join(lines[:2])
