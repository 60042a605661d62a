"""Two folders of one run, field by field: what they say differently, times and machines apart."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmark.exchange.folders import travelling
from benchmark.storage.atomic import read_json

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
