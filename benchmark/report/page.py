"""``report.html``: one self-contained file that opens offline."""

import base64
import gzip
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.report.across import OVERVIEW_CAPTION, RANKS_CAPTION
from benchmark.report.batches import BatchPicture
from benchmark.report.cells import Group
from benchmark.report.classes import LOWEST, MOST_CONFUSED, ClassResult, ClassResults
from benchmark.report.collect import Collected, Run, SweepInfo
from benchmark.report.explain import details, name_of
from benchmark.report.figures.scatter import NAME as CRITICAL
from benchmark.report.figures.svg import Inliner, variable
from benchmark.report.figures.write import Picture
from benchmark.report.measures import accuracy, mean_class_accuracy, minutes
from benchmark.report.optimism import OPTIMISM_CAPTION, optimism_table
from benchmark.report.seed_pairs import first_pair, pair_data
from benchmark.report.style import Looks, dark_form
from benchmark.report.summary import ACROSS
from benchmark.report.tables import interval_value
from benchmark.report.text import NONE, Table, Value, caption

_TEMPLATES = Path(__file__).parent / "templates"

INLINE_LIMIT = 3 * 2**20
"""Bytes that a page with its figures in plain SVG may have."""

THEME = {
    "--paper": ("#ffffff", "#16181b"),
    "--ink": ("#222222", "#e6e6e6"),
    "--muted": ("#5c5c5c", "#a8adb3"),
    "--rule": ("#dcdcdc", "#3a3e44"),
    "--edge": ("#767676", "#8a9098"),
    "--wash": ("#f3f4f6", "#22262b"),
    "--link": ("#005a9c", "#7cbcf5"),
    "--image": ("none", "invert(1) hue-rotate(180deg)"),
}
"""CSS variables with their light and dark form; ``--image`` is the filter on figures that are files."""

RUN_COLUMNS = ("Seed", "Accuracy (%)", "Mean-class accuracy (%)", "Label gap, test", "Minutes", "Resumed", "Device", "Subset", "Run")


@dataclass(frozen=True)
class PlainSection:
    """A section of one table that not every sweep has. name: its place in the page."""

    name: str
    title: str
    table: Table
    caption: str


@dataclass(frozen=True)
class Content:
    """Everything that a page shows; its templates know these fields by their names.

    ``tables`` are those of ``groups`` in their order; ``pictures`` of any group or of several; ``summary``: sentences by heading;
    ``classes``: per group what the predictions of each method say; ``plain``: tables that not every sweep has, sections of their own;
    ``batches``: pictures that were drawn beside the sweep.
    """

    sweep: SweepInfo
    groups: Sequence[Group]
    tables: Sequence[Table]
    overview: Sequence[Table]
    ranks: Table
    pictures: Sequence[Picture]
    summary: Mapping[str, Sequence[str]]
    found: Collected
    classes: Sequence[Mapping[str, ClassResults]]
    plain: Sequence[PlainSection] = ()
    batches: Sequence[BatchPicture] = ()


SECTIONS = (
    ("summary", "Summary"),
    ("results", "Results"),
    ("pairs", "Two methods, seed by seed"),
    ("optimism", "Optimism of the best snapshot on test"),
    ("batches", "The first batch as the network sees it"),
    ("absent", "Runs that are not in the numbers"),
    ("reading", "How to read this"),
    ("provenance", "Environment and provenance"),
)
"""The page from top to bottom: (name, heading) of each section, drawn by the macro ``NAME_section`` of ``templates/sections.html``.

A macro that writes nothing leaves its section out. Its ``<h3 id="…">`` are the section's entries in the contents.
"""


@dataclass(frozen=True)
class DrawnSection:
    """A drawn section; parts: the (id, title) of its headings."""

    id: str
    title: str
    body: str
    parts: list[tuple[str, str]]


