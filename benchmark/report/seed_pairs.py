"""The page's comparison of two chosen methods, seed by seed: its numbers and the form that is shown without scripts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.report.cells import Cell, Group, given
from benchmark.report.figures.svg import variable
from benchmark.report.intervals import Difference, t_quantile
from benchmark.report.measures import accuracy
from benchmark.report.style import Looks
from benchmark.report.text import signed

WIDTH = 480
ROW = 22
LEFT, RIGHT = 76, 76
"""Room for the seeds' names and for the differences, in CSS pixels of a figure ``WIDTH`` wide, as ``ROW`` is of one seed."""


@dataclass(frozen=True)
class SeedRow:
    """One seed, or ``mean``: where the two methods' dots are, and what is written beside them."""

    name: str
    y: float
    left: float
    right: float
    told: tuple[str, str]
    difference: str


@dataclass(frozen=True)
class SeedPairs:
    """The comparison left - right as it is drawn: rows, (x, text) of the ticks, height, and the sentence below."""

    group: str
    left: str
    right: str
    colours: tuple[str, str]
    rows: tuple[SeedRow, ...]
    ticks: tuple[tuple[float, str], ...]
    height: float
    sentence: str


def first_pair(groups: Sequence[Group], looks: Looks) -> SeedPairs | None:
    """The best of the other methods against the baseline, on the first data set and fraction where any pairs with it."""
    for group in groups:
        base = group.cell(group.baseline)
        paired = [cell for cell in group.cells if cell.difference]
        if base and paired:
            best = max(paired, key=lambda cell: given(cell.accuracy).mean)
            return _compared(group, best, base, looks)
    return None


def _compared(group: Group, left: Cell, right: Cell, looks: Looks) -> SeedPairs:
    ours, theirs = ({run.seed: accuracy(run) for run in cell.runs} for cell in (left, right))
    pairs = {f"seed {seed}": (ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())}
    means = tuple(math.fsum(values) / len(pairs) for values in zip(*pairs.values(), strict=True))
    pairs["mean"] = (means[0], means[1])
    low, high, step = scale([value for both in pairs.values() for value in both])

    def place(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    names = (left.method, right.method)
    rows = []
    for number, (name, both) in enumerate(pairs.items()):
        told = tuple(f"{method}, {name}: {value + _NUDGE:.2f} %" for method, value in zip(names, both, strict=True))
        rows.append(SeedRow(name, ROW * (number + 0.5), place(both[0]), place(both[1]), (told[0], told[1]), _points(both[0] - both[1])))
    ticks = [low + step * number for number in range(round((high - low) / step) + 1)]
    colours = (f"var({variable(looks[names[0]].colour)})", f"var({variable(looks[names[1]].colour)})")
    places = tuple((place(value), f"{value:.{_decimals(step)}f}") for value in ticks)
    sentence = difference_sentence(names[0], names[1], given(left.difference))
    return SeedPairs(group.title, names[0], names[1], colours, tuple(rows), places, ROW * len(rows) + 40, sentence)


_NUDGE = 1e-9
"""Added before a number is written with two decimals: a half is rounded up, here and in ``report.js``, whatever the order of the sum."""


def scale(values: Sequence[float]) -> tuple[float, float, float]:
    """(low, high, step) of an axis with two to eight ticks at 1, 2 or 5 times a power of ten."""
    low, high = min(values), max(values)
    raw = max(high - low, 0.1) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw)
    return step * math.floor(low / step), step * (math.floor(high / step) + 1), step


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))


def difference_sentence(left: str, right: str, found: Difference) -> str:
    """The mean difference left - right in points with its interval."""
    text = f"{left} − {right}: {_points(found.mean)} points"
    if found.low is None or found.high is None:
        return f"{text}, one pair of seeds: no interval."
    return f"{text} [{_points(found.low)}, {_points(found.high)}], {found.n} pairs of seeds."


def pair_data(groups: Sequence[Group], looks: Looks) -> dict[str, Any]:
    """What the script needs to compare any two methods.

    ``groups``: title and methods, each with its name, colour and by seed its accuracy in percent and a number for the subset it
    was trained on; ``t``: by the number of pairs the t quantile of the interval.
    """
    return {
        "sizes": {"width": WIDTH, "row": ROW, "left": LEFT, "right": RIGHT},
        "groups": [{"title": group.title, "methods": [_method(cell, group, looks) for cell in group.cells]} for group in groups],
        "t": {n: round(t_quantile(n), 6) for n in range(2, 1 + max((cell.n for group in groups for cell in group.cells), default=0))},
    }


def _method(cell: Cell, group: Group, looks: Looks) -> dict[str, Any]:
    subsets = list(dict.fromkeys(run.record["subset_hash"] for run in group.runs))
    seeds = {str(run.seed): [round(accuracy(run), 6), subsets.index(run.record["subset_hash"])] for run in cell.runs}
    return {"name": cell.method, "colour": f"var({variable(looks[cell.method].colour)})", "seeds": seeds}


def _points(value: float) -> str:
    return signed(math.copysign(abs(value) + _NUDGE, value), "{:.2f}")
