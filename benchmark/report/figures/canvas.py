"""What all figures share: the drawing and its words, the legend, the empty sheet, a line with its interval, numbers beside
points where looks alone do not tell methods apart, and fonts for names that the figures' own font cannot write.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import seaborn as sns
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.report.cells import Cell
from benchmark.report.figures.svg import tell
from benchmark.report.intervals import Interval, t_interval
from benchmark.report.style import INK, MUTED, RC, WIDTH, Looks

LEGEND_ROW = 0.14
"""Height of one legend row in inches."""

TOO_MANY = 12
"""With more methods than this, markers and line styles alone are hard to tell apart."""

_SIZE = 7
"""Of the numbers beside points, in points."""

_BOX = (7.8, 7.0)
"""Width and height in points that a two-digit number takes."""

_RADII = (6.0, 10.0, 14.0, 19.0, 25.0)
_DIRECTIONS = 16
_LEADER_FROM = 8.0


@dataclass(frozen=True)
class Drawing:
    """A drawn figure with the words that go with it; ``name`` is the file's stem."""

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure


def sheet(height: float) -> Figure:
    """An empty one-column figure, ``height`` in inches, that arranges itself."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def plain(text: str) -> str:
    """``text`` as it is: a dollar sign in a name begins no formula."""
    return text.replace("$", r"\$")


def heading(figure: Figure, text: str) -> None:
    """One line at the top left: what is shown, and how many seeds."""
    figure.suptitle(plain(text), fontsize=7, x=0.01, ha="left")


def interval_ends(values: Sequence[float]) -> tuple[float, float]:
    """Ends of the t-interval over seeds, for seaborn's ``errorbar``; NaN, which is not drawn, for a single value."""
    interval = t_interval([float(value) for value in values])
    return (float("nan"), float("nan")) if interval.low is None or interval.high is None else (interval.low, interval.high)


def value_text(name: str, found: Interval, unit: str) -> str:
    """``smile: 83.21 % [82.10, 84.32], n = 3``, what a pointer shows of a mean."""
    ends = "" if found.low is None or found.high is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{name}: {found.mean:.2f} {unit}{ends}, n = {found.n}"


def draw_lines(axes: Axes, lines: Mapping[str, Sequence[tuple[float, float]]], looks: Looks, **options: Any) -> None:
    """A line per method through the means of its (x, y) points, with the band of its interval over seeds."""
    names = [name for name, points in lines.items() for _ in points]
    x, y = zip(*(point for points in lines.values() for point in points), strict=True)
    settings: dict[str, Any] = {"errorbar": interval_ends, "err_kws": {"alpha": 0.1, "linewidth": 0}} | options
    palette = {name: looks[name].colour for name in lines}
    sns.lineplot(x=x, y=y, hue=names, hue_order=list(lines), palette=palette, legend=False, ax=axes, **settings)
    for line, look in zip(axes.get_lines(), map(looks.__getitem__, lines), strict=True):
        line.set(linestyle=look.line, marker=look.marker, markersize=3 * look.size, markeredgewidth=0)
    for line, name in zip(axes.get_lines(), lines, strict=True):
        told = [f"{y:.4g} at {x:g}" for x, y in zip(*cast(Sequence[Sequence[float]], line.get_data()), strict=True)]
        tell(line, f"{name}: {told[0]}, {told[-1]}", [f"{name}: {text}" for text in told])
    axes.set(xlabel="", ylabel="")


def legend_rows(methods: Sequence[str]) -> int:
    """Rows that :func:`legend` needs."""
    return -(-len(methods) // _legend_columns(methods))


def legend(figure: Figure, methods: Sequence[str], numbers: Mapping[str, str], looks: Looks) -> None:
    """One legend below the axes, in the order of the sweep, with the ``numbers`` that stand in the axes."""
    handles = [
        Line2D(
            [],
            [],
            color=s.colour,
            marker=s.marker,
            linestyle=s.line,
            markersize=3.5 * s.size,
            markeredgewidth=0,
            label=plain(f"{numbers[method]}  {method}" if numbers else method),
        )
        for method in methods
        for s in [looks[method]]
    ]
    columns = _legend_columns(methods)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=2.6, columnspacing=1.2, labelspacing=0.3)


def _legend_columns(methods: Sequence[str]) -> int:
    longest = max(map(len, methods))
    return min(len(methods), 4 if longest <= 9 else 3 if longest <= 13 else 2)


def fix_layout(figure: Figure) -> None:
    """Work out the layout once and keep it, the same for every format."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def seeds_text(cells: Iterable[Cell]) -> str:
    """How many seeds are behind the cells: ``n = 3 seeds`` or ``n = 1 to 3 seeds``."""
    counts = sorted({cell.n for cell in cells if cell.n})
    if not counts:
        return "no finished runs"
    if len(counts) == 1:
        return f"n = {counts[0]} seed{'s' if counts[0] > 1 else ''}"
    return f"n = {counts[0]} to {counts[-1]} seeds"


def pairs_text(cells: Iterable[Cell]) -> str:
    """How many pairs are behind the cells' differences: ``n = 3 pairs of seeds``."""
    pairs = sorted({cell.difference.n for cell in cells if cell.difference})
    count = f"{pairs[0]}" if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]}"
    return f"n = {count} pair{'s' if pairs[-1] > 1 else ''} of seeds"


def paired_text(cells: Iterable[Cell]) -> str:
    """What the intervals of the cells' differences are, said only where there are any."""
    if any(cell.difference and cell.difference.n > 1 for cell in cells):
        return "95 % paired-t intervals, not corrected for the number of methods (the table's p-values are)"
    return "one pair each, no intervals"


def evidence(cells: Sequence[Cell]) -> str:
    """For a heading: how many seeds, and what bars and bands are where there are any."""
    return seeds_text(cells) + (", 95 % t-intervals" if any(cell.n > 1 for cell in cells) else "")


def interval_text(cells: Iterable[Cell]) -> str:
    """What the bars or bands are, said only where there are any."""
    return "95 % t-intervals over seeds" if any(cell.n > 1 for cell in cells) else "one seed each, no intervals"


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


def font_families(texts: Iterable[str]) -> tuple[list[str], str]:
    """The figures' font followed by installed ones for the characters of ``texts`` that it lacks, and the characters that none has."""
    own = RC["font.family"]
    left = _characters(texts) - _covered(font_manager.findfont(own))
    found = [own]
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)) if left else ():
        have = left & _covered(entry.fname)
        if have and "LastResort" not in entry.fname:
            found.append(entry.name)
            left -= have
    return found, "".join(sorted(left))


def font_note(texts: Iterable[str]) -> str:
    """What a reader must know where no installed font has all characters of ``texts``; '' where one has."""
    left = font_families(texts)[1]
    return f"No installed font has {left}: figures show boxes instead; a font that has them, once installed, is found" if left else ""


def _characters(texts: Iterable[str]) -> set[str]:
    return {character for text in texts for character in text if character.isprintable()}


@cache
def _covered(path: str) -> frozenset[str]:
    """The characters of a font file; none where it cannot be read."""
    try:
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()
