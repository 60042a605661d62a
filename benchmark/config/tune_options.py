"""What a tuning sweep searches: the ``tune`` block of a sweep file, and the settings that grid and random search try.

Every method gets the same number of trials, each of other settings; a space that cannot give that many is refused.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from benchmark.config.run_config import Section
from benchmark.errors import UsageError, unknown

Settings = dict[str, Any]
"""Dotted key (``training.lr``, ``component.option``) -> value: one trial."""


_LENGTH = ("training.steps", "training.batch_size")


class Range(Section):
    """Numbers from ``low`` to ``high``, both included; whole ones where both ends are. log: evenly in the logarithm.

    points: how many of them a grid takes; one range of a method may leave that open and gets what fills the budget.
    """

    low: int | float
    high: int | float
    log: bool = False
    points: Annotated[int, Field(ge=2)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if not math.isfinite(float(self.high) - float(self.low)):
            raise ValueError(f"from {self.low} to {self.high} is too far")
        if self.log and self.low <= 0:
            raise ValueError(f"a range with log needs low above 0, not {self.low}")
        return self

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> int | float:
        """The number ``share`` (0 to 1) of the way, to three significant digits."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = low + share * (high - low)
        value = min(max(math.exp(value) if self.log else value, self.low), self.high)
        return round(value) if self.whole else min(max(float(f"{value:.3g}"), float(self.low)), float(self.high))

    def share(self, value: float) -> float:
        """The inverse of :meth:`at`."""
        f = math.log if self.log else float
        return (f(value) - f(self.low)) / (f(self.high) - f(self.low))


Dimension = Range | Annotated[list[Any], Field(min_length=1)]


class Tune(Section):
    """trials: settings tried per data set, fraction and method. seeds: each setting is trained with all of them; far from the final sweep's
    unless given. val_fraction: part of each subset that is held out and scored. steps: of a trial, where they are not the sweep's own.
    shared: what is tuned in every method. spaces: per method of the sweep, what is tuned in addition or instead. seed: of the search.
    """

    trials: Annotated[int, Field(ge=2, le=1000)]
    search: Literal["grid", "random"] = "random"
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [1000, 1001, 1002]
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    steps: Annotated[int, Field(ge=1)] | None = None
    shared: dict[str, Dimension] = {}
    spaces: dict[str, dict[str, Dimension]] = {}
    seed: int = 0

    @model_validator(mode="after")
    def _every_key_is_used(self) -> "Tune":
        given = self.model_fields_set
        if "seed" in given and self.search == "grid":
            raise ValueError("search 'grid' draws nothing, so it has no seed")
        dimensions = [d for space in (self.shared, *self.spaces.values()) for d in space.values()]
        if self.search != "grid" and any(isinstance(d, Range) and d.points for d in dimensions):
            raise ValueError("points are of search 'grid' alone")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is given twice")
        for key in {key for space in (self.shared, *self.spaces.values()) for key in space}:
            if key.rpartition(".")[0] in ("", "data", "linearity", "evaluation", "runtime"):
                raise ValueError(f"'{key}' cannot be tuned: only training.KEY and COMPONENT.OPTION can")
            if key == "training.steps" and self.steps:
                raise ValueError("'training.steps' cannot be tuned where tune.steps fixes it")
        for method, space in self.spaces.items():
            if longer := [key for key in _LENGTH if key in space]:
                raise ValueError(
                    f"spaces.{method}: '{longer[0]}' says how long a method is trained, which is the same for all: tune it under shared"
                )
        return self

    def space(self, method: str, where: str) -> dict[str, Dimension]:
        """What is tuned in ``method``; refused where that is nothing, or less than the budget."""
        space = {**self.shared, **self.spaces.get(method, {})}
        if not space:
            raise UsageError(f"{where}: tune: nothing to tune in '{method}': give tune.shared or tune.spaces.{method}")
        size = math.prod(_size(dimension) for dimension in space.values())
        if self.search != "grid" and size < self.trials:
            raise UsageError(f"{where}: tune: '{method}' has only {size:.0f} settings, fewer than the budget of {self.trials} trials")
        return space

    def check(self, methods: Sequence[str], where: str, relaxed: bool = False) -> None:
        """Refuse spaces of methods that are not in the sweep (unless ``relaxed``), or that cannot give every method the same budget."""
        for method in self.spaces:
            if method not in methods and not relaxed:
                raise UsageError(f"{where}: tune.spaces: " + unknown("method of this sweep", method, methods))
        for method in methods:
            self.settings(method, where)

    def settings(self, method: str, where: str) -> list[Settings]:
        """The trials of ``method``: the same for every data set and fraction."""
        space = self.space(method, where)
        if self.search == "grid":
            return _grid(space, self.trials, f"{where}: tune: method '{method}'")
        found = distinct(random_settings(space, self.seed), self.trials)
        if len(found) < self.trials:
            raise UsageError(
                f"{where}: tune: '{method}' has only {len(found)} settings to three digits: widen its ranges or lower tune.trials"
            )
        return found


