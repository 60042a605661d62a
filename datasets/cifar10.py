"""CIFAR-10 (Krizhevsky 2009): 60,000 natural images of 32x32 pixels, 10 classes."""

from pathlib import Path

from datasets.base import Source
from datasets.cifar import Cifar

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar10(Cifar):
    """The official split: 50,000 train and 10,000 test images, the same number of each class."""

    name = "cifar10"
    licence = "none stated by the authors"
    homepage = "https://www.cs.toronto.edu/~kriz/cifar.html"
    defects = "an image-folder copy in JPEG is close to, not identical with, the binary release; train and test share some near-duplicates"
    layouts = "cifar-10-binary.tar.gz or its folder with data_batch_1.bin"
    sources = (
        Source("cifar-10-binary.tar.gz", ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",), "c32a1d4ab5d03f1284b67883e8d87530"),
    )
    files = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
    pickles = frozenset(("batches.meta", "test_batch", *(f"data_batch_{i}" for i in range(1, 6))))
    label_bytes = 1

    def names(self, root: Path) -> tuple[str, ...]:
        return CLASSES
