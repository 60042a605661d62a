"""Figures with one point per method: accuracy against linearity, and against cost; and mean ranks over data sets, with the methods that
are not told apart joined (critical-difference diagram, Demšar 2006, figure 1).
"""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from benchmark.report.across import Across
from benchmark.report.cells import Cell, Group, given
from benchmark.report.figures.canvas import (
    LEGEND_ROW,
    Drawing,
    evidence,
    heading,
    interval_text,
    legend,
    legend_rows,
    number_points,
    numbering,
    plain,
    seeds_text,
    sheet,
)
from benchmark.report.figures.svg import tell
from benchmark.report.intervals import Interval, pareto_front
from benchmark.report.measures import gap, minutes
from benchmark.report.style import INK, MUTED, Looks


def draw_gap_accuracy(group: Group, looks: Looks) -> Drawing | None:
    """Test accuracy against the feature and the label gap on test pairs."""
    measures = {"feature_rel": "feature gap on test pairs\n(relative)", "label_l1": "label gap on test pairs\n(L1)"}
    cells = [cell for cell in group.cells if cell.interval(gap("test", "label_l1"))]
    if len(cells) < 2:
        return None
    methods = [cell.method for cell in cells]
    numbers = numbering(methods, looks)
    figure = sheet(2.2 + LEGEND_ROW * legend_rows(methods))
    grid = figure.subplots(1, 2, sharey=True)
    for axes, (measure, label) in zip(grid, measures.items(), strict=True):
        _points(axes, cells, [given(cell.interval(gap("test", measure))) for cell in cells], looks)
        axes.set_xlabel(label)
    grid[0].set_ylabel("Test accuracy (%)")
    heading(figure, f"{group.title}, {evidence(cells)}")
    legend(figure, methods, numbers, looks)
    for axes, measure in zip(grid, measures, strict=True):
        number_points(axes, {c.method: (given(c.interval(gap("test", measure))).mean, given(c.accuracy).mean) for c in cells}, numbers)
    found = [(cell.method, given(cell.accuracy), given(cell.interval(gap("test", "label_l1")))) for cell in cells]
    listed = ", ".join(f"{method} {reached.mean:.1f} % at {label_gap.mean:.3f}" for method, reached, label_gap in found)
    return Drawing(
        name=f"gap_accuracy-{group.slug}",
        title=f"Linearity gap against accuracy: {group.title}",
        caption=f"One point per method: means, {seeds_text(cells)}; bars: {interval_text(cells)}. "
        "Left is more linear, up is more accurate. A trend over methods is no proof of cause: they differ in more than linearity.",
        alt=f"Test accuracy against label gap on test pairs: {listed}.",
        figure=figure,
    )


def draw_cost_accuracy(group: Group, looks: Looks) -> Drawing | None:
    """Test accuracy against wall time per run, with the Pareto front; none where the hardware differs."""
    cells = [cell for cell in group.cells if cell.n]
    if len(cells) < 2 or len(set().union(*(cell.hardware for cell in cells))) > 1:
        return None
    methods = [cell.method for cell in cells]
    numbers = numbering(methods, looks)
    figure = sheet(2.2 + LEGEND_ROW * legend_rows(methods))
    axes = figure.subplots()
    costs, reached = [given(cell.interval(minutes)) for cell in cells], [given(cell.accuracy) for cell in cells]
    front = pareto_front([(cost.mean, height.mean) for cost, height in zip(costs, reached, strict=True)])
    axes.plot(
        [costs[i].mean for i in front],
        [reached[i].mean for i in front],
        color=MUTED,
        linewidth=0.7,
        linestyle=(0, (3, 2)),
        drawstyle="steps-post",
        zorder=0.5,
    )
    _points(axes, cells, costs, looks)
    _cost_axis(axes, [cost.mean for cost in costs])
    axes.set_ylabel("Test accuracy (%)")
    heading(figure, f"{group.title}, {evidence(cells)}")
    legend(figure, methods, numbers, looks)
    number_points(axes, {cell.method: (cost.mean, given(cell.accuracy).mean) for cell, cost in zip(cells, costs, strict=True)}, numbers)
    ends = zip(methods, reached, costs, strict=True)
    listed = ", ".join(f"{method} {height.mean:.1f} % in {cost.mean:.2f} min" for method, height, cost in ends)
    return Drawing(
        name=f"cost_accuracy-{group.slug}",
        title=f"Accuracy against cost: {group.title}",
        caption=f"Wall time of a whole run (set-up passes, training, evaluation) on {_hardware(cells)}; means, {seeds_text(cells)}; "
        f"bars: {interval_text(cells)}. Dashed: methods that no other beats in both means (intervals not considered).",
        alt=f"Test accuracy against minutes per run: {listed}.",
        figure=figure,
    )


