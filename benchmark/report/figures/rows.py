"""Figures with one row per method or change: accuracy, the paired differences to the baseline, and what each change of an ablation does."""

from collections.abc import Mapping, Sequence

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.report.cells import Cell, Group, given
from benchmark.report.effects import PANELS, Effect, effects
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
from benchmark.report.measures import CLAIMABLE, accuracy
from benchmark.report.style import INK, MUTED, RULE, WIDTH, Looks, Style

_ROW, _FRAME = 0.23, 0.62
"""Height of a method's row and of what stands around all rows, in inches."""

_CHANGE_ROW, _CHANGE_FRAME = 0.36, 0.95
"""The same of the ablation, whose rows hold two lines."""


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


_LONGEST = 46
"""Characters of a change that fit under a method's name."""

_SPLITS = (("test", -0.13, True), ("train", 0.13, False))
"""Split, its place in a row, whether its marker is filled."""


def draw_ablation(group: Group, looks: Looks) -> Drawing | None:
    """Paired differences to the baseline, a panel per measure; only where the baseline is a full method with two variants."""
    found = effects(group)
    if not found:
        return None
    figure = Figure(figsize=(2 * WIDTH, _CHANGE_FRAME + _CHANGE_ROW * len(found)), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (metric, name) in zip(panels, PANELS, strict=True):
        axes.axvline(0, color=INK, linewidth=0.7, zorder=0.5)
        for y, effect in enumerate(found):
            _row(axes, y, effect, metric, looks, group.baseline)
        axes.set_xlabel(plain(name))
        axes.set_ylabel("")
    _label(panels[0], found)
    _legend(figure)
    cells = [effect.cell for effect in found if effect.cell.difference]
    words = pairs_text(cells)
    heading(figure, f"{group.title}, difference to the full {group.baseline}, {words}, 95 % intervals")
    key = ("accuracy", "test")
    listed = ", ".join(f"{e.name} {e.differences[key].mean:+.1f}" for e in found if key in e.differences)
    return Drawing(
        name=f"ablation-{group.slug}",
        title=f"Ablation of {group.baseline}: {group.title}",
        caption=f"Differences to the full {group.baseline} at the same seed, {words}: {paired_text(cells)}. Left of zero in the first "
        "panel is what a change costs in accuracy; right of zero in the others is less linear. Filled: test; hollow: train. "
        "Under each name: the options that differ; the last rows are other methods.",
        alt=f"Mean paired difference in test accuracy to {group.baseline}, in points, on {group.title}: {listed}.",
        figure=figure,
    )


def _row(axes: Axes, y: int, effect: Effect, metric: str, looks: Looks, baseline: str) -> None:
    look, drawn = looks[effect.cell.method], False
    for split, shift, filled in _SPLITS:
        of = effect.differences.get((metric, split))
        if of is None:
            continue
        drawn, before = True, len(axes.get_lines())
        marker = {"markersize": 4.2 * look.size, "linestyle": "none", "markerfacecolor": look.colour if filled else "white", "zorder": 3}
        bar = {"linewidth": 1.3 if filled else 0.8, "zorder": 2, "solid_capstyle": "butt"}
        where = {"x": list(of.values), "y": [y + shift] * of.n, "orient": "h", "native_scale": True, "ax": axes}
        edge = {"markeredgewidth": 0.9, "markeredgecolor": look.colour}
        sns.pointplot(**where, errorbar=interval_ends, color=look.colour, marker=look.marker, err_kws=bar, **marker, **edge)
        shown = of.signed(CLAIMABLE[metric, split].form)
        text = f"{effect.cell.method} − {baseline}, {split}: {shown}, n = {of.n}"
        for line in axes.get_lines()[before:]:
            tell(line, text)
    if not drawn:
        say(axes, y, f"no {CLAIMABLE[metric, 'test'].title.lower()}")


def _label(axes: Axes, found: Sequence[Effect]) -> None:
    """A row per effect from the top: the method and, below it, the options that changed."""
    names = []
    for effect in found:
        text = effect.change if len(effect.change) <= _LONGEST else effect.change[: _LONGEST - 1] + "…"
        names.append(plain(f"{effect.cell.method}\n{text}" if text else effect.cell.method))
    axes.set_yticks(range(len(found)), names, fontsize=7, linespacing=1.15)
    axes.set_ylim(len(found) - 0.45, -0.55)
    first = next((y for y, effect in enumerate(found) if not effect.change), None)
    for panel in axes.figure.axes:
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="y", visible=False)
        if first:
            panel.axhline(first - 0.5, color=RULE, linewidth=0.7)


def _legend(figure: Figure) -> None:
    marks = [
        Line2D([], [], color=MUTED, marker="o", markersize=4, linewidth=1.3 if filled else 0.8, label=split, markerfacecolor=face)
        for split, _, filled in _SPLITS
        for face in [MUTED if filled else "white"]
    ]
    figure.legend(handles=marks, loc="outside lower right", ncols=2)
