"""Draws everything a report consists of. The one place that imports pandas."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.report.across import compare_across
from benchmark.report.budget import CSV as BUDGET_CSV
from benchmark.report.budget import budget_csv
from benchmark.report.cells import group_runs
from benchmark.report.collect import Collected, Expected, Run, SweepInfo
from benchmark.report.figures.fonts import font_note
from benchmark.report.figures.write import write_budgets, write_figures
from benchmark.report.optimism import OPTIMISM_CAPTION, optimism_csv, optimism_table
from benchmark.report.overview import OVERVIEW_CAPTION, RANKS_CAPTION, overview_csv, overview_tables, ranks_csv, ranks_table
from benchmark.report.page import render
from benchmark.report.style import Looks
from benchmark.report.summary import summarise
from benchmark.report.tables import main_csv, main_table
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
    tables, overview, ranks = [main_table(group) for group in groups], overview_tables(groups), ranks_table(across)
    boxes = font_note([*sweep.methods, *(group.dataset for group in groups)])
    if boxes:
        tables[-1] = replace(tables[-1], notes=(*tables[-1].notes, boxes))
    summary = summarise(groups, across, expected, found)
    texts = {
        "tables/main.md": to_markdown(tables, caption(sweep.selection)),
        "tables/main.csv": main_csv(groups),
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
    optimism = [table for group in groups if (table := optimism_table(group)) is not None]
    if optimism:
        texts |= {"tables/optimism.md": to_markdown(optimism, OPTIMISM_CAPTION), "tables/optimism.csv": optimism_csv(groups)}
    if sweep.tuning:
        texts[f"tables/{BUDGET_CSV}"] = budget_csv(sweep.tuning)
    (sweep_dir / "tables").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(sweep_dir / name, text, durable=False)
    _write_runs(sweep_dir, found)
    pictures = write_figures(groups, across, sweep_dir / "figures", Looks(sweep.looks))
    pictures += write_budgets(sweep.tuning, sweep_dir / "figures", Looks(sweep.looks))
    page = render(sweep, groups, tables, overview, ranks, pictures, summary, found)
    write_text(sweep_dir / "report.html", page, durable=False)
    figures = [f"figures/{picture.name}.{suffix}" for picture in pictures for suffix in ("png", "svg")]
    return Drawn([*tables, *optimism], summary, [*texts, *figures, "runs.csv", "runs.parquet", "report.html"])


def _write_runs(sweep_dir: Path, found: Collected) -> None:
    names = ("run_id", "dataset", "fraction", "method", "seed")
    absent = [asdict(item.expected) | {"state": item.state, "reason": item.reason} for item in found.absent]
    frame = pd.DataFrame([row | {"state": "done", "reason": ""} for row in _flat_rows(found.runs, names)] + absent)
    leading = [name for name in (*names, "state", "reason") if name in frame]
    frame = frame[[*leading, *(name for name in frame if name not in leading)]]
    write_text(sweep_dir / "runs.csv", frame.map(csv_field).to_csv(index=False, lineterminator="\n"), durable=False)
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    with replacing(sweep_dir / "runs.parquet", durable=False) as file:
        file.write(buffer.getvalue())


def _flat_rows(runs: Sequence[Run], names: Sequence[str]) -> list[dict[str, Any]]:
    """Records as flat rows with the columns ``names`` first: gaps by split, other nested values as JSON text."""
    rows = []
    for run in runs:
        row: dict[str, Any] = {name: getattr(run.expected, name) for name in names}
        for key, value in run.record.items():
            if key == "linearity":
                row |= {f"{split}_{name}": gap for split, gaps in (value or {}).items() for name, gap in gaps.items()}
            elif key == "also_test":
                row |= {f"{name}_{measure}": number for name, values in value.items() for measure, number in values.items()}
            elif key not in row:
                row[key] = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        rows.append(row)
    return rows
