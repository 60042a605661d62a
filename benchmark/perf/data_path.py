"""Training images per second and core: batches from the arena against the loader that the field uses.

The usual loader reads each JPEG anew: PIL decode, Resize(256), RandomCrop(224), flip, ToTensor, Normalize in a DataLoader. Both sides get
one thread and the same generated photos of about 500 pixels; rounds alternate, and the median of each side counts.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader

from benchmark.perf.measure import Measured, interleaved, own_cache, show, threads
from datasets.arena import Decode, prepare
from datasets.base import DataSet, open_dataset
from datasets.decode import decode_items
from datasets.stream import Preprocess, TrainStream

IMAGES = 256
BATCH = 32
ROUNDS = 5
RESIZE, CROP = 256, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Streams:
    def numpy(self, stream: str, step: int | None = None) -> np.random.Generator:
        return np.random.default_rng([len(stream), step or 0])


def measure(images: int = IMAGES, rounds: int = ROUNDS) -> list[Measured]:
    """Generate ``images`` photos and time both sides on them, ``rounds`` times in turn."""
    with tempfile.TemporaryDirectory() as folder, own_cache(Path(folder) / "cache"), threads(1):
        root = Path(folder) / "photos"
        write_photos(root, images)
        return _measure(open_dataset(f"folder:{root}"), root / "train", rounds)


def _measure(dataset: DataSet, train: Path, rounds: int) -> list[Measured]:
    decode = Decode(RESIZE, keep_aspect=True)
    items = dataset.splits["train"]
    split = prepare(dataset, decode).split("train")
    stream = TrainStream(
        split, np.arange(len(split)), Preprocess(CROP, MEAN, STD, torch.device("cpu")), batch_size=BATCH, flip=True, rng=_Streams()
    )
    resize = transforms.Resize(RESIZE)
    steps = len(split) // BATCH
    rates = _rates(
        {
            "loader": lambda: sum(len(x) for x, _ in usual_loader(train)),
            "uint8": lambda: sum(len(stream.raw(i)) for i in range(20 * steps)),
            "normalised": lambda: sum(len(stream.batch(i).x) for i in range(5 * steps)),
            "decode": lambda: len(decode_items(dataset, items, decode).pixels),
            "usual decode": lambda: sum(bool(resize(default_loader(str(item.path)))) for item in items),
        },
        rounds,
    )
    pairs = [
        ("batches, uint8 (normalised on the device)", "uint8", "loader", 15),
        ("batches, normalised on the CPU", "normalised", "loader", 5),
        ("decoding and resizing", "decode", "usual decode", 0.95),
    ]
    return [
        Measured(what, rates[ours] / rates[usual], at_least=wanted, details=(f"{rates[ours]:,.0f}", f"{rates[usual]:,.0f}"))
        for what, ours, usual, wanted in pairs
    ]


def usual_loader(train: Path) -> DataLoader:
    """The field's training loader, in this process."""
    steps = (transforms.Resize(RESIZE), transforms.RandomCrop(CROP), transforms.RandomHorizontalFlip(), transforms.ToTensor())
    transform = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])
    return DataLoader(ImageFolder(train, transform), batch_size=BATCH, shuffle=True, drop_last=True)


def write_photos(root: Path, images: int) -> None:
    """An image folder of ``images`` JPEGs per split, 500x375 or 375x500: smooth shapes with some grain, as photos compress."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for n in range(images if split == "train" else 2):
            size = (500, 375) if n % 3 else (375, 500)
            shapes = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
            grain = rng.normal(0, 6, (size[1], size[0], 3))
            path = root / split / "ab"[n % 2] / f"{n}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)


def _rates(tasks: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Images per CPU second of each task, the median over rounds in which the tasks take turns."""
    counts: dict[str, int] = {}

    def counted(name: str, task: Callable[[], int]) -> Callable[[], None]:
        return lambda: counts.update({name: task()})

    times = interleaved({name: counted(name, task) for name, task in tasks.items()}, rounds)
    return {name: counts[name] / median(seconds) for name, seconds in times.items()}


def report(console: Console) -> list[Measured]:
    """Measure and print the ratios."""
    return show(console, "data, one core, over the usual loader", measure(), ("ours, images/s", "usual, images/s"))


if __name__ == "__main__":
    report(Console())
