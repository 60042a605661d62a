"""CIFAR-100 (Krizhevsky 2009): 60,000 natural images of 32x32 pixels, 100 classes."""

from pathlib import Path

from datasets.base import Source
from datasets.cifar import Cifar


class Cifar100(Cifar):
    """The official split: 500 train and 100 test images of each of the 100 fine classes."""

    name = "cifar100"
    licence = "none stated by the authors"
    homepage = "https://www.cs.toronto.edu/~kriz/cifar.html"
    defects = "about a tenth of the test images have a near-duplicate in train"
    layouts = "cifar-100-binary.tar.gz or its folder with train.bin and fine_label_names.txt"
    sources = (
        Source(
            "cifar-100-binary.tar.gz", ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",), "03b5dce01913d631647c71ecec9e9cb8"
        ),
    )
    files = {"train": ("train.bin",), "test": ("test.bin",)}
    pickles = frozenset(("meta", "train", "test"))
    label_bytes = 2

    def names(self, root: Path) -> tuple[str, ...]:
        return tuple((root / "fine_label_names.txt").read_text(encoding="utf-8").split())
