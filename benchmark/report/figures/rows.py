"""Figures with one row per method: accuracy, and the paired differences to the baseline."""

from collections.abc import Mapping, Sequence

import seaborn as sns
from matplotlib.axes import Axes

from benchmark.report.cells import Cell, Group, given
from benchmark.report.figures.canvas import (
    Drawing,
    evidence,
    heading,
    interval_ends,
    interval_text,
    paired_text,
    pairs_text,
    plain,
    seeds_text,
    sheet,
    value_text,
)
from benchmark.report.figures.svg import tell
from benchmark.report.intervals import Interval
from benchmark.report.measures import accuracy
from benchmark.report.style import INK, MUTED, Looks, Style

_ROW = 0.23
_FRAME = 0.62


def draw_accuracy(group: Group, looks: Looks) -> Drawing | None:
    """Test accuracy: a dot per seed, the mean with its interval, the baseline's mean as a line."""
    if not group.runs:
        return None
    figure = sheet(_FRAME + _ROW * len(group.cells))
    axes = figure.subplots()
    for y, cell in enumerate(group.cells):
        look, seeds = looks[cell.method], [accuracy(run) for run in cell.runs]
        if seeds:
            dots = {"jitter": False, "size": 2.6, "alpha": 0.6, "linewidth": 0}
            sns.stripplot(x=seeds, y=[y - 0.24] * cell.n, orient="h", native_scale=True, color=look.colour, ax=axes, **dots)
            texts = [f"{cell.method}, seed {run.seed}: {value:.2f} %" for run, value in zip(cell.runs, seeds, strict=True)]
            tell(axes.collections[-1], f"{cell.method}: single seeds", texts)
            _mark(axes, seeds, y + 0.1, look, value_text(cell.method, given(cell.accuracy), "%"))
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


def draw_difference(group: Group, looks: Looks) -> Drawing | None:
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
            told = value_text(f"{cell.method} − {group.baseline}", cell.difference, "points")
            _mark(axes, cell.difference.values, y, looks[cell.method], told)
            axes.text(1.03, y, cell.difference.signed(), transform=axes.get_yaxis_transform(), va="center", fontsize=7)
        else:
            say(axes, y, "not paired" if cell.n else "no finished run")
    label_rows(axes, cells)
    focus(axes, {y: cell.difference for y, cell in enumerate(cells) if cell.difference}, always=0.0)
    axes.set_xlabel(plain(f"Difference to {group.baseline} (percentage points)"))
    words = pairs_text(known)
    heading(figure, f"{group.title}, {words}" + (", 95 % intervals" if any(given(cell.difference).n > 1 for cell in known) else ""))
    listed = ", ".join(f"{cell.method} {given(cell.difference).mean:+.1f}" for cell in known)
    return Drawing(
        name=f"difference-{group.slug}",
        title=f"Paired difference to {group.baseline}: {group.title}",
        caption=f"Difference in test accuracy to {group.baseline} at the same seed (same subset, order, crops and pairs), {words}; "
        f"bars and brackets: {paired_text(known)}.",
        alt=f"Mean paired difference to {group.baseline} in points on {group.title}: {listed}.",
        figure=figure,
    )


def _mark(axes: Axes, values: Sequence[float], y: float, look: Style, text: str) -> None:
    """The mean of ``values`` with its t-interval, which show ``text``."""
    before = len(axes.get_lines())
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.4, "markersize": 4.5 * look.size, "linestyle": "none", "zorder": 3}
    bar = {"zorder": 2, "linewidth": 1.3, "solid_capstyle": "butt"}
    where = {"x": list(values), "y": [y] * len(values), "orient": "h", "native_scale": True, "ax": axes}
    sns.pointplot(**where, errorbar=interval_ends, color=look.colour, marker=look.marker, err_kws=bar, **edge)
    for line in axes.get_lines()[before:]:
        tell(line, text)


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
        elif interval.low is not None and interval.high is not None:
            cut = [(edge, marker) for edge, marker, off in ((low, "<", interval.low < low), (high, ">", interval.high > high)) if off]
            for edge, marker in cut:
                axes.plot(edge, y, marker=marker, color=MUTED, markersize=3.5, markeredgewidth=0, clip_on=False)


def window(intervals: Sequence[Interval]) -> tuple[float, float] | None:
    """(low, high) that keeps most methods legible, or None when everything fits.

    The window reaches from the quartiles of the means outward by twice their distance, three times the median
    half width or one unit, whichever is most. It is used only where all intervals together would take more than
    1.5 times its width; what it cuts off has to be marked.
    """
    if len(intervals) < 4:
        return None
    means = sorted(interval.mean for interval in intervals)
    halves = sorted(interval.half_width or 0.0 for interval in intervals)
    first, third = means[len(means) // 4], means[(3 * len(means) - 1) // 4]
    reach = max(2 * (third - first), 3 * halves[len(halves) // 2], 1.0)
    ends = [(i.low if i.low is not None else i.mean, i.high if i.high is not None else i.mean) for i in intervals]
    lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
    low, high = max(lowest, first - reach), min(highest, third + reach)
    return (low, high) if highest - lowest > 1.5 * (high - low) else None


def say(axes: Axes, y: float, text: str, x: float = 0.5, align: str = "center") -> None:
    """Write ``text`` in the row at ``y``, ``x`` as a part of the axes' width."""
    axes.text(x, y, text, transform=axes.get_yaxis_transform(), ha=align, va="center", fontsize=7, color=MUTED)


def label_rows(axes: Axes, cells: Sequence[Cell]) -> None:
    """One row per cell from the top, named, with its seeds where some are missing."""
    labels = [cell.method if cell.n == cell.expected else f"{cell.method} ({cell.n} of {cell.expected})" for cell in cells]
    axes.set_yticks(range(len(cells)), map(plain, labels))
    axes.set_ylim(len(cells) - 0.45, -0.55)
    axes.set_ylabel("")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
