"""What keeps a finished run from becoming one of a sweep: files that are damaged, cut off or of another run; and a second folder of the
same run that says something else, field by field, times and machines apart.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError, first_line
from benchmark.exchange.pack import travelling
from benchmark.report.collect import Run
from benchmark.storage import yamlio
from benchmark.storage.atomic import read_json

_LABELS = ("dataset", "fraction", "method", "seed")


def faults(run: Run, config: RunConfig) -> list[str]:
    """Why ``run`` cannot be taken for the run that ``config`` asks for, a reason each; a measured file that was not kept is none."""
    asked = {name: getattr(config, name) for name in _LABELS}
    found = [*run.damage(), *_damaged_tables(run.folder), *_cut(run, config)]
    found += _of_another(run.record, {**asked, "config_hash": config.config_hash}, "record.json")
    try:
        settings = yamlio.read_mapping(run.folder / "config.yaml")
    except (UsageError, OSError) as error:
        return [*found, f"config.yaml cannot be read ({_reason(error, run.folder / 'config.yaml')})"]
    return [*found, *_of_another(settings, asked, "config.yaml")]


def _of_another(said: Mapping[str, Any], asked: Mapping[str, Any], file: str) -> list[str]:
    return [f"{file}: {name} is {said.get(name, 'absent')}, not {value}" for name, value in asked.items() if said.get(name) != value]


def _reason(error: Exception, path: Path) -> str:
    return first_line(error).removeprefix(f"{path}: ").removeprefix("cannot be read: ")


def _cut(run: Run, config: RunConfig) -> list[str]:
    """Tables that end before the run did: a copy that broke off at the end of a line."""
    ends: dict[str, Sequence[float]] = {
        "curves.jsonl": [row["step"] for row in run.curves()],
        "snapshots.csv": [step for step, _ in run.snapshots()],
    }
    last = config.training.steps
    found = [f"{name} is cut off (it ends at step {steps[-1]:g} of {last})" for name, steps in ends.items() if steps and steps[-1] != last]
    if run.record["linearity"] is not None and (run.folder / "linearity.csv").exists() and not run.linearity():
        found.append("linearity.csv is cut off (it has no rows)")
    return found


def _damaged_tables(run: Path) -> list[str]:
    """The run's ``.parquet`` files that cannot be read, each with the reason."""
    found = []
    for file in travelling(run):
        if file.suffix == ".parquet":
            try:
                pq.read_table(run / file)
            except (pa.ArrowException, OSError) as error:
                found.append(f"{file} is damaged ({str(error).splitlines()[0]})")
    return found


VARYING = {"wall_seconds", "images_per_second", "peak_memory_bytes", "started_at", "finished_at", "hostname", "resumes"}
"""Fields of a record, and of a row of ``curves.jsonl``, in which two folders of the same run may differ."""

_NOTHING = object()
_LONGEST = 80


@dataclass(frozen=True)
class Conflict:
    """Where two folders of one run differ: the record's field or a place in a file, and both values as text."""

    field: str
    ours: str
    theirs: str


def conflicts(ours: Path, theirs: Path) -> list[Conflict]:
    """In what the finished runs ``ours`` and ``theirs`` differ: all fields of the record, and the first difference of each measured file.

    Measured files are the tables (``.csv``, ``.jsonl``, ``.parquet``) that both have; one that was not kept is no difference.
    """
    first, second = (dict(_flat(read_json(folder / "record.json") or {})) for folder in (ours, theirs))
    found = [
        Conflict(name, _text(first.get(name, _NOTHING)), _text(second.get(name, _NOTHING)))
        for name in dict.fromkeys([*first, *second])
        if _differ(first.get(name, _NOTHING), second.get(name, _NOTHING))
    ]
    for file in sorted(set(travelling(ours)) & set(travelling(theirs))):
        if file.suffix in _READERS:
            found += _first_difference(ours, theirs, file)
    return found


def _differ(left: object, right: object) -> bool:
    """Whether two values are not the same; no number (NaN) is the same as no number."""
    return left != right and not (left != left and right != right)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif prefix or name not in VARYING:
            yield f"{prefix}{name}", value


def _first_difference(ours: Path, theirs: Path, file: Path) -> list[Conflict]:
    if (ours / file).read_bytes() == (theirs / file).read_bytes():
        return []
    rows: Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]] = zip_longest(
        _READERS[file.suffix](ours / file), _READERS[file.suffix](theirs / file), fillvalue={}
    )
    for number, (left, right) in enumerate(rows, start=1):
        for name in dict.fromkeys([*left, *right]):
            values = left.get(name, _NOTHING), right.get(name, _NOTHING)
            if _differ(*values):
                return [Conflict(f"{file}, row {number}, {name or 'text'}", *map(_text, values))]
    return []


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    return ({"": line} for line in path.read_text("utf-8", errors="replace").splitlines())


def _jsonl_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        yield {name: value for name, value in row.items() if name not in VARYING} if isinstance(row, dict) else {"": line}


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    return iter(pq.read_table(path).to_pylist())


_READERS = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}


def _text(value: object) -> str:
    text = "absent" if value is _NOTHING else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
