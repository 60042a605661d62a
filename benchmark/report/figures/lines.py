"""Figures with one line per method: linearity against lambda, loss terms, accuracy against the fraction, tuning budgets."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.report.budget import curve
from benchmark.report.cells import Cell, Group, file_name, given, percent
from benchmark.report.collect import MEASURES, Tuned
from benchmark.report.figures.canvas import (
    LEGEND_ROW,
    Drawing,
    draw_lines,
    evidence,
    heading,
    interval_text,
    legend,
    legend_rows,
    number_line,
    numbering,
    paired_text,
    pairs_text,
    plain,
    seeds_text,
    sheet,
)
from benchmark.report.intervals import mean
from benchmark.report.measures import SPLITS, accuracy
from benchmark.report.style import INK, Looks

_AXES = {
    "feature_gap_rel": "feature gap, relative to\nmean ‖f(xᵢ)−f(xⱼ)‖",
    "feature_gap": "feature gap, relative to\nthe mean norms",
    "label_l1": "label gap,\nL1 distance",
    "label_kl": "label gap,\nKL to mixed label (nats)",
}
"""How an axis names the measures of ``linearity.csv``."""

MAX_POINTS = 200
"""A curve keeps at most this many steps: more cannot be told apart at one-column width."""

Series = Mapping[tuple[str, str], Sequence[tuple[float, float]]]
"""Per (split, measure) the (lambda, value) points of a method's line, by rising lambda, one for each seed."""


def linearity_series(cell: Cell) -> Series:
    """What the runs of ``cell`` measured; empty without measurements."""
    return _by_lambda([row for run in cell.runs for row in run.linearity()])


def paired_series(cell: Cell, base: Cell) -> Series:
    """Differences cell - base at the same seed and lambda; empty where the two do not pair or were not measured."""
    ours, theirs = ({run.seed: run for run in c.runs} for c in (cell, base))
    rows = []
    for seed in sorted(ours.keys() & theirs.keys()) if cell.difference else ():
        before = {(row["split"], row["lam"]): row for row in theirs[seed].linearity()}
        for row in ours[seed].linearity():
            other = before.get((row["split"], row["lam"]))
            if other:
                rows.append({"split": row["split"], "lam": row["lam"]} | {m: row[m] - other[m] for m in MEASURES})
    return _by_lambda(rows)


def _by_lambda(rows: Sequence[Mapping]) -> Series:
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["lam"]):
        for measure in MEASURES:
            found[row["split"], measure].append((row["lam"], row[measure]))
    return dict(found)


def draw_linearity_feature(group: Group, looks: Looks, splits: Sequence[str] = SPLITS) -> Drawing | None:
    """Both feature gaps against lambda."""
    return _draw_linearity(group, looks, "feature", ("feature_gap_rel", "feature_gap"), splits)


def draw_linearity_label(group: Group, looks: Looks, splits: Sequence[str] = SPLITS) -> Drawing | None:
    """Both label gaps against lambda."""
    return _draw_linearity(group, looks, "label", ("label_l1", "label_kl"), splits)


def _draw_linearity(group: Group, looks: Looks, kind: str, measures: Sequence[str], splits: Sequence[str]) -> Drawing | None:
    series = {cell.method: lines for cell in group.cells if (lines := linearity_series(cell))}
    if not series:
        return None
    cells = [cell for cell in group.cells if cell.method in series]
    figure = _linearity_grid(series, measures, looks, f"{group.title}, {evidence(cells)}", splits, floor=0)
    note = " The KL gap need not vanish at λ = 0 and 1, where the label is one-hot and the output is not." if kind == "label" else ""
    peaks = {method: max(_means(lines["test", measures[0]])) for method, lines in series.items()}
    listed = ", ".join(f"{method} {peak:.3f}" for method, peak in peaks.items())
    return Drawing(
        name=f"linearity_{kind}-{group.slug}",
        title=f"Linearity of the {kind}s: {group.title}",
        caption=f"How far the {kind} of a mixed image is from the mix of the two {kind}s, on pairs of training images (left) and of test "
        f"images (right); lower is more linear. Lines: means, {seeds_text(cells)}; bands: {interval_text(cells)}.{note}",
        alt=f"Largest mean {kind} gap over lambda on test pairs: {listed}.",
        figure=figure,
    )


