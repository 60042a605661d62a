"""Numbers beside points and lines, for figures in which looks alone do not tell the methods apart."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.report.figures.canvas import TOO_MANY
from benchmark.report.style import INK, MUTED, Looks

_SIZE = 7
_BOX = (7.8, 7.0)
"""Width and height in points that a two-digit number takes."""

_RADII = (6.0, 10.0, 14.0, 19.0, 25.0)
_DIRECTIONS = 16
_LEADER_FROM = 8.0


def numbering(methods: Sequence[str], looks: Looks) -> dict[str, str]:
    """A number per method where two look alike or there are more than ``TOO_MANY``; else none."""
    distinct = {(look.colour, look.marker, str(look.line)) for look in map(looks.__getitem__, methods)}
    if len(distinct) == len(methods) <= TOO_MANY:
        return {}
    return {method: str(number) for number, method in enumerate(methods, start=1)}


def number_line(axes: Axes, points: Sequence[tuple[float, float]], method: str, numbers: Mapping[str, str]) -> None:
    """The method's number on its line, each method's at a place of its own along it; nothing without numbers."""
    if numbers:
        x, y = zip(*points, strict=True)
        place = x[0] + (1 + list(numbers).index(method)) / (1 + len(numbers)) * (x[-1] - x[0])
        _write(axes, (place, float(np.interp(place, x, y))), (1.5, 1.5), numbers[method])


def number_points(axes: Axes, points: Mapping[str, tuple[float, float]], numbers: Mapping[str, str]) -> None:
    """Each method's number near its point, moved apart from others' and tied to the point by a thin line where it had to go far.

    Called when the axes have their limits. Nothing without numbers.
    """
    if not numbers:
        return
    figure = cast(Figure, axes.figure)
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    places = {method: scale * axes.transData.transform(point) for method, point in points.items()}
    taken: list[np.ndarray] = list(places.values())
    for method, centre in sorted(places.items(), key=lambda item: -item[1][1]):
        best = min(_offsets(), key=lambda offset: (_crowding(centre + offset, taken), math.hypot(*offset)))
        taken.append(centre + best)
        _write(axes, points[method], (float(best[0]), float(best[1])), numbers[method], centred=True)


def _offsets() -> list[np.ndarray]:
    turns = [2 * math.pi * step / _DIRECTIONS for step in range(_DIRECTIONS)]
    return [radius * np.array([math.cos(turn), math.sin(turn)]) for radius in _RADII for turn in turns]


def _crowding(place: np.ndarray, taken: Sequence[np.ndarray]) -> int:
    """How many points and numbers a number at ``place`` (in points) would cover."""
    return sum(1 for other in taken if abs(place[0] - other[0]) < _BOX[0] and abs(place[1] - other[1]) < _BOX[1])


def _write(axes: Axes, point: tuple[float, float], offset: tuple[float, float], number: str, centred: bool = False) -> None:
    leader = {"arrowstyle": "-", "linewidth": 0.3, "color": MUTED, "shrinkA": 0, "shrinkB": 0}
    axes.annotate(
        number,
        point,
        xytext=offset,
        textcoords="offset points",
        fontsize=_SIZE,
        color=INK,
        zorder=4,
        ha="center" if centred else "left",
        va="center" if centred else "bottom",
        arrowprops=leader if math.hypot(*offset) > _LEADER_FROM else None,
    )
