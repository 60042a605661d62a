"""Ablation: what each change of the full method does to accuracy and to both linearity gaps, on train and test, side by side."""

from collections.abc import Sequence

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.report.cells import Group
from benchmark.report.effects import PANELS, Effect, effects
from benchmark.report.figures.canvas import Drawing, heading, interval_ends, paired_text, pairs_text, plain
from benchmark.report.figures.rows import say
from benchmark.report.figures.svg import tell
from benchmark.report.measures import CLAIMABLE
from benchmark.report.style import INK, MUTED, RULE, WIDTH, Looks

_ROW = 0.36
_FRAME = 0.95
_LONGEST = 46
"""Characters of a change that fit under a method's name."""

_SPLITS = (("test", -0.13, True), ("train", 0.13, False))
"""Split, its place in a row, whether its marker is filled."""


def draw_ablation(group: Group, looks: Looks) -> Drawing | None:
    """Paired differences to the baseline, a panel per measure; only where the baseline is a full method with two variants."""
    found = effects(group)
    if not found:
        return None
    figure = Figure(figsize=(2 * WIDTH, _FRAME + _ROW * len(found)), layout="constrained")
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
