"""Draws all figures of a report and writes each as PNG and SVG."""

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG

from benchmark.devices import cpu_count
from benchmark.report.across import Across
from benchmark.report.cells import Group, group_slug
from benchmark.report.collect import Tuned
from benchmark.report.figures import processes
from benchmark.report.figures.canvas import TOO_MANY, Drawing, fix_layout, font_families
from benchmark.report.figures.lines import (
    draw_budget,
    draw_fractions,
    draw_linearity_difference,
    draw_linearity_feature,
    draw_linearity_label,
    draw_loss_terms,
)
from benchmark.report.figures.rows import draw_ablation, draw_accuracy, draw_difference
from benchmark.report.figures.scatter import draw_cost_accuracy, draw_critical, draw_gap_accuracy
from benchmark.report.figures.svg import with_values
from benchmark.report.style import RC, Looks
from benchmark.storage.atomic import replacing

Draw = Callable[[Any, Looks], Drawing | None]

PER_GROUP: tuple[Draw, ...] = (
    draw_accuracy,
    draw_difference,
    draw_ablation,
    draw_linearity_feature,
    draw_linearity_label,
    draw_linearity_difference,
    draw_gap_accuracy,
    draw_cost_accuracy,
    draw_loss_terms,
)

BY_LINE = (draw_linearity_feature, draw_linearity_label, draw_linearity_difference, draw_loss_terms)
"""Those with a line per method, which many methods make unreadable: they are drawn in parts."""

LINES = 9
"""Methods beside the baseline in one part."""

_CHUNK = 4

POOL_FROM = 3
"""From this many groups on, starting processes costs less than it saves, where none were begun before."""


@dataclass(frozen=True)
class _Task:
    """What draws, of what, the group's slug ('' for several), which part of how many."""

    draw: Draw
    subject: Any
    group: str = ""
    part: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Picture:
    """A written figure: its words and its SVG text. ``group`` is the slug of its data set × fraction, or '' for several."""

    name: str
    group: str
    title: str
    caption: str
    alt: str
    svg: str


def write_figures(groups: Sequence[Group], across: Across, folder: Path, looks: Looks) -> list[Picture]:
    """Draw every figure that there is data for, into ``folder``; many groups on all cores."""
    tasks = [_Task(draw_critical, across)]
    for dataset in dict.fromkeys(group.dataset for group in groups):
        same = [group for group in groups if group.dataset == dataset]
        tasks += _tasks(draw_fractions, same, "")
        tasks += [task for group in same for draw in PER_GROUP for task in _tasks(draw, group, group.slug)]
    names = [name for group in groups for name in (group.dataset, *(cell.method for cell in group.cells))]
    pooled = processes.begun() or len(groups) >= POOL_FROM
    return _write_all(tasks, folder, looks, names, min(cpu_count(), len(tasks) // _CHUNK) if pooled else 1)


def write_budgets(found: Sequence[Tuned], folder: Path, looks: Looks) -> list[Picture]:
    """A figure of what tuning budgets buy per data set × fraction, into ``folder``."""
    tasks = []
    for group in dict.fromkeys(tuned.group for tuned in found):
        trials = [tuned for tuned in found if tuned.group == group]
        tasks.append(_Task(draw_budget, trials, group_slug(*group)))
    return _write_all(tasks, folder, looks, [name for tuned in found for name in (tuned.dataset, tuned.method)], 1)


def _tasks(draw: Draw, subject: Group | list[Group], slug: str) -> list[_Task]:
    """One task, or one per part where ``draw`` gives each of too many methods a line."""
    if isinstance(subject, list):
        split = list(zip(*map(parts, subject), strict=True))
        subjects: list[Any] = [list(part) for part in split]
    else:
        subjects = list(parts(subject)) if draw in BY_LINE else [subject]
    return [_Task(draw, part, slug, (number, len(subjects))) for number, part in enumerate(subjects, start=1)]


def parts(group: Group) -> list[Group]:
    """The group itself up to ``TOO_MANY`` methods, else parts of it: each has the baseline and at most ``LINES`` others."""
    if len(group.cells) <= TOO_MANY:
        return [group]
    others = [cell for cell in group.cells if cell.method != group.baseline]
    count = -(-len(others) // LINES)
    size = -(-len(others) // count)
    chosen = [{group.baseline, *(cell.method for cell in others[i : i + size])} for i in range(0, len(others), size)]
    return [replace(group, cells=tuple(cell for cell in group.cells if cell.method in names)) for names in chosen]


def _write_all(tasks: Sequence[_Task], folder: Path, looks: Looks, names: Sequence[str], workers: int) -> list[Picture]:
    """Draw ``tasks``, on several cores where there are ``workers``; ``names`` are what the figures have to write."""
    folder.mkdir(parents=True, exist_ok=True)
    write = partial(_write, folder=folder, looks=looks, families=font_families(names)[0])
    if workers < 2:
        pictures = list(map(write, tasks))
    else:
        with processes.pool(workers) as pool:
            pictures = list(pool.map(write, tasks, chunksize=_CHUNK if len(tasks) >= 2 * _CHUNK * workers else 1))
    return [picture for picture in pictures if picture is not None]


def _write(task: _Task, folder: Path, looks: Looks, families: list[str]) -> Picture | None:
    """Draw ``task`` and write it as PNG and SVG into ``folder``; None where there is nothing to show."""
    with matplotlib.rc_context(RC | {"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the report has one note of it
        drawing = task.draw(task.subject, looks)
        if drawing is None:
            return None
        part, count = task.part
        if count > 1:
            drawing = replace(drawing, name=f"{drawing.name}-{part}", title=f"{drawing.title} (part {part} of {count})")
        fix_layout(drawing.figure)
        svg, png = _svg(drawing), _png(drawing)
    for suffix, content in (("svg", svg), ("png", png)):
        with replacing(folder / f"{drawing.name}.{suffix}", durable=False) as file:
            file.write(content)
    return Picture(drawing.name, task.group, drawing.title, drawing.caption, drawing.alt, svg.decode("utf-8"))


def _svg(drawing: Drawing) -> bytes:
    """The figure as SVG with its values; ``savefig`` would first draw everything once more, to lay it out again."""
    buffer = io.BytesIO()
    FigureCanvasSVG(drawing.figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Title": drawing.title})
    return with_values(buffer.getvalue().decode("utf-8")).encode("utf-8")


def _png(drawing: Drawing) -> bytes:
    buffer = io.BytesIO()
    drawing.figure.set_dpi(matplotlib.rcParams["savefig.dpi"])
    FigureCanvasAgg(drawing.figure).print_png(buffer, metadata={"Software": None, "Title": drawing.title})
    return buffer.getvalue()
