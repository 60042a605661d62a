"""Draws all figures of a report and writes each as PNG and SVG."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib

from benchmark.report.across import Across
from benchmark.report.cells import Group
from benchmark.report.figures.ablation import draw_ablation
from benchmark.report.figures.canvas import Drawing, settle
from benchmark.report.figures.critical import draw_critical
from benchmark.report.figures.lines import draw_fractions, draw_linearity_feature, draw_linearity_label, draw_loss_terms
from benchmark.report.figures.rows import draw_accuracy, draw_difference
from benchmark.report.figures.scatter import draw_cost_accuracy, draw_gap_accuracy
from benchmark.report.style import RC
from benchmark.sweep.state import replacing

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


POOL_FROM = 3
"""From this many groups on, starting processes costs less than it saves."""

_Task = tuple[Callable[[Any], Drawing | None], Any, str, Path]


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
    tasks: list[_Task] = [(draw_critical, across, "", folder)]
    for dataset in dict.fromkeys(group.dataset for group in groups):
        same = [group for group in groups if group.dataset == dataset]
        tasks.append((draw_fractions, same, "", folder))
        tasks += [(draw, group, group.slug, folder) for group in same for draw in PER_GROUP]
    workers = min(len(os.sched_getaffinity(0)), len(groups))
    if len(groups) < POOL_FROM or workers < 2:
        pictures = list(map(_write, tasks))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            pictures = list(pool.map(_write, tasks, chunksize=len(PER_GROUP)))
    return [picture for picture in pictures if picture is not None]


def _write(task: _Task) -> Picture | None:
    draw, subject, group, folder = task
    with matplotlib.rc_context(RC):
        drawing = draw(subject)
        if drawing is None:
            return None
        settle(drawing.figure)
        svg = _render(drawing, "svg", {"Date": None, "Creator": None, "Title": drawing.title})
        png = _render(drawing, "png", {"Software": None, "Title": drawing.title})
    for suffix, content in (("svg", svg), ("png", png)):
        with replacing(folder / f"{drawing.name}.{suffix}", durable=False) as file:
            file.write(content)
    return Picture(drawing.name, group, drawing.title, drawing.caption, drawing.alt, svg.decode("utf-8"))


def _render(drawing: Drawing, form: str, metadata: dict[str, str | None]) -> bytes:
    buffer = io.BytesIO()
    drawing.figure.savefig(buffer, format=form, metadata=metadata)
    return buffer.getvalue()
