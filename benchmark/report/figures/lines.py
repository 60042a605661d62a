"""Figures with one line per method: linearity against lambda, loss terms, accuracy against the fraction."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from benchmark.report.cells import Group
from benchmark.report.figures.canvas import (
    LEGEND_ROW,
    Drawing,
    evidence,
    heading,
    interval_text,
    legend,
    legend_rows,
    seeds_text,
    sheet,
)
from benchmark.report.figures.labels import number_line, numbering
from benchmark.report.intervals import Interval
from benchmark.report.series import linearity_series, loss_series
from benchmark.report.style import style

_SPLITS = ("train", "test")

_MEASURES = {
    "feature_gap_rel": "feature gap,\nrelative to ‖f(xᵢ)−f(xⱼ)‖",
    "feature_gap": "feature gap,\nrelative to the norms",
    "label_l1": "label gap,\nL1 distance",
    "label_kl": "label gap,\nKL to mixed label (nats)",
}


def draw_linearity_feature(group: Group) -> Drawing | None:
    """Both feature gaps against lambda."""
    return _draw_linearity(group, "feature", ("feature_gap_rel", "feature_gap"))


def draw_linearity_label(group: Group) -> Drawing | None:
    """Both label gaps against lambda."""
    return _draw_linearity(group, "label", ("label_l1", "label_kl"))


def _draw_linearity(group: Group, kind: str, measures: Sequence[str]) -> Drawing | None:
    series = {cell.method: lines for cell in group.cells if (lines := linearity_series(cell))}
    if not series:
        return None
    methods, numbers = list(series), numbering(list(series))
    cells = [cell for cell in group.cells if cell.method in series]
    figure = sheet(0.5 + 1.3 * len(measures) + LEGEND_ROW * legend_rows(methods))
    grid = figure.subplots(len(measures), 2, sharex=True, sharey="row", squeeze=False)
    for row, measure in zip(grid, measures, strict=True):
        row[0].set_ylabel(_MEASURES[measure])
        for axes, split in zip(row, _SPLITS, strict=True):
            for method, lines in series.items():
                _line(axes, lines[split, measure], method, numbers)
        row[0].set_ylim(bottom=0)
    for top, bottom, split in zip(grid[0], grid[-1], _SPLITS, strict=True):
        top.set_title(f"{split} pairs")
        bottom.set_xlabel("λ, weight of image i")
    heading(figure, f"{group.title}, {evidence(cells)}")
    legend(figure, methods, numbers)
    note = " The KL gap need not vanish at λ = 0 and 1, where the label is one-hot and the output is not." if kind == "label" else ""
    peaks = {method: max(interval.mean for _, interval in lines["test", measures[0]]) for method, lines in series.items()}
    listed = ", ".join(f"{method} {peak:.3f}" for method, peak in peaks.items())
    return Drawing(
        name=f"linearity_{kind}-{group.slug}",
        title=f"Linearity of the {kind}s: {group.title}",
        caption=f"How far the {kind} of a mixed image is from the mix of the two {kind}s, on pairs of training images (left) and of test "
        f"images (right); lower is more linear. Lines: means, {seeds_text(cells)}; bands: {interval_text(cells)}.{note}",
        alt=f"Largest mean {kind} gap over lambda on test pairs: {listed}.",
        figure=figure,
    )


def draw_loss_terms(group: Group) -> Drawing | None:
    """Every logged loss term against the step, one panel per term."""
    curves = {cell.method: series for cell in group.cells if (series := loss_series(cell))}
    if not curves:
        return None
    terms = list(dict.fromkeys(term for series in curves.values() for term in series))
    terms.sort(key=lambda term: {"cross_entropy": 0, "total": 1}.get(term, 2))
    rows, numbers = -(-len(terms) // 2), numbering(list(curves))
    figure = sheet(0.5 + 1.15 * rows + LEGEND_ROW * legend_rows(list(curves)))
    grid = figure.subplots(rows, 2, sharex=True, squeeze=False).ravel()
    for axes, term in zip(grid, terms, strict=False):
        axes.set_title(term)
        for method, series in curves.items():
            if term in series:
                _curve(axes, series[term], method, numbers)
        _scale(axes)
    for axes in grid[len(terms) :]:
        axes.set_axis_off()
    for axes in grid[max(0, len(terms) - 2) : len(terms)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("training step")
    figure.supylabel("loss term, as weighted in the sum", fontsize=7)
    cells = [cell for cell in group.cells if cell.method in curves]
    heading(figure, f"{group.title}, mean over {seeds_text(cells)}")
    legend(figure, list(curves), numbers)
    return Drawing(
        name=f"loss_terms-{group.slug}",
        title=f"Learning curves by loss term: {group.title}",
        caption=f"Each term as it enters the loss, on the training batches (for mixing methods: mixed images), "
        f"mean over {seeds_text(cells)}. Totals of different methods are not comparable: they sum different terms.",
        alt=f"Training loss by step, one panel for each of: {', '.join(terms)}.",
        figure=figure,
    )


def _curve(axes: Axes, points: Sequence[tuple[int, float]], method: str, numbers: Mapping[str, str]) -> None:
    look = style(method)
    steps, values = zip(*points, strict=True)
    every = max(1, len(points) // 4)
    axes.plot(
        steps,
        values,
        color=look.colour,
        linestyle=look.line,
        linewidth=0.9,
        marker=look.marker,
        markersize=2.5 * look.size,
        markeredgewidth=0,
        markevery=(every // 2, every),
    )
    number_line(axes, points, method, numbers)


def _scale(axes: Axes) -> None:
    """Logarithmic where the values are positive and span more than a factor of 30."""
    values = [value for line in axes.get_lines() for value in line.get_ydata()]
    if min(values) > 0 and max(values) > 30 * min(values):
        axes.set_yscale("log")
        axes.minorticks_off()


def draw_fractions(groups: Sequence[Group]) -> Drawing | None:
    """Test accuracy against the fraction of labels, of the groups of one data set."""
    groups = sorted((group for group in groups if group.runs), key=lambda group: group.fraction)
    if len(groups) < 2:
        return None
    methods = list(dict.fromkeys(cell.method for group in groups for cell in group.cells if cell.n))
    numbers = numbering(methods)
    figure = sheet(2.3 + LEGEND_ROW * legend_rows(methods))
    axes = figure.subplots()
    for method in methods:
        cells = [(group.fraction, group.cell(method)) for group in groups]
        _line(axes, [(100 * fraction, cell.accuracy) for fraction, cell in cells if cell and cell.accuracy], method, numbers)
    axes.set_xticks([100 * group.fraction for group in groups])
    axes.set_xlabel("Training labels used (%)")
    axes.set_ylabel("Test accuracy (%)")
    cells = [cell for group in groups for cell in group.cells]
    dataset = groups[0].dataset
    heading(figure, f"{dataset}, {evidence(cells)}")
    legend(figure, methods, numbers)
    return Drawing(
        name=f"fractions-{dataset}",
        title=f"Accuracy against the fraction of labels: {dataset}",
        caption=f"Lines: means, {seeds_text(cells)}; bands: {interval_text(cells)}. "
        "Subsets are nested and the same for all methods at a seed.",
        alt=f"Test accuracy on {dataset} against the percentage of training labels, one line for each of {', '.join(methods)}.",
        figure=figure,
    )


def _line(axes: Axes, points: Sequence[tuple[float, Interval]], method: str, numbers: Mapping[str, str]) -> None:
    look = style(method)
    x = [position for position, _ in points]
    axes.plot(
        x,
        [interval.mean for _, interval in points],
        color=look.colour,
        marker=look.marker,
        linestyle=look.line,
        markersize=3 * look.size,
        markeredgewidth=0,
    )
    banded = [(position, interval) for position, interval in points if interval.half_width is not None]
    if banded:
        low, high = ([getattr(interval, end) for _, interval in banded] for end in ("low", "high"))
        axes.fill_between([position for position, _ in banded], low, high, color=look.colour, alpha=0.1, linewidth=0)
    number_line(axes, [(position, interval.mean) for position, interval in points], method, numbers)