def render(content: Content) -> str:
    """The page as text. Every value from a record is escaped; styles, script and figures are inlined.

    A page that would pass ``INLINE_LIMIT`` shows the files in ``figures/`` and holds the figures compressed: the script unpacks those
    that come into view, so that the page alone still has them.
    """
    page = _render(content, packed=False) if sum(len(picture.svg) for picture in content.pictures) < 2 * INLINE_LIMIT else None
    return page if page is not None and len(page.encode()) < INLINE_LIMIT else _render(content, packed=True)


def _render(content: Content, packed: bool) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    sweep, looks, inliner = content.sweep, Looks(content.sweep.looks), Inliner()
    inliner.colours.update(looks[method].colour for method in sweep.methods)
    drawn = {picture.name: inliner.add(picture.svg, picture.alt) for picture in content.pictures}
    environment.globals |= {
        "source": _source,
        "colour": lambda method: f"var({variable(looks[method].colour)})",
        "run_columns": RUN_COLUMNS,
        "run_row": run_row,
        "inline": lambda picture: "" if packed else drawn[picture.name],
        "packed": lambda picture: _packed(drawn[picture.name]),
        "size": _size,
        "details": lambda cell: details(sweep, cell),
        "name_of": name_of,
        "LOWEST": LOWEST,
        "MOST_CONFUSED": MOST_CONFUSED,
        "class_row": class_row,
    }
    drawing: Any = environment.get_template("sections.html").make_module(_values(content))
    bodies = []
    for name, title in SECTIONS:
        bodies.append((name, title, getattr(drawing, f"{name}_section")()))
        if name == "summary":
            bodies += [(section.name, section.title, drawing.plain_section(section)) for section in content.plain]
    sections = [DrawnSection(name, title, body, _headings(body)) for name, title, body in bodies if body.strip()]
    light, dark = _variables(inliner.colours)
    return environment.get_template("report.html").render(sweep=sweep, sections=sections, glyphs=inliner.glyphs, light=light, dark=dark)


def _variables(colours: Iterable[str]) -> tuple[str, str]:
    """CSS variables of the light and of the dark page."""
    pairs = THEME | {variable(colour): (colour, dark_form(colour)) for colour in sorted(colours)}
    light, dark = ("; ".join(f"{name}: {forms[i]}" for name, forms in pairs.items()) for i in (0, 1))
    return light, dark


def _headings(body: str) -> list[tuple[str, str]]:
    return re.findall(r'<h3 id="([^"]*)">(.*?)</h3>', body)


def _values(content: Content) -> dict[str, Any]:
    """What the sections' macros read: the fields of ``content``, and what is worked out from them."""
    groups, pictures = content.groups, content.pictures
    own = [[picture for picture in pictures if picture.group == group.slug] for group in groups]
    return {field.name: getattr(content, field.name) for field in fields(content)} | {
        "blocks": list(zip(groups, content.tables, own, content.classes, strict=True)),
        "places": {(group.dataset, cell.method): _places(groups, group.dataset, cell.method) for group in groups for cell in group.cells},
        "across": content.summary[ACROSS],
        "pictures": [picture for picture in pictures if not picture.group and picture.name != CRITICAL],
        "diagram": next((picture for picture in pictures if picture.name == CRITICAL), None),
        "pair": first_pair(groups, Looks(content.sweep.looks)),
        "pair_data": pair_data(groups, Looks(content.sweep.looks)),
        "absent": content.found.absent,
        "optimism": [table for group in groups if (table := optimism_table(group)) is not None],
        "optimism_caption": OPTIMISM_CAPTION,
        "provenance": provenance(content.sweep, content.found.runs),
        "captions": {"main": caption(content.sweep.selection), "overview": OVERVIEW_CAPTION, "ranks": RANKS_CAPTION},
    }


def _places(groups: Sequence[Group], dataset: str, method: str) -> list[str]:
    """Ids of the detail rows of a method on a data set, one per fraction, in the order of the overview's columns."""
    return [
        f"runs-{number}-{1 + [cell.method for cell in group.cells].index(method)}"
        for number, group in enumerate(groups, start=1)
        if group.dataset == dataset
    ]


