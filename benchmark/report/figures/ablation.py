"""Ablation bars: what each change of the full method costs or gains. The options that changed are read from the runs' settings."""

from typing import Any

import seaborn as sns
from matplotlib.axes import Axes

from benchmark.report.cells import Cell, Group, given
from benchmark.report.figures.canvas import Drawing, heading, interval_ends, paired_text, pairs_text, plain, sheet, value_text
from benchmark.report.figures.rows import difference_text, focus, label_rows, say
from benchmark.report.figures.svg import tell
from benchmark.report.style import INK, MUTED, Looks

_ROW = 0.36
_FRAME = 0.66
_LONGEST = 34
"""Characters of a change that fit under a bar."""


def draw_ablation(group: Group, looks: Looks) -> Drawing | None:
    """Paired difference to the baseline of its variants; none with fewer than two, so only where the baseline is the full method."""
    rows = variants(group)
    known = [cell for cell, _ in rows if cell.difference]
    if len(known) < 2:
        return None
    figure = sheet(_FRAME + _ROW * len(rows))
    axes = figure.subplots()
    axes.axvline(0, color=INK, linewidth=0.7)
    for y, (cell, change) in enumerate(rows):
        _bar(axes, y, cell, looks, group.baseline)
        _say_change(axes, y, change)
        axes.text(1.03, y, difference_text(cell.difference), transform=axes.get_yaxis_transform(), va="center", fontsize=7)
    label_rows(axes, [cell for cell, _ in rows])
    axes.set_ylim(bottom=len(rows) - 0.3)
    focus(axes, {y: cell.difference for y, (cell, _) in enumerate(rows) if cell.difference}, always=0.0)
    axes.set_xlabel(plain(f"Difference to the full {group.baseline} (percentage points)"))
    words = pairs_text(known)
    heading(figure, f"{group.title}, {words}" + (", 95 % intervals" if any(given(cell.difference).n > 1 for cell in known) else ""))
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


def _bar(axes: Axes, y: int, cell: Cell, looks: Looks, baseline: str) -> None:
    found = cell.difference
    if found is None:
        say(axes, y, "not paired" if cell.n else "no finished run")
        return
    look = {"color": looks[cell.method].colour, "saturation": 1, "alpha": 0.75, "width": 0.5, "linewidth": 0}
    where = {"x": list(found.values), "y": [y - 0.05] * found.n, "orient": "h", "native_scale": True, "ax": axes}
    sns.barplot(**where, **look, errorbar=interval_ends, err_kws={"color": INK, "linewidth": 0.8, "solid_capstyle": "butt"})
    tell(axes.patches[-1], value_text(f"{cell.method} − {baseline}", found, "points"))


def _say_change(axes: Axes, y: int, change: str) -> None:
    """The changed options under the bar, on a ground of their own so that no line runs through them."""
    text = change if len(change) <= _LONGEST else change[: _LONGEST - 1] + "…"
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
    place = axes.get_yaxis_transform()
    axes.text(0.01, y + 0.42, plain(text), transform=place, va="center", fontsize=7, color=MUTED, zorder=3, bbox=ground)


def variants(group: Group) -> list[tuple[Cell, str]]:
    """Cells made of the same methods as the baseline with other options, each with those options as ``option: from → to``.

    Empty where the runs kept no settings.
    """
    base = group.cell(group.baseline)
    full = _components(base) if base else []
    found = []
    for cell in group.cells:
        parts = _components(cell)
        if cell.method != group.baseline and parts and [part["use"] for part in parts] == [part["use"] for part in full]:
            found.append((cell, _changes(full, parts)))
    return found


def _components(cell: Cell) -> list[dict[str, Any]]:
    return cell.runs[0].settings().get("components", []) if cell.runs else []


def _changes(full: list[dict[str, Any]], parts: list[dict[str, Any]]) -> str:
    texts = []
    for before, after in zip(full, parts, strict=True):
        old, new = before["options"], after["options"]
        prefix = f"{after['use']}." if len(parts) > 1 else ""
        texts += [f"{prefix}{key}: {_text(old.get(key))} → {_text(value)}" for key, value in new.items() if value != old.get(key)]
    return ", ".join(texts)


def _text(value: Any) -> str:
    return "none" if value is None else ("off", "on")[value] if isinstance(value, bool) else str(value)
