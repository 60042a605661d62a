"""Draws everything a report consists of. The one place of the report that imports pandas."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.report.across import (
    OVERVIEW_CAPTION,
    RANKS_CAPTION,
    Across,
    compare_across,
    overview_csv,
    overview_tables,
    ranks_csv,
    ranks_table,
)
from benchmark.report.aggregate import AGGREGATE_CAPTION, aggregate, aggregate_csv, aggregate_table
from benchmark.report.batches import batch_pictures
from benchmark.report.budget import CSV as BUDGET_CSV
from benchmark.report.budget import budget_csv
from benchmark.report.cells import Group, group_runs
from benchmark.report.claims import CLAIMS_CAPTION, claims_csv, claims_table, decide
from benchmark.report.classes import CLASSES_CSV, class_results, classes_csv
from benchmark.report.collect import Collected, Expected, SweepInfo, flat_rows
from benchmark.report.effects import ABLATION_CAPTION, ablation_csv, ablation_table, effects
from benchmark.report.figures.canvas import font_note
from benchmark.report.figures.write import write_budgets, write_figures
from benchmark.report.optimism import OPTIMISM_CAPTION, optimism_csv, optimism_table
from benchmark.report.page import Content, PlainSection, render
from benchmark.report.style import Looks
from benchmark.report.summary import summarise
from benchmark.report.tables import decode_notes, main_csv, main_table
from benchmark.report.text import Table, caption, csv_field, to_latex, to_latex_panels, to_markdown
from benchmark.storage.atomic import replacing, write_text


@dataclass(frozen=True)
class Drawn:
    """What was drawn: the tables, the summary, and the files written, relative to the sweep's folder."""

    tables: list[Table]
    summary: dict[str, list[str]]
    files: list[str]


def redraw(sweep_dir: Path, sweep: SweepInfo, expected: Sequence[Expected], found: Collected) -> Drawn:
    """Write all files of the report; ``report.html`` comes last."""
    groups = group_runs(sweep, expected, found)
    across = compare_across(groups)
    tables, overview, ranks = [main_table(group, sweep.columns) for group in groups], overview_tables(groups), ranks_table(across)
    classes = [class_results(group) for group in groups]
    decoded = decode_notes(groups)
    tables = [
        replace(table, notes=(*sweep.notes.get(group.slug, ()), *unlike, *damaged, *table.notes))
        for group, table, (_, damaged), unlike in zip(groups, tables, classes, decoded, strict=True)
    ]
    boxes = font_note([*sweep.methods, *(group.dataset for group in groups)])
    if boxes:
        tables[-1] = replace(tables[-1], notes=(*tables[-1].notes, boxes))
    summary = summarise(groups, across, expected, found)
    texts = {
        "tables/main.md": to_markdown(tables, caption(sweep.selection)),
        "tables/main.csv": main_csv(groups, sweep.columns),
        "tables/main.tex": to_latex(tables, sweep.name, caption(sweep.selection)),
        "tables/ranks.md": to_markdown([ranks], RANKS_CAPTION),
        "tables/ranks.csv": ranks_csv(across),
        "tables/ranks.tex": to_latex_panels([ranks], RANKS_CAPTION, f"{sweep.name}-ranks"),
    }
    if overview:
        texts |= {
            "tables/overview.md": to_markdown(overview, OVERVIEW_CAPTION),
            "tables/overview.csv": overview_csv(groups),
            "tables/overview.tex": to_latex_panels(overview, OVERVIEW_CAPTION, f"{sweep.name}-overview"),
        }
    extra = _extra(sweep, groups, across)
    texts |= extra.texts
    optimism = [table for group in groups if (table := optimism_table(group, sweep.averaged)) is not None]
    if optimism:
        texts |= {
            "tables/optimism.md": to_markdown(optimism, OPTIMISM_CAPTION),
            "tables/optimism.csv": optimism_csv(groups, sweep.averaged),
        }
    by_class = [found for found, _ in classes]
    if any(by_class):
        texts[CLASSES_CSV] = classes_csv(list(zip(groups, by_class, strict=True)))
    if sweep.tuning:
        texts[f"tables/{BUDGET_CSV}"] = budget_csv(sweep.tuning)
    (sweep_dir / "tables").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(sweep_dir / name, text, durable=False)
    _write_runs(sweep_dir, expected, found)
    pictures = write_figures(groups, across, sweep_dir / "figures", Looks(sweep.looks))
    pictures += write_budgets(sweep.tuning, sweep_dir / "figures", Looks(sweep.looks))
    batches = batch_pictures(sweep_dir, expected)
    page = render(Content(sweep, groups, tables, overview, ranks, pictures, summary, found, by_class, extra.sections, batches))
    write_text(sweep_dir / "report.html", page, durable=False)
    figures = [f"figures/{picture.name}.{suffix}" for picture in pictures for suffix in ("png", "svg")]
    return Drawn(
        [*tables, *optimism, *(section.table for section in extra.sections)],
        summary,
        [*texts, *figures, "runs.csv", "runs.parquet", "report.html"],
    )


@dataclass(frozen=True)
class _Extra:
    """Tables that not every sweep has: their sections of the page, and their files."""

    sections: tuple[PlainSection, ...]
    texts: dict[str, str]


def _extra(sweep: SweepInfo, groups: Sequence[Group], across: Across) -> _Extra:
    """The claims, where the sweep states any, the aggregates, where tests across data sets are refused, and the ablations."""
    found: list[tuple[str, str, Table, str, str]] = []
    if sweep.claims:
        decisions = decide(sweep.claims, groups)
        found.append(("claims", "Claims", claims_table(decisions), CLAIMS_CAPTION, claims_csv(decisions)))
    if (standing := aggregate(groups, across)) is not None:
        table = aggregate_table(standing)
        found.append(("aggregate", table.title, table, AGGREGATE_CAPTION, aggregate_csv(standing)))
    for group in groups:
        if changes := effects(group):
            table = ablation_table(group, changes)
            found.append((f"ablation-{group.slug}", table.title, table, ABLATION_CAPTION, ablation_csv(changes)))
    texts = {}
    for name, _, table, words, rows in found:
        texts[f"tables/{name}.md"] = to_markdown([table], words)
        texts[f"tables/{name}.csv"] = rows
        texts[f"tables/{name}.tex"] = to_latex_panels([table], words, f"{sweep.name}-{name}")
    return _Extra(tuple(PlainSection(name, title, table, words) for name, title, table, words, _ in found), texts)


def _write_runs(sweep_dir: Path, expected: Sequence[Expected], found: Collected) -> None:
    """``runs.csv`` and ``runs.parquet``, one row per run that the sweep asks for, in its order."""
    names = ("run_id", "dataset", "fraction", "method", "seed")
    absent = [asdict(item.expected) | {"state": item.state, "reason": item.reason} for item in found.absent]
    rows: list[dict[str, Any]] = [row | {"state": "done", "reason": ""} for row in flat_rows(found.runs, names)] + absent
    order = {item.run_id: place for place, item in enumerate(expected)}
    rows.sort(key=lambda row: order[row["run_id"]])
    frame = pd.DataFrame(rows)
    leading = [name for name in (*names, "state", "reason") if name in frame]
    frame = frame[[*leading, *(name for name in frame if name not in leading)]]
    write_text(sweep_dir / "runs.csv", frame.map(csv_field).to_csv(index=False, lineterminator="\n"), durable=False)
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    with replacing(sweep_dir / "runs.parquet", durable=False) as file:
        file.write(buffer.getvalue())
