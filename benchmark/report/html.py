"""``report.html``: one self-contained file that opens offline."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.report.cells import Group, accuracy, mean_class_accuracy, minutes
from benchmark.report.collect import Collected, Run, SweepInfo
from benchmark.report.figures.write import Picture
from benchmark.report.optimism import OPTIMISM_CAPTION, optimism_table
from benchmark.report.style import style
from benchmark.report.text import NONE, Table, Value, caption

_TEMPLATES = Path(__file__).parent / "templates"

RUN_COLUMNS = ("Seed", "Accuracy (%)", "Mean-class accuracy (%)", "Label gap, test", "Minutes", "Resumed", "Device", "Run")


def render(
    sweep: SweepInfo,
    groups: Sequence[Group],
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    summary: Mapping[str, Sequence[str]],
    found: Collected,
    provenance: Sequence[tuple[str, str]],
) -> str:
    """The page as text. Every value from a record is escaped; styles, script and figures are inlined."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.globals |= {"source": _source, "colour": lambda method: style(method).colour, "run_row": run_row, "image": _image}
    return environment.get_template("report.html").render(
        sweep=sweep,
        sections=[(group, table, [p for p in pictures if p.group == group.slug]) for group, table in zip(groups, tables, strict=True)],
        overviews=[picture for picture in pictures if not picture.group],
        summary=summary,
        absent=found.absent,
        optimism=[table for group in groups if (table := optimism_table(group)) is not None],
        optimism_caption=OPTIMISM_CAPTION,
        provenance=provenance,
        caption=caption(sweep.selection),
        run_columns=RUN_COLUMNS,
    )


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
        Value(run.expected.run_id),
    ]


def _source(name: str) -> str:
    """Text of a template file to inline as it is."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _image(picture: Picture) -> str:
    """The figure as a data URI; an ``img`` keeps the ids of different SVGs apart."""
    return "data:image/svg+xml;base64," + base64.b64encode(picture.svg.encode("utf-8")).decode("ascii")