def run_row(run: Run) -> list[Value]:
    """Entries of one run under ``RUN_COLUMNS``."""
    record = run.record
    gap = run.gap("test", "label_l1")
    threads = record["threads"]
    return [
        Value(str(run.seed), run.seed),
        Value(f"{accuracy(run):.2f}", accuracy(run)),
        Value(f"{mean_class_accuracy(run):.2f}", mean_class_accuracy(run)),
        Value(NONE) if gap is None else Value(f"{gap:.3f}", gap),
        Value(f"{minutes(run):.2f}", minutes(run)),
        Value(f"{record.get('resumes', 0)} ×", record.get("resumes", 0)),
        Value(f"{record['device']}, {threads} thread{'' if threads == 1 else 's'}"),
        Value(record["subset_hash"][:12]),
        Value(run.expected.run_id),
    ]


def class_row(found: ClassResult) -> list[str]:
    """Entries of one class: name, images, accuracy over seeds, interval over images."""
    low, high = found.wilson
    return [found.name, str(found.images), interval_value(found.accuracy).text, f"[{low:.1f}, {high:.1f}]"]


def _source(name: str) -> str:
    """Text of a template file to inline as it is."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _packed(svg: str) -> str:
    """The figure compressed, as text: a tenth of its size."""
    return base64.b64encode(gzip.compress(svg.encode("utf-8"), mtime=0)).decode("ascii")


def _size(picture: Picture) -> tuple[int, int]:
    """Width and height of the figure in CSS pixels, from the SVG's points."""
    found = re.search(r'<svg[^>]* width="([\d.]+)pt" height="([\d.]+)pt"', picture.svg)
    assert found is not None
    width, height = (round(float(points) * 4 / 3) for points in found.groups())
    return width, height


def provenance(info: SweepInfo, runs: Sequence[Run]) -> list[tuple[str, str]]:
    """(name, text) pairs; a value that differs between runs is given in all its forms."""
    rows = [("Sweep file", info.source), ("Command", info.command), ("Protocol", info.protocol)]
    rows += [("Selection", info.selection)] if info.selection else []
    if not runs:
        return rows
    fields: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        "Backbone": lambda r: r.get("backbone"),
        "Weights (sha256)": lambda r: r["weights_hash"],
        "Data (hash)": lambda r: f"{r.get('dataset')}: {r['data_hash']}",
        "Training images": lambda r: f"{r.get('dataset')} at {r.get('fraction')}: {r.get('num_train')} of {r.get('num_classes')} classes",
        "Steps × batch": lambda r: f"{r.get('steps')} × {r.get('batch_size')}",
        "Learning rate": lambda r: r.get("lr"),
        "Precision": lambda r: f"{r.get('precision')}, compile {r.get('compile')}",
        "Device": lambda r: f"{r['device']}, {r['threads']} thread{'' if r['threads'] == 1 else 's'} per run",
        "Code (git commit)": lambda r: r.get("git_commit") or "not recorded",
        "Versions": _versions,
    }
    rows += [(name, _distinct(runs, read)) for name, read in fields.items()]
    hosts = len({run.record.get("hostname") for run in runs})
    hours = sum(run.record["wall_seconds"] for run in runs) / 3600
    resumed = sum(1 for run in runs if run.record.get("resumes"))
    finished = sorted(run.record["finished_at"] for run in runs)
    rows += [
        ("Machines", str(hosts)),
        ("Time", f"{hours:.2f} hours of runs; {resumed} of {len(runs)} runs were resumed after an interruption"),
        ("Finished", finished[0] if finished[0] == finished[-1] else f"{finished[0]} to {finished[-1]}"),
    ]
    return rows


def _distinct(runs: Sequence[Run], read: Callable[[Mapping[str, Any]], Any]) -> str:
    return "; ".join(dict.fromkeys(str(read(run.record)) for run in runs))


def _versions(record: Mapping[str, Any]) -> str:
    versions = record.get("versions") or {}
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "not recorded"
