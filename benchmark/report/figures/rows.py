"""Figures with one row per method: accuracy, and the paired differences to the baseline."""

import re
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from benchmark.report.cells import Cell, Group, accuracy
from benchmark.report.figures.canvas import Drawing, evidence, heading, interval_text, paired_text, pairs_text, seeds_text, sheet
from benchmark.report.figures.window import window
from benchmark.report.intervals import Interval
from benchmark.report.style import INK, MUTED, style

_ROW = 0.23
_FRAME = 0.62


def draw_accuracy(group: Group) -> Drawing | None:
    """Test accuracy: a dot per seed, the mean with its interval, the baseline's mean as a line."""
    if not group.runs:
        return None
    figure = sheet(_FRAME + _ROW * len(group.cells))
    axes = figure.subplots()
    for y, cell in enumerate(group.cells):
        seeds = [accuracy(run) for run in cell.runs]
        axes.plot(seeds, [y - 0.24] * cell.n, "o", color=style(cell.method).colour, markersize=2.6, alpha=0.6, markeredgewidth=0)
        if cell.accuracy:
            _mark(axes, cell.accuracy, y + 0.1, cell.method)
        else:
            say(axes, y, "no finished run")
    base = group.cell(group.baseline)
    if base and base.accuracy:
        axes.axvline(base.accuracy.mean, color=MUTED, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0.5)
    label_rows(axes, group.cells)
    focus(axes, {y + 0.1: cell.accuracy for y, cell in enumerate(group.cells) if cell.accuracy})
    axes.set_xlabel("Test accuracy (%)")
    heading(figure, f"{group.title}, {evidence(group.cells)}")
    means = ", ".join(f"{cell.method} {cell.accuracy.mean:.1f} %" for cell in group.cells if cell.accuracy)
    return Drawing(
        name=f"accuracy-{group.slug}",
        title=f"Test accuracy: {group.title}",
        caption=f"Small dots: single seeds; large markers: means, {seeds_text(group.cells)}; "
        f"bars: {interval_text(group.cells)}. Dashed line: mean of {group.baseline}. "
        "Single-method intervals do not show whether two methods differ: see the paired differences.",
        alt=f"Mean test accuracy on {group.title}: {means}.",
        figure=figure,
    )


def draw_difference(group: Group) -> Drawing | None:
    """Forest plot of the paired differences to the baseline."""
    cells = [cell for cell in group.cells if cell.method != group.baseline]
    known = [cell for cell in cells if cell.difference]
    if not known:
        return None
    figure = sheet(_FRAME + _ROW * len(cells))
    axes = figure.subplots()
    axes.axvline(0, color=INK, linewidth=0.7, zorder=0.5)
    for y, cell in enumerate(cells):
        if cell.difference:
            _mark(axes, cell.difference, y, cell.method)
        else:
            say(axes, y, "not paired" if cell.n else "no finished run")
        axes.text(1.03, y, difference_text(cell.difference), transform=axes.get_yaxis_transform(), va="center", fontsize=6)
    label_rows(axes, cells)
    focus(axes, {y: cell.difference for y, cell in enumerate(cells) if cell.difference}, always=0.0)
    axes.set_xlabel(f"Difference to {group.baseline} (percentage points)")
    words = pairs_text(known)
    heading(figure, f"{group.title}, {words}" + (", 95 % intervals" if any(cell.difference.n > 1 for cell in known) else ""))
    listed = ", ".join(f"{cell.method} {cell.difference.mean:+.1f}" for cell in known)
    return Drawing(
        name=f"difference-{group.slug}",
        title=f"Paired difference to {group.baseline}: {group.title}",
        caption=f"Difference in test accuracy to {group.baseline} at the same seed (same subset, order, crops and pairs), {words}; "
        f"bars and brackets: {paired_text(known)}.",
        alt=f"Mean paired difference to {group.baseline} in points on {group.title}: {listed}.",
        figure=figure,
    )


def _mark(axes: Axes, interval: Interval, y: float, method: str) -> None:
    look = style(method)
    if interval.half_width is not None:
        axes.plot([interval.low, interval.high], [y, y], color=look.colour, linewidth=1.3, solid_capstyle="butt")
    axes.plot(
        interval.mean, y, marker=look.marker, color=look.colour, markersize=4.5 * look.size, markeredgecolor="white", markeredgewidth=0.4
    )


def focus(axes: Axes, intervals: Mapping[float, Interval], always: float | None = None) -> None:
    """Leave far-off methods out of the axis; ``always`` stays in.

    A mean that is left out is written at the edge, an interval's end that is cut off is an arrow there.
    """
    shown = window(list(intervals.values()))
    if shown is None:
        return
    low, high = (min(shown[0], always), max(shown[1], always)) if always is not None else shown
    margin = 0.05 * (high - low)
    low, high = low - margin, high + margin
    axes.set_xlim(low, high)
    for y, interval in intervals.items():
        mean = f"{interval.mean:.1f}".replace("-", "−")
        if interval.mean < low:
            say(axes, y, f"◂ {mean}", x=0.01, align="left")
        elif interval.mean > high:
            say(axes, y, f"{mean} ▸", x=0.99, align="right")
        elif interval.half_width is not None:
            cut = [(edge, marker) for edge, marker, off in ((low, "<", interval.low < low), (high, ">", interval.high > high)) if off]
            for edge, marker in cut:
                axes.plot(edge, y, marker=marker, color=MUTED, markersize=3.5, markeredgewidth=0, clip_on=False)


def say(axes: Axes, y: float, text: str, x: float = 0.5, align: str = "center") -> None:
    """Write ``text`` in the row at ``y``, ``x`` as a part of the axes' width."""
    axes.text(x, y, text, transform=axes.get_yaxis_transform(), ha=align, va="center", fontsize=6, color=MUTED)


def label_rows(axes: Axes, cells: Sequence[Cell]) -> None:
    """One row per cell from the top, named, with its seeds where some are missing."""
    labels = [cell.method if cell.n == cell.expected else f"{cell.method} ({cell.n} of {cell.expected})" for cell in cells]
    axes.set_yticks(range(len(cells)), labels)
    axes.set_ylim(len(cells) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def difference_text(difference: Interval | None) -> str:
    """``+0.7 [0.1, 1.4]``, without the bracket for one pair."""
    if difference is None:
        return ""
    text = f"{difference.mean:+.1f}"
    if difference.half_width is not None:
        text += f" [{difference.low:.1f}, {difference.high:.1f}]"
    return re.sub(r"[+-]0\.0", "0.0", text).replace("-", "−")
