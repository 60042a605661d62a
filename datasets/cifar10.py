"""CIFAR-10 (Krizhevsky 2009): 60,000 natural images of 32x32 pixels, 10 classes.

Accepted: the *binary* release (``cifar-10-binary.tar.gz`` or its unpacked folder), or any copy laid out as an image folder (or a tar
of one). The Python release is pickled: loading a pickle runs code that the file chooses, so it is refused.
"""

import re
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from datasets.base import DataError, DataSet, Item, recorded_place
from datasets.folder import Folder
from datasets.layouts import unpacked

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
PIXELS = 3 * 32 * 32
MAX_BYTES = 1 << 30

_PICKLED = re.compile(r"data_batch_\d|test_batch|batches\.meta")
_ADVICE = "is CIFAR-10's pickled Python release, and a pickle can run any code; use the binary one, cifar-10-binary.tar.gz"


class Cifar10(DataSet):
    """50,000 train and 10,000 test images. A record of the binary release is one label byte and 3,072 bytes: red, green, blue plane."""

    licence = "none stated by the authors"
    homepage = "https://www.cs.toronto.edu/~kriz/cifar.html"
    defects = "an image-folder copy in JPEG is close to, not identical with, the binary release; train and test share some near-duplicates"

    def __init__(self, path: Path | None = None) -> None:
        path = path or recorded_place("cifar10")
        if path is None:
            raise DataError("data set 'cifar10' is not at hand: run 'smilebench data prepare cifar10 --from PATH'")
        if not path.exists():
            raise DataError(f"data set 'cifar10': '{path}' does not exist")
        root = _data_folder(unpacked(path, MAX_BYTES, _refuse_pickle) if path.is_file() else path)
        self._binary = (root / BATCHES["train"][0]).is_file()
        if self._binary:
            self.classes = CLASSES
            self.splits = {split: _records(root, names) for split, names in BATCHES.items()}
        else:
            folder = Folder(root)
            self.classes, self.splits = folder.classes, folder.splits

    def content(self, item: Item) -> bytes:
        if not self._binary:
            return super().content(item)
        with item.path.open("rb") as handle:
            handle.seek(item.row * (PIXELS + 1) + 1)
            return handle.read(PIXELS)

    def decode(self, content: bytes) -> Image.Image:
        if not self._binary:
            return super().decode(content)
        planes = np.frombuffer(content, np.uint8).reshape(3, 32, 32)
        return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))


def _refuse_pickle(name: str) -> str | None:
    return f"this {_ADVICE}" if _PICKLED.fullmatch(PurePosixPath(name).name) else None


def _data_folder(path: Path) -> Path:
    """``path`` or the one folder below it that holds the data."""
    candidates = [path, *sorted(entry for entry in path.iterdir() if entry.is_dir())]
    for folder in candidates:
        if any(_PICKLED.fullmatch(entry.name) for entry in folder.iterdir()):
            raise DataError(f"{folder} {_ADVICE}")
        if (folder / BATCHES["train"][0]).is_file() or ((folder / "train").is_dir() and (folder / "test").is_dir()):
            return folder
    raise DataError(f"{path} holds neither {BATCHES['train'][0]} nor train/ and test/ folders of images")


def _records(root: Path, names: tuple[str, ...]) -> tuple[Item, ...]:
    items = []
    for name in names:
        path = root / name
        if not path.is_file():
            raise DataError(f"{path} is missing; the binary release has {', '.join(BATCHES['train'] + BATCHES['test'])}")
        data = np.fromfile(path, np.uint8)
        if not len(data) or len(data) % (PIXELS + 1):
            raise DataError(f"{path} is damaged: its size is not a multiple of {PIXELS + 1} bytes")
        labels = data[:: PIXELS + 1]
        if labels.max() >= len(CLASSES):
            raise DataError(f"{path} is damaged: record {int(labels.argmax())} has label {labels.max()}, above 9")
        stem = path.stem
        items += [Item(f"{CLASSES[label]}/{stem}-{row:05d}", int(label), path, row) for row, label in enumerate(labels)]
    return tuple(sorted(items, key=lambda item: item.key))
