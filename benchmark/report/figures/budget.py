"""Figure: expected best validation accuracy against the number of trials."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from benchmark.report.budget import Tuned, curve
from benchmark.report.cells import percent
from benchmark.report.figures.canvas import LEGEND_ROW, Drawing, heading, legend, legend_rows, sheet
from benchmark.report.figures.labels import number_line, numbering
from benchmark.report.figures.write import Picture, write_drawing
from benchmark.report.style import style


def draw_budgets(found: Sequence[Tuned], folder: Path) -> list[Picture]:
    """One figure per data set × fraction, as PNG and SVG in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = dict.fromkeys(tuned.group for tuned in found)
    return [write_drawing(draw_budget, [t for t in found if t.group == group], f"{group[0]}-{group[1]:g}", folder) for group in groups]


def draw_budget(found: Sequence[Tuned]) -> Drawing:
    """One line per method of one data set and fraction."""
    methods = [tuned.method for tuned in found]
    numbers = numbering(methods)
    dataset, fraction = found[0].group
    title = f"{dataset}, {percent(fraction)} of the labels"
    figure = sheet(2.2 + LEGEND_ROW * legend_rows(methods))
    axes = figure.subplots()
    for tuned in found:
        look, values = style(tuned.method), [100 * value for value in curve(tuned)]
        axes.plot(
            range(1, len(values) + 1),
            values,
            color=look.colour,
            marker=look.marker,
            linestyle=look.line,
            markersize=3 * look.size,
            markeredgewidth=0,
        )
        number_line(axes, list(enumerate(values, start=1)), tuned.method, numbers)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trials per method")
    axes.set_ylabel("Expected best\nvalidation accuracy (%)")
    trials = {len(tuned.scores) for tuned in found}
    count = f"{max(trials)}" if len(trials) == 1 else f"{min(trials)} to {max(trials)}"
    seeds = max(tuned.seeds for tuned in found)
    per = f"each the mean over {seeds} seed{'' if seeds == 1 else 's'}"
    heading(figure, f"{title}, {count} trials per method")
    legend(figure, methods, numbers)
    listed = ", ".join(f"{t.method} {100 * curve(t)[0]:.1f} % with one trial, {100 * curve(t)[-1]:.1f} % with all" for t in found)
    return Drawing(
        name=f"budget-{dataset}-{fraction:g}",
        title=f"What a tuning budget buys: {title}",
        caption=f"Mean, over all choices of k of the {count} trials ({per}), of the best validation accuracy among them; a trial that "
        "failed counts as 0. Validation accuracy of the best trial flatters it: the trials were ranked by it.",
        alt=f"Expected best validation accuracy on {title}: {listed}.",
        figure=figure,
    )