def draw_linearity_difference(group: Group, looks: Looks, splits: Sequence[str] = SPLITS) -> Drawing | None:
    """Paired difference to the baseline of one feature and one label gap, where lines that lie on each other come apart."""
    measures, base = ("feature_gap_rel", "label_l1"), group.cell(group.baseline)
    others = [cell for cell in group.cells if cell is not base]
    series = {cell.method: lines for cell in others if base and (lines := paired_series(cell, base))}
    if not series:
        return None
    cells = [cell for cell in others if cell.method in series]
    words = pairs_text(cells)
    title = f"{group.title}, {words}" + (", 95 % intervals" if any(given(cell.difference).n > 1 for cell in cells) else "")
    figure = _linearity_grid(series, measures, looks, title, splits)
    for axes in figure.axes:
        axes.axhline(0, color=INK, linewidth=0.7, zorder=0.5)
    ends = {method: min(_means(lines["test", measures[1]]), key=lambda v: -abs(v)) for method, lines in series.items()}
    listed = ", ".join(f"{method} {value:+.3f}" for method, value in ends.items())
    return Drawing(
        name=f"linearity_difference-{group.slug}",
        title=f"Linearity beside {group.baseline}: {group.title}",
        caption=f"Difference of the gaps to those of {group.baseline} at the same seed, on the same pairs of images, {words}; below zero "
        f"is more linear than {group.baseline}. Bands: {paired_text(cells)}.",
        alt=f"Largest mean difference in label gap to {group.baseline} over lambda on test pairs: {listed}.",
        figure=figure,
    )


def _linearity_grid(
    series: Mapping[str, Series], measures: Sequence[str], looks: Looks, title: str, splits: Sequence[str], floor: float | None = None
) -> Figure:
    """Measures in rows, pairs of the ``splits`` in columns, a line with its band per method; ``floor``: lower end of the axes."""
    methods = list(series)
    numbers = numbering(methods, looks)
    figure = sheet(0.5 + 1.3 * len(measures) + LEGEND_ROW * legend_rows(methods))
    grid = figure.subplots(len(measures), len(splits), sharex=True, sharey="row", squeeze=False)
    for row, measure in zip(grid, measures, strict=True):
        for axes, split in zip(row, splits, strict=True):
            _lines(axes, {method: lines[split, measure] for method, lines in series.items()}, numbers, looks)
        row[0].set_ylabel(_AXES[measure] if floor is not None else f"Δ {_AXES[measure]}")
        row[0].set_ylim(bottom=floor)
    for top, bottom, split in zip(grid[0], grid[-1], splits, strict=True):
        top.set_title(f"{split} pairs")
        bottom.set_xlabel("λ, weight of image i")
    heading(figure, title)
    legend(figure, methods, numbers, looks)
    return figure


def loss_series(cell: Cell) -> dict[str, list[tuple[int, float]]]:
    """Per loss term the (step, mean over the runs that logged it there), thinned to ``MAX_POINTS``."""
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in cell.runs:
        for row in run.curves():
            for key, value in row.items():
                if key.startswith("loss/"):
                    values[key.removeprefix("loss/")][int(row["step"])].append(value)
    return {term: _thin([(step, sum(v) / len(v)) for step, v in sorted(by_step.items())]) for term, by_step in values.items()}


