"""The test split of images that come without one: another of their splits, or a fixed part of train.

The part is the same on every machine and for every seed: of a class's images, ranked by the sha256 of their keys, the first are train. An
image that is added later changes the place of at most one other of its class.
"""

import hashlib
from collections.abc import Iterable, Mapping
from fractions import Fraction

from datasets.base import DataError, Item

Splits = dict[str, tuple[Item, ...]]


def with_test(splits: Mapping[str, tuple[Item, ...]], split: float | None, test_from: str | None, where: str) -> Splits:
    """``splits`` with a test split, by at most one of the options of :class:`datasets.base.Use`. where: begins every error."""
    if split is not None and test_from is not None:
        raise DataError(f"{where}: 'split' and 'test_from' exclude each other")
    if split is None and test_from is None:
        return dict(splits)
    if "test" in splits and test_from != "test":
        option = "split" if test_from is None else "test_from"
        raise DataError(f"{where} has a test split; '{option}' is for images without one")
    if test_from is not None:
        others = [name for name in splits if name != "train"]
        if test_from not in others:
            raise DataError(f"{where}: test_from: there is no split '{test_from}' beside train (there is: {', '.join(others) or 'none'})")
        return {("test" if name == test_from else name): items for name, items in splits.items()}
    assert split is not None
    train, test = divide(splits["train"], split, where)
    return {**splits, "train": train, "test": test}


def divide(items: Iterable[Item], share: float, where: str) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """(train, test), each sorted by key: of each class's n images round(share * n) are train, at least one and never all."""
    if not 0 < share < 1:
        raise DataError(f"{where}: split: {share} is no share between 0 and 1")
    by_class: dict[int, list[Item]] = {}
    for item in items:
        by_class.setdefault(item.label, []).append(item)
    train: list[Item] = []
    test: list[Item] = []
    for members in by_class.values():
        if len(members) < 2:
            raise DataError(f"{where}: split: '{members[0].key}' is the only image of its class and cannot be in train and in test")
        members.sort(key=lambda item: rank(item.key))
        count = min(max(round(Fraction(str(share)) * len(members)), 1), len(members) - 1)
        train += members[:count]
        test += members[count:]
    return tuple(sorted(train, key=lambda item: item.key)), tuple(sorted(test, key=lambda item: item.key))


def rank(key: str) -> bytes:
    """What images are ranked by where a part of them is taken."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