def _cost_axis(axes: Axes, costs: Sequence[float]) -> None:
    if max(costs) > 10 * min(costs):
        axes.set_xscale("log")
        axes.set_xlabel("Wall time per run (minutes, log scale)")
    else:
        axes.set_xlabel("Wall time per run (minutes)")


def _hardware(cells: Sequence[Cell]) -> str:
    ((device, threads, workers),) = set().union(*(cell.hardware for cell in cells))
    shared = f", {workers} workers per GPU" if workers > 1 else ""
    return f"{device} with {threads} thread{'s' if threads != 1 else ''}{shared}"


def _points(axes: Axes, cells: Sequence[Cell], costs: Sequence[Interval], looks: Looks) -> None:
    """Each cell's accuracy over its ``costs``, with the bars of both intervals."""
    for cell, x in zip(cells, costs, strict=True):
        y, colour = given(cell.accuracy), looks[cell.method].colour
        axes.errorbar(x.mean, y.mean, xerr=x.half_width, yerr=y.half_width, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.45, zorder=2)
    names = [cell.method for cell in cells]
    sns.scatterplot(
        x=[cost.mean for cost in costs],
        y=[given(cell.accuracy).mean for cell in cells],
        hue=names,
        palette={name: looks[name].colour for name in names},
        style=names,
        markers={name: looks[name].marker for name in names},
        size=names,
        sizes={name: (5 * looks[name].size) ** 2 for name in names},
        edgecolor="white",
        linewidth=0.4,
        zorder=3,
        legend=False,
        ax=axes,
    )
    texts = [f"{cell.method}: {given(cell.accuracy).mean:.2f} % at {cost.mean:.3g}" for cell, cost in zip(cells, costs, strict=True)]
    tell(axes.collections[-1], "one point per method", texts)


NAME = "critical_difference"

_ROW = 0.19
_FRAME = 0.55


def draw_critical(across: Across, looks: Looks) -> Drawing | None:
    """scikit-posthocs' diagram: methods at their mean ranks, bars over those that Nemenyi's test cannot separate; none without a test."""
    if across.pairs is None:
        return None
    figure = sheet(1)
    axes = figure.subplots()
    _diagram(axes, across, looks)
    rows = -axes.get_ylim()[0]
    figure.set_figheight(_FRAME + _ROW * rows)
    heading(figure, f"n = {len(across.blocks)} data sets, mean ranks (1 is best), Nemenyi's test at 5 %")
    order = sorted(range(len(across.methods)), key=across.ranks.__getitem__)
    outcome = "" if across.differ else " Friedman's test does not find that the methods differ, so none are told apart."
    listed = ", ".join(f"{across.methods[m]} {across.ranks[m]:.2f}" for m in order)
    return Drawing(
        name=NAME,
        title="Critical-difference diagram",
        caption=f"Mean rank of each method over {len(across.blocks)} data sets; the value on a data set is the mean over its fractions. "
        "Each thick bar spans methods that Nemenyi's test at 5 % does not tell apart "
        f"(Friedman's test: p = {across.p:.4f}).{outcome}",
        alt=f"Mean ranks, best first: {listed}.",
        figure=figure,
    )


def _diagram(axes: Axes, across: Across, looks: Looks) -> None:
    from scikit_posthocs import critical_difference_diagram

    names = list(map(plain, across.methods))
    p_values = pd.DataFrame(across.pairs if across.differ else 1.0, index=names, columns=names)
    axes.grid(visible=False)
    critical_difference_diagram(
        dict(zip(names, across.ranks, strict=True)),
        p_values,
        ax=axes,
        label_fmt_left="{label}  {rank:.2f}",
        label_fmt_right="{rank:.2f}  {label}",
        label_props={"fontsize": 7},
        elbow_props={"linewidth": 0.8},
        marker_props={"s": 12},
        crossbar_props={"color": INK, "linewidth": 2.2, "solid_capstyle": "round"},
        color_palette={plain(name): looks[name].colour for name in across.methods},
    )
    axes.spines["top"].set_visible(True)
