"""``report.html``: one self-contained file that opens offline."""

import base64
import gzip
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.report.cells import Group
from benchmark.report.collect import Collected, Run, SweepInfo
from benchmark.report.explain import details, name_of
from benchmark.report.figures.critical import NAME as CRITICAL
from benchmark.report.figures.write import Picture
from benchmark.report.measures import accuracy, mean_class_accuracy, minutes
from benchmark.report.optimism import OPTIMISM_CAPTION, optimism_table
from benchmark.report.overview import OVERVIEW_CAPTION, RANKS_CAPTION
from benchmark.report.style import Looks
from benchmark.report.summary import ACROSS
from benchmark.report.text import NONE, Table, Value, caption

_TEMPLATES = Path(__file__).parent / "templates"

RUN_COLUMNS = ("Seed", "Accuracy (%)", "Mean-class accuracy (%)", "Label gap, test", "Minutes", "Resumed", "Device", "Subset", "Run")


@dataclass(frozen=True)
class PlainSection:
    """A section of one table that not every sweep has. name: its place in the page."""

    name: str
    title: str
    table: Table
    caption: str


def render(
    sweep: SweepInfo,
    groups: Sequence[Group],
    tables: Sequence[Table],
    overview: Sequence[Table],
    ranks: Table,
    pictures: Sequence[Picture],
    summary: Mapping[str, Sequence[str]],
    found: Collected,
    plain: Sequence[PlainSection] = (),
) -> str:
    """The page as text. Every value from a record is escaped; styles, script and figures are inlined."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.globals |= {
        "source": _source,
        "colour": lambda method: Looks(sweep.looks)[method].colour,
        "run_row": run_row,
        "packed": _packed,
        "size": _size,
        "details": lambda cell: details(sweep, cell),
        "name_of": name_of,
    }
    return environment.get_template("report.html").render(
        sweep=sweep,
        sections=[(group, table, [p for p in pictures if p.group == group.slug]) for group, table in zip(groups, tables, strict=True)],
        places={(group.dataset, cell.method): _places(groups, group.dataset, cell.method) for group in groups for cell in group.cells},
        overview=overview,
        ranks=ranks,
        across=summary[ACROSS],
        pictures=[picture for picture in pictures if not picture.group and picture.name != CRITICAL],
        diagram=next((picture for picture in pictures if picture.name == CRITICAL), None),
        summary=summary,
        plain=plain,
        absent=found.absent,
        optimism=[table for group in groups if (table := optimism_table(group)) is not None],
        optimism_caption=OPTIMISM_CAPTION,
        provenance=provenance(sweep, found.runs),
        captions={"main": caption(sweep.selection), "overview": OVERVIEW_CAPTION, "ranks": RANKS_CAPTION},
        run_columns=RUN_COLUMNS,
    )


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


def _source(name: str) -> str:
    """Text of a template file to inline as it is."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _packed(picture: Picture) -> str:
    """The figure compressed, as text: a tenth of its size. The page's script unpacks it when it comes into view."""
    return base64.b64encode(gzip.compress(picture.svg.encode("utf-8"), mtime=0)).decode("ascii")


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
