"""Classes of one data set as those of another, by their names."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from datasets.base import DataError

_NAMED = 5


def composed(name: str) -> str:
    """``name`` in its composed Unicode form (NFC): names that look alike are equal."""
    return unicodedata.normalize("NFC", name)


def places(classes: Sequence[str], other: Sequence[str], where: str) -> np.ndarray:
    """int64 [len(other)]: the place in ``classes`` of each name of ``other``, whatever its Unicode form.

    DataError, which begins with ``where``, when a name of either is not among the other's.
    """
    known = {composed(name): place for place, name in enumerate(classes)}
    asked = [composed(name) for name in other]
    missing = [name for name in classes if composed(name) not in set(asked)]
    extra = [name for name in other if composed(name) not in known]
    if missing or extra:
        raise DataError(f"{where}: its classes are not those of the training images: missing {_some(missing)}, not in train {_some(extra)}")
    return np.array([known[name] for name in asked], np.int64)


def _some(names: Sequence[str]) -> str:
    return (", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")) or "none"
