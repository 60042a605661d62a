"""Handwritten digits: the 1,797 scans of 8x8 pixels that scikit-learn ships. No download, for quick runs and tests."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.base import DataError, DataSet, Item

TRAIN_SHARE = 0.8
"""Of each class, the first 80 % in file order are ``train``, the rest ``test``; the file is ordered by writer, roughly."""


class Digits(DataSet):
    """Ten classes, about 144 train and 36 test images each; values 0..16 spread over 0..255, grey repeated to RGB."""

    name = "digits"
    licence = "CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits)"
    homepage = "https://archive.ics.uci.edu/dataset/80"
    defects = "8x8 pixels: anything larger is interpolated"

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            raise DataError(f"data set 'digits' takes no path (got '{path}'): it comes with scikit-learn")
        file = _table_file()
        with gzip.open(file, "rt", encoding="ascii") as handle:
            table = np.loadtxt(handle, delimiter=",", dtype=np.int64)
        self._values = table[:, :-1].astype(np.uint8)
        self.classes = tuple(str(digit) for digit in range(10))
        train, test = [], []
        for label in range(10):
            rows = np.flatnonzero(table[:, -1] == label)
            cut = int(TRAIN_SHARE * len(rows))
            items = [Item(f"{label}/{row:04d}", label, file, int(row)) for row in rows]
            train += items[:cut]
            test += items[cut:]
        self.splits = {"train": tuple(train), "test": tuple(test)}

    def content(self, item: Item) -> bytes:
        return self._values[item.row].tobytes()

    def decode(self, content: bytes) -> Image.Image:
        values = np.frombuffer(content, np.uint8).reshape(8, 8).astype(np.uint16)
        grey = ((values * 255 + 8) // 16).astype(np.uint8)
        return Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))


def _table_file() -> Path:
    """scikit-learn's own file: reading it directly spares the import of scikit-learn and SciPy, over a second. A test holds it equal
    to ``load_digits``."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("data set 'digits' needs scikit-learn, which is not installed")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
