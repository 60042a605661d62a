"""Handwritten digits: the 1,797 scans of 8x8 pixels that scikit-learn ships. No download, for quick runs and tests."""

import importlib.metadata
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.base import DataError, DataSet, Item, cache_root
from datasets.files import building

TABLE = "digits.npy"

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
        table = _table(file)
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
    """scikit-learn's ``load_digits`` as int64 [1797, 65], pixels and label, kept in the cache: importing scikit-learn takes a second."""
    try:
        version = importlib.metadata.version("scikit-learn")
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError("data set 'digits' needs scikit-learn, which is not installed") from error
    folder = cache_root() / "unpacked" / f"digits-{version}"
    if not folder.is_dir():
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        with building(folder) as temporary:
            np.save(temporary / TABLE, np.column_stack([pixels, labels]).astype(np.int64))
    return folder / TABLE


def _table(file: Path) -> np.ndarray:
    try:
        table = np.load(file)
        if table.shape != (1797, 65):
            raise ValueError(f"its shape is {table.shape}")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} is damaged ({error}); remove the folder {file.parent}") from error
    return table
