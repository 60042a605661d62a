"""Ablation bars: what each change of the full method costs or gains."""

from matplotlib.axes import Axes

from benchmark.report.cells import Cell, Group
from benchmark.report.figures.canvas import Drawing, heading, paired_text, pairs_text, sheet
from benchmark.report.figures.rows import difference_text, focus, label_rows, say
from benchmark.report.style import INK, MUTED, style
from benchmark.report.variants import variants

_ROW = 0.3
_FRAME = 0.66
_LONGEST = 44
"""Characters of a change that fit under a bar."""


def draw_ablation(group: Group) -> Drawing | None:
    """Paired difference to the baseline of its variants; none with fewer than two, so only where the baseline is the full method."""
    rows = variants(group)
    known = [cell for cell, _ in rows if cell.difference]
    if len(known) < 2:
        return None
    figure = sheet(_FRAME + _ROW * len(rows))
    axes = figure.subplots()
    axes.axvline(0, color=INK, linewidth=0.7)
    for y, (cell, change) in enumerate(rows):
        _bar(axes, y, cell)
        _say_change(axes, y, change)
        axes.text(1.03, y, difference_text(cell.difference), transform=axes.get_yaxis_transform(), va="center", fontsize=6)
    label_rows(axes, [cell for cell, _ in rows])
    axes.set_ylim(bottom=len(rows) - 0.3)
    focus(axes, {y: cell.difference for y, (cell, _) in enumerate(rows) if cell.difference}, always=0.0)
    axes.set_xlabel(f"Difference to the full {group.baseline} (percentage points)")
    words = pairs_text(known)
    heading(figure, f"{group.title}, {words}" + (", 95 % intervals" if any(cell.difference.n > 1 for cell in known) else ""))
    listed = ", ".join(f"{cell.method} ({change}) {cell.difference.mean:+.1f}" for cell, change in rows if cell.difference)
    return Drawing(
        name=f"ablation-{group.slug}",
        title=f"Ablation of {group.baseline}: {group.title}",
        caption=f"Difference in test accuracy to the full {group.baseline} at the same seed, {words}; a bar to the left is what the change "
        f"costs. Thin lines and brackets: {paired_text(known)}. "
        "Under each bar: the options that differ.",
        alt=f"Mean paired difference to {group.baseline} in points on {group.title}: {listed}.",
        figure=figure,
    )


def _bar(axes: Axes, y: int, cell: Cell) -> None:
    found = cell.difference
    if found is None:
        say(axes, y, "not paired" if cell.n else "no finished run")
        return
    axes.barh(y - 0.05, found.mean, height=0.5, color=style(cell.method).colour, alpha=0.75)
    if found.half_width is not None:
        axes.plot([found.low, found.high], [y - 0.05] * 2, color=INK, linewidth=0.8, solid_capstyle="butt")


def _say_change(axes: Axes, y: int, change: str) -> None:
    """The changed options under the bar, on a ground of their own so that no line runs through them."""
    text = change if len(change) <= _LONGEST else change[: _LONGEST - 1] + "…"
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
    place = axes.get_yaxis_transform()
    axes.text(0.01, y + 0.42, text, transform=place, va="center", fontsize=5.2, color=MUTED, zorder=3, bbox=ground)
