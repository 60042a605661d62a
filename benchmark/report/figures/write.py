"""Draws all figures of a report and writes each as PNG and SVG."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG

from benchmark.report.across import Across
from benchmark.report.cells import Group
from benchmark.report.figures.ablation import draw_ablation
from benchmark.report.figures.canvas import TOO_MANY, Drawing, settle
from benchmark.report.figures.critical import draw_critical
from benchmark.report.figures.lines import draw_fractions, draw_linearity_feature, draw_linearity_label, draw_loss_terms
from benchmark.report.figures.rows import draw_accuracy, draw_difference
from benchmark.report.figures.scatter import draw_cost_accuracy, draw_gap_accuracy
from benchmark.report.style import RC
from benchmark.storage.run_folder import replacing

PER_GROUP: tuple[Callable[[Group], Drawing | None], ...] = (
    draw_accuracy,
    draw_difference,
    draw_ablation,
    draw_linearity_feature,
    draw_linearity_label,
    draw_gap_accuracy,
    draw_cost_accuracy,
    draw_loss_terms,
)

BY_LINE = (draw_linearity_feature, draw_linearity_label, draw_loss_terms)
"""Those with a line per method, which many methods make unreadable: they are drawn in parts."""

LINES = 9
"""Methods beside the baseline in one part."""

_CHUNK = 4

POOL_FROM = 3
"""From this many groups on, starting processes costs less than it saves."""

_Task = tuple[Callable[[Any], Drawing | None], Any, str, tuple[int, int], Path]
"""What draws, of what, the group's slug, which part of how many, and the folder."""


@dataclass(frozen=True)
class Picture:
    """A written figure: its words and its SVG text. ``group`` is the slug of its data set × fraction, or '' for several."""

    name: str
    group: str
    title: str
    caption: str
    alt: str
    svg: str


def write_figures(groups: Sequence[Group], across: Across, folder: Path) -> list[Picture]:
    """Draw every figure that there is data for, into ``folder``; many groups on all cores."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks: list[_Task] = [(draw_critical, across, "", (1, 1), folder)]
    for dataset in dict.fromkeys(group.dataset for group in groups):
        same = [group for group in groups if group.dataset == dataset]
        tasks += _tasks(draw_fractions, same, "", folder)
        tasks += [task for group in same for draw in PER_GROUP for task in _tasks(draw, group, group.slug, folder)]
    workers = min(len(os.sched_getaffinity(0)), len(groups))
    if len(groups) < POOL_FROM or workers < 2:
        pictures = list(map(_write, tasks))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            pictures = list(pool.map(_write, tasks, chunksize=_CHUNK))
    return [picture for picture in pictures if picture is not None]


def _tasks(draw: Callable[[Any], Drawing | None], subject: Group | list[Group], slug: str, folder: Path) -> list[_Task]:
    """One task, or one per part where ``draw`` gives each of too many methods a line."""
    if draw is draw_fractions:
        split = list(zip(*map(parts, subject), strict=True))
        subjects: list[Any] = [list(part) for part in split]
    else:
        subjects = list(parts(subject)) if draw in BY_LINE else [subject]
    return [(draw, part, slug, (number, len(subjects)), folder) for number, part in enumerate(subjects, start=1)]


def parts(group: Group) -> list[Group]:
    """The group itself up to ``TOO_MANY`` methods, else parts of it: each has the baseline and at most ``LINES`` others."""
    if len(group.cells) <= TOO_MANY:
        return [group]
    others = [cell for cell in group.cells if cell.method != group.baseline]
    count = -(-len(others) // LINES)
    size = -(-len(others) // count)
    chosen = [{group.baseline, *(cell.method for cell in others[i : i + size])} for i in range(0, len(others), size)]
    return [replace(group, cells=tuple(cell for cell in group.cells if cell.method in names)) for names in chosen]


def _write(task: _Task) -> Picture | None:
    draw, subject, group, (part, count), folder = task
    return write_drawing(draw, subject, group, folder, part, count)


def write_drawing(
    draw: Callable[[Any], Drawing | None], subject: Any, group: str, folder: Path, part: int = 1, count: int = 1
) -> Picture | None:
    """Draw ``subject`` and write it as PNG and SVG into ``folder``; None where ``draw`` has nothing to show."""
    with matplotlib.rc_context(RC):
        drawing = draw(subject)
        if drawing is None:
            return None
        if count > 1:
            drawing = replace(drawing, name=f"{drawing.name}-{part}", title=f"{drawing.title} (part {part} of {count})")
        settle(drawing.figure)
        svg, png = _svg(drawing), _png(drawing)
    for suffix, content in (("svg", svg), ("png", png)):
        with replacing(folder / f"{drawing.name}.{suffix}", durable=False) as file:
            file.write(content)
    return Picture(drawing.name, group, drawing.title, drawing.caption, drawing.alt, svg.decode("utf-8"))


def _svg(drawing: Drawing) -> bytes:
    """The figure as SVG. The canvas is asked directly: ``savefig`` would first draw everything once more, to lay it out again."""
    buffer = io.BytesIO()
    FigureCanvasSVG(drawing.figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Title": drawing.title})
    return buffer.getvalue()


def _png(drawing: Drawing) -> bytes:
    buffer = io.BytesIO()
    drawing.figure.set_dpi(matplotlib.rcParams["savefig.dpi"])
    FigureCanvasAgg(drawing.figure).print_png(buffer, metadata={"Software": None, "Title": drawing.title})
    return buffer.getvalue()