def _size(dimension: Dimension) -> float:
    if isinstance(dimension, list):
        return len(dimension)
    return dimension.high - dimension.low + 1 if dimension.whole else math.inf


def _grid(space: Mapping[str, Dimension], trials: int, where: str) -> list[Settings]:
    known = math.prod(d.points or 1 if isinstance(d, Range) else len(d) for d in space.values())
    left = [key for key, d in space.items() if isinstance(d, Range) and not d.points]
    fill, rest = divmod(trials, known)
    if len(left) > 1:
        raise UsageError(f"{where}: give points for all but one of {', '.join(left)}")
    if rest or (left and fill < 2) or (not left and fill != 1):
        parts = " × ".join(f"{key}: {d.points or '?' if isinstance(d, Range) else len(d)}" for key, d in space.items())
        raise UsageError(f"{where}: its grid ({parts}) does not come out at the budget of {trials} trials, which every method gets")
    axes = [d if isinstance(d, list) else [d.at(n / ((d.points or fill) - 1)) for n in range(d.points or fill)] for d in space.values()]
    found = [dict(zip(space, values, strict=True)) for values in itertools.product(*axes)]
    if len(distinct(iter(found), trials)) < trials:
        raise UsageError(f"{where}: its grid holds the same settings twice: fewer points, or a wider range")
    return found


def random_settings(space: Mapping[str, Dimension], *coordinates: object) -> Iterator[Settings]:
    """Endless independent draws; a key's n-th depends on the coordinates and the key alone, so it is the same in methods that share it."""
    generators = {key: np.random.Generator(np.random.Philox(seed_of(*coordinates, key))) for key in space}
    while True:
        drawn = {key: float(rng.random()) for key, rng in generators.items()}
        yield {key: _value(dimension, drawn[key]) for key, dimension in space.items()}


def _value(dimension: Dimension, u: float) -> Any:
    if isinstance(dimension, list):
        return dimension[int(u * len(dimension))]
    return min(dimension.low + int(u * _size(dimension)), dimension.high) if dimension.whole and not dimension.log else dimension.at(u)


def distinct(settings: Iterator[Settings], count: int) -> list[Settings]:
    """The first ``count`` different ones; fewer where the iterator ends or a thousand draws in a row are in vain."""
    found: list[Settings] = []
    vain = 0
    for each in settings:
        vain = vain + 1 if each in found else 0
        if not vain:
            found.append(each)
        if len(found) == count or vain > 1000:
            break
    return found


def seed_of(*coordinates: object) -> int:
    """A seed below 2**32 for a draw that is named by its coordinates."""
    digest = hashlib.sha256("\x1f".join(map(str, coordinates)).encode()).digest()
    return int.from_bytes(digest[:4], "little")
