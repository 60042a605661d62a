"""Which images a run trains on: subsets of a split, its validation share, and a fixed part of a large test split.

Every function returns int64 positions in the split.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from datasets.base import DataError


def stratified_order(labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """One random order of each class's images, drawn in the order of the class numbers."""
    return [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]


def subset(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """The first ceil(fraction * n_c) images of each class's order, so that subsets of one rng state are nested.

    ``fraction`` counts as the decimal it is written as: 0.07 of 100 is 7. The result is in drawing order, which :func:`carve` reads;
    what that returns is sorted.
    """
    share = _exact(fraction)
    return np.concatenate([order[: math.ceil(share * len(order))] for order in stratified_order(labels, rng)])


def subset_smile(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """The rule of the SMILE authors' code: the first 1 + int(fraction * n) of one shuffle of all images, whatever their class; at 1 all.

    In drawing order, like :func:`subset`.
    """
    count = min(1 + int(_exact(fraction) * len(labels)), len(labels))
    return rng.permutation(len(labels))[:count]


SAMPLERS = {"stratified": subset, "smile": subset_smile}
"""The rules of ``data.sampling``."""


def subset_listed(keys: Sequence[str], labels: Sequence[int] | np.ndarray, classes: Sequence[str], file: Path) -> np.ndarray:
    """The images that a published list names, in its order: lines ``path label`` as in TLLib's ``image_list/train_15.txt``.

    White space of any kind stands before the label, which is the class's number, counted from 0 or from 1, or its name. A path is a key,
    below any folders such as ``train/``. DataError names the line where a path is no image's, or is listed twice, or has another label.
    """
    position = {key: i for i, key in enumerate(keys)}
    listed: dict[int, tuple[int, str, str]] = {}
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        path, label = _path_and_label(line, file, number)
        parts = path.split("/")
        found = next((position[tail] for i in range(len(parts)) if (tail := "/".join(parts[i:])) in position), None)
        if found is None:
            raise DataError(f"{file}: no training image is named '{path}' (line {number})")
        if found in listed:
            raise DataError(f"{file}: '{path}' is listed twice (lines {listed[found][0]} and {number})")
        listed[found] = number, path, label
    if not listed:
        raise DataError(f"{file} lists no image (expected lines 'path label')")
    # Counted from 0, the number of classes is no label.
    first = 1 if any(label == str(len(classes)) for _, _, label in listed.values()) else 0
    for found, (number, path, label) in listed.items():
        expected = int(labels[found])
        if label not in (classes[expected], str(first + expected)):
            raise DataError(
                f"{file}: label '{label}' (line {number}), but '{path}' is of class {first + expected}, '{classes[expected]}', "
                f"counted from {first}"
            )
    return np.array(list(listed), np.int64)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise DataError(f"cannot read the training list {file}: {error.strerror}") from error


def _path_and_label(line: str, file: Path, number: int) -> tuple[str, str]:
    """A tab separates wherever there is one, so that a class name may hold spaces; else the last space does."""
    fields = line.strip().rsplit("\t", 1) if "\t" in line.strip() else line.strip().rsplit(maxsplit=1)
    if len(fields) != 2:
        raise DataError(f"{file}: expected 'path label', found '{line.strip()}' (line {number})")
    return fields[0].strip(), fields[1].strip()


def carve(labels: np.ndarray, indices: np.ndarray, val_fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Split a subset, given in drawing order, into (train, validation), both sorted.

    Validation gets the last round(val_fraction * n) of each class's n images in the subset: at least one where n >= 2, and never all.
    """
    if val_fraction == 0:
        return np.sort(indices), np.empty(0, np.int64)
    train, val = [], []
    for label in np.unique(labels[indices]):
        order = indices[labels[indices] == label]
        count = min(max(round(_exact(val_fraction) * len(order)), 1), len(order) - 1)
        train.append(order[: len(order) - count])
        val.append(order[len(order) - count :])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(val))


def limit(labels: np.ndarray, keys: Sequence[str], n: int) -> np.ndarray:
    """``n`` images spread over the classes in proportion, the same for every seed; sorted, and nested over ``n``.

    Images of a class are ranked by the sha256 of their key, and ranks interleaved over the classes.
    """
    digests = np.array([hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest() for key in keys])
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members[np.argsort(digests[members])]] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(np.lexsort((digests, place))[:n])


def subset_hash(keys: Sequence[str]) -> str:
    """sha256 of the set of keys, whatever their order."""
    return hashlib.sha256(json.dumps(sorted(keys)).encode()).hexdigest()


def _exact(fraction: float) -> Fraction:
    return Fraction(str(float(fraction)))
