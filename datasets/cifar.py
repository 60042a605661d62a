"""The binary releases of CIFAR-10 and CIFAR-100 (Krizhevsky 2009): records of label bytes and 3,072 pixel bytes in red, green, blue planes.

The Python releases are pickled: loading a pickle runs code that the file chooses, so they are refused.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from datasets.base import DataError, DataSet, Item
from datasets.layouts import Listing, Place, read

PIXELS = 3 * 32 * 32


class Cifar(DataSet, ABC):
    """Natural images of 32x32 pixels. label_bytes: before the pixels of a record, the last of them is the class."""

    files: ClassVar[dict[str, tuple[str, ...]]]
    pickles: ClassVar[frozenset[str]]
    label_bytes: ClassVar[int]

    def __init__(self, path: Path | None = None) -> None:
        self._binary = False
        self.classes, self.splits = read(self, path, self._official)

    @abstractmethod
    def names(self, root: Path) -> tuple[str, ...]:
        """Class names; the release may hold them."""

    def content(self, item: Item) -> bytes:
        if not self._binary:
            return super().content(item)
        with item.path.open("rb") as handle:
            handle.seek(item.row * (PIXELS + self.label_bytes) + self.label_bytes)
            return handle.read(PIXELS)

    def decode(self, content: bytes) -> Image.Image:
        if not self._binary:
            return super().decode(content)
        planes = np.frombuffer(content, np.uint8).reshape(3, 32, 32)
        return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))

    def _official(self, place: Place) -> Listing | None:
        for folder in place.folders:
            if any((folder / name).is_file() for name in self.pickles):
                raise DataError(f"{folder} is the pickled Python release, and a pickle can run any code; use {self.sources[0].file}")
        first = place.find(*(name for names in self.files.values() for name in names))
        if first is None:
            return None
        self._binary = True
        classes = self.names(first.parent)
        return Listing(classes, {split: self._records(first.parent, names, classes) for split, names in self.files.items()})

    def _records(self, root: Path, names: tuple[str, ...], classes: tuple[str, ...]) -> tuple[Item, ...]:
        size = PIXELS + self.label_bytes
        items = []
        for path in (root / name for name in names):
            if not path.is_file():
                raise DataError(f"{path} is missing; the binary release has {', '.join(sum(self.files.values(), ()))}")
            data = np.fromfile(path, np.uint8)
            if not len(data) or len(data) % size:
                raise DataError(f"{path} is damaged: its size is not a multiple of {size} bytes")
            labels = data[self.label_bytes - 1 :: size]
            if labels.max() >= len(classes):
                raise DataError(f"{path} is damaged: record {int(labels.argmax())} has label {labels.max()}, above {len(classes) - 1}")
            items += [Item(f"{classes[label]}/{path.stem}-{row:05d}", int(label), path, row) for row, label in enumerate(labels)]
        return tuple(sorted(items, key=lambda item: item.key))
