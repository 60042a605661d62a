"""What a complete copy of each published data set holds: classes, images per split, fewest and most of one class.

Only numbers that the releases themselves or their papers state, or that follow from them, are here. Where the range per class is not
known for certain it is None: per-class counts of Stanford Cars, of Stanford Dogs' test, of Oxford-IIIT Pet, of MIT Indoor and of the tests
of Flowers 102 and Caltech.
"""

from collections import Counter
from typing import NamedTuple

from datasets.base import DataSet


class Count(NamedTuple):
    """Images of a split; per_class: the fewest and the most of one class, None where unknown."""

    images: int
    per_class: tuple[int, int] | None = None


def _even(classes: int, each: int) -> Count:
    return Count(classes * each, (each, each))


COUNTS: dict[str, tuple[int, dict[str, Count]]] = {
    "cub200": (200, {"train": Count(5994, (29, 30)), "test": Count(5794, (11, 30))}),
    "stanford_cars": (196, {"train": Count(8144), "test": Count(8041)}),
    "fgvc_aircraft": (100, {"train": Count(6667, (66, 67)), "test": Count(3333, (33, 34))}),
    "stanford_dogs": (120, {"train": _even(120, 100), "test": Count(8580)}),
    "flowers102": (102, {"train": _even(102, 10), "val": _even(102, 10), "test": Count(6149)}),
    "oxford_iiit_pet": (37, {"train": Count(3680), "test": Count(3669)}),
    "food101": (101, {"train": _even(101, 750), "test": _even(101, 250)}),
    "dtd": (47, {"train": _even(47, 40), "val": _even(47, 40), "test": _even(47, 40)}),
    "caltech101": (101, {"train": _even(101, 30), "test": Count(5647)}),
    "caltech256": (256, {"train": _even(256, 60), "test": Count(14420)}),
    "sun397": (397, {"train": _even(397, 50), "test": _even(397, 50)}),
    "mit_indoor67": (67, {"train": Count(5360), "test": Count(1340)}),
    "cifar10": (10, {"train": _even(10, 5000), "test": _even(10, 1000)}),
    "cifar100": (100, {"train": _even(100, 500), "test": _even(100, 100)}),
    "eurosat": (10, {"train": Count(21600, (1600, 2400)), "test": Count(5400, (400, 600))}),
    "digits": (10, {"train": Count(1433), "test": Count(364)}),
}


def differences(dataset: DataSet) -> list[str]:
    """How ``dataset`` differs from a complete copy, in words; empty when it does not, or when nothing is known of it."""
    found = []
    if dataset.missing:
        found.append(f"{len(dataset.missing)} listed files are missing, among them {dataset.missing[0]}")
    if dataset.name not in COUNTS:
        return found
    classes, splits = COUNTS[dataset.name]
    if len(dataset.classes) != classes:
        found.append(f"{len(dataset.classes)} classes instead of {classes}")
    for name in sorted(splits.keys() | dataset.splits.keys()):
        found += _split_differences(dataset, name, splits.get(name, Count(0)))
    return found


def _split_differences(dataset: DataSet, name: str, expected: Count) -> list[str]:
    items = dataset.splits.get(name, ())
    found = [] if len(items) == expected.images else [f"{name} has {len(items)} images instead of {expected.images}"]
    if expected.per_class:
        low, high = expected.per_class
        sizes = Counter(item.label for item in items)
        odd = [label for label in range(len(dataset.classes)) if not low <= sizes[label] <= high]
        named = ", ".join(f"{dataset.classes[label]} {sizes[label]}" for label in odd[:5])
        if odd:
            found.append(f"{name} has {len(odd)} classes outside {low} to {high} images ({named}{', ...' if len(odd) > 5 else ''})")
    return found
