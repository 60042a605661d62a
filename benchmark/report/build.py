"""Builds a sweep's report from its records, or recognises that nothing changed.

An unchanged report costs reading the records: neither pandas nor matplotlib nor scipy is imported.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmark.report.batches import fingerprint
from benchmark.report.collect import Collected, Expected, SweepInfo, collect
from benchmark.report.text import Table, Value, caption
from benchmark.storage.atomic import read_json, write_json

STATE = "report_state.json"


@dataclass(frozen=True)
class Report:
    """A report on disk: its page, its main tables, its summary, the tables' caption; ``redrawn`` tells whether this call wrote it."""

    html: Path
    tables: tuple[Table, ...]
    summary: dict[str, list[str]]
    redrawn: bool
    caption: str


def build(sweep_dir: Path, sweep: SweepInfo, expected: Sequence[Expected]) -> Report:
    """Write tables, figures, ``runs.csv``, ``runs.parquet`` and ``report.html`` into ``sweep_dir``.

    Nothing is written when records and the files beside them, failures, expected runs and the report's code are those of the
    last report and all its files are still there and whole.
    """
    sweep_dir.mkdir(parents=True, exist_ok=True)
    found = collect(sweep_dir, expected)
    key = _key(sweep, found, fingerprint(sweep_dir))
    before = read_json(sweep_dir / STATE) or {}
    if before.get("key") == key and _whole(sweep_dir, before["files"]):
        return Report(sweep_dir / "report.html", tuple(map(_table, before["tables"])), before["summary"], False, caption(sweep.selection))
    from benchmark.report.redraw import redraw

    drawn = redraw(sweep_dir, sweep, expected, found)
    for name in set(before.get("files", ())) - set(drawn.files):
        (sweep_dir / name).unlink(missing_ok=True)
    hashes = {name: _sha256(sweep_dir / name) for name in sorted(drawn.files)}
    state = {"key": key, "files": hashes, "tables": [asdict(table) for table in drawn.tables], "summary": drawn.summary}
    write_json(sweep_dir / STATE, state)
    return Report(sweep_dir / "report.html", tuple(drawn.tables), drawn.summary, True, caption(sweep.selection))


def _whole(sweep_dir: Path, hashes: Mapping[str, str]) -> bool:
    """Whether all files of the last report are there as they were written; a crash of the machine can leave them empty, or zeros."""
    try:
        return all(_sha256(sweep_dir / name) == expected for name, expected in hashes.items())
    except (OSError, AttributeError):
        return False


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _key(sweep: SweepInfo, found: Collected, batches: str) -> str:
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*")):
        if path.suffix in {".py", ".json", ".html", ".css", ".js"}:
            code.update(path.name.encode() + path.read_bytes())
    parts = [asdict(sweep), found.fingerprint, found.extra, code.hexdigest(), batches]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _table(saved: dict[str, Any]) -> Table:
    rows = tuple(tuple(Value(**value) for value in row) for row in saved["rows"])
    return Table(saved["title"], tuple(saved["columns"]), rows, tuple(saved["marks"]), tuple(saved["notes"]), tuple(saved["compact"]))


def print_table(report: Report, console: Console) -> None:
    """Print the main tables, narrowed to their most needed columns, with every note."""
    for table in report.tables:
        shown = RichTable(title=Text(table.title), title_justify="left")
        for index in table.compact:
            shown.add_column(Text(table.columns[index]), justify="right" if index else "left", overflow="fold")
        for row, mark in zip(table.rows, table.marks, strict=True):
            shown.add_row(*(Text(row[index].text, style="bold" if mark == "best" else "") for index in table.compact))
        console.print(shown)
        for note in table.notes:
            console.print(Text(f"- {note}"))
    if report.tables:
        console.print(Text(report.caption, style="dim"))