def _thin(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(points) <= MAX_POINTS:
        return points
    return [points[round(i * (len(points) - 1) / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]


def draw_loss_terms(group: Group, looks: Looks) -> Drawing | None:
    """Every logged loss term against the step, one panel per term."""
    curves = {cell.method: series for cell in group.cells if (series := loss_series(cell))}
    if not curves:
        return None
    terms = list(dict.fromkeys(term for series in curves.values() for term in series))
    terms.sort(key=lambda term: {"cross_entropy": 0, "total": 1}.get(term, 2))
    rows, numbers = -(-len(terms) // 2), numbering(list(curves), looks)
    figure = sheet(0.5 + 1.15 * rows + LEGEND_ROW * legend_rows(list(curves)))
    grid = figure.subplots(rows, 2, sharex=True, squeeze=False).ravel()
    for axes, term in zip(grid, terms, strict=False):
        axes.set_title(plain(term))
        _curves(axes, {method: series[term] for method, series in curves.items() if term in series}, numbers, looks)
        _scale(axes)
    for axes in grid[len(terms) :]:
        axes.set_axis_off()
    for axes in grid[max(0, len(terms) - 2) : len(terms)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("training step")
    figure.supylabel("loss term,\nas weighted in the sum", fontsize=7, linespacing=1.1)
    cells = [cell for cell in group.cells if cell.method in curves]
    heading(figure, f"{group.title}, mean over {seeds_text(cells)}")
    legend(figure, list(curves), numbers, looks)
    return Drawing(
        name=f"loss_terms-{group.slug}",
        title=f"Learning curves by loss term: {group.title}",
        caption=f"Each term as it enters the loss, on the training batches (for mixing methods: mixed images), "
        f"mean over {seeds_text(cells)}. Totals of different methods are not comparable: they sum different terms.",
        alt=f"Training loss by step, one panel for each of: {', '.join(terms)}.",
        figure=figure,
    )


def _curves(axes: Axes, lines: Mapping[str, Sequence[tuple[int, float]]], numbers: Mapping[str, str], looks: Looks) -> None:
    draw_lines(axes, lines, looks, estimator=None, linewidth=0.9)
    for line, (method, points) in zip(axes.get_lines(), lines.items(), strict=True):
        every = max(1, len(points) // 4)
        line.set(markersize=2.5 * looks[method].size, markevery=(every // 2, every))
        number_line(axes, points, method, numbers)


def _scale(axes: Axes) -> None:
    """Logarithmic where the values are positive and span more than a factor of 30."""
    values = [value for line in axes.get_lines() for value in cast(Sequence[float], line.get_ydata())]
    if min(values) > 0 and max(values) > 30 * min(values):
        axes.set_yscale("log")
        axes.minorticks_off()


def draw_fractions(groups: Sequence[Group], looks: Looks) -> Drawing | None:
    """Test accuracy against the fraction of labels, of the groups of one data set."""
    groups = sorted((group for group in groups if group.runs), key=lambda group: group.fraction)
    if len(groups) < 2:
        return None
    methods = list(dict.fromkeys(cell.method for group in groups for cell in group.cells if cell.n))
    numbers = numbering(methods, looks)
    figure = sheet(2.3 + LEGEND_ROW * legend_rows(methods))
    axes = figure.subplots()
    points: dict[str, list[tuple[float, float]]] = {method: [] for method in methods}
    for group in groups:
        for cell in group.cells:
            points.get(cell.method, []).extend((100 * group.fraction, accuracy(run)) for run in cell.runs)
    _lines(axes, points, numbers, looks)
    axes.set_xticks([100 * group.fraction for group in groups])
    axes.set_xlabel("Training labels used (%)")
    axes.set_ylabel("Test accuracy (%)")
    cells = [cell for group in groups for cell in group.cells]
    dataset = groups[0].dataset
    heading(figure, f"{dataset}, {evidence(cells)}")
    legend(figure, methods, numbers, looks)
    return Drawing(
        name=f"fractions-{file_name(dataset)}",
        title=f"Accuracy against the fraction of labels: {dataset}",
        caption=f"Lines: means, {seeds_text(cells)}; bands: {interval_text(cells)}. "
        "Subsets are nested and the same for all methods at a seed.",
        alt=f"Test accuracy on {dataset} against the percentage of training labels, one line for each of {', '.join(methods)}.",
        figure=figure,
    )


def draw_budget(found: Sequence[Tuned], looks: Looks) -> Drawing:
    """Expected best validation accuracy against the number of trials, of one data set and fraction."""
    methods = [tuned.method for tuned in found]
    numbers = numbering(methods, looks)
    dataset, fraction = found[0].group
    title = f"{dataset}, {percent(fraction)} of the labels"
    figure = sheet(2.2 + LEGEND_ROW * legend_rows(methods))
    axes = figure.subplots()
    points = {tuned.method: [(k, 100 * value) for k, value in enumerate(curve(tuned), start=1)] for tuned in found}
    draw_lines(axes, points, looks, estimator=None)
    for method in methods:
        number_line(axes, points[method], method, numbers)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trials per method")
    axes.set_ylabel("Expected best\nvalidation accuracy (%)")
    trials = {len(tuned.scores) for tuned in found}
    count = f"{max(trials)}" if len(trials) == 1 else f"{min(trials)} to {max(trials)}"
    seeds = max(tuned.seeds for tuned in found)
    per = f"each the mean over {seeds} seed{'' if seeds == 1 else 's'}"
    heading(figure, f"{title}, {count} trials per method")
    legend(figure, methods, numbers, looks)
    listed = ", ".join(f"{t.method} {100 * curve(t)[0]:.1f} % with one trial, {100 * curve(t)[-1]:.1f} % with all" for t in found)
    return Drawing(
        name=f"budget-{file_name(dataset)}-{fraction:g}",
        title=f"What a tuning budget buys: {title}",
        caption=f"Mean, over all choices of k of the {count} trials ({per}), of the best validation accuracy among them; a trial that "
        "failed counts as 0. Validation accuracy of the best trial flatters it: the trials were ranked by it.",
        alt=f"Expected best validation accuracy on {title}: {listed}.",
        figure=figure,
    )


def _lines(axes: Axes, lines: Mapping[str, Sequence[tuple[float, float]]], numbers: Mapping[str, str], looks: Looks) -> None:
    """A line per method through its means, with the band of its interval over seeds."""
    draw_lines(axes, lines, looks)
    for method, points in lines.items():
        number_line(axes, list(zip(dict.fromkeys(x for x, _ in points), _means(points), strict=True)), method, numbers)


def _means(points: Sequence[tuple[float, float]]) -> list[float]:
    """Mean over the seeds at each x, by first appearance."""
    return [mean([y for other, y in points if other == x]) for x in dict.fromkeys(x for x, _ in points)]
