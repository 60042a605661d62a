"""The command line that carries out one cell of a sweep again, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmark.config.entries import parse_entry
from benchmark.config.grid import Sweep
from benchmark.report.collect import cell_name

_AXES = ("methods", "datasets", "fractions", "seeds", "baseline")


def commands(sweep: Sweep) -> dict[str, str]:
    """Per cell, by :func:`cell_name`, the command that redoes all its seeds; none for a sweep without a command of its own."""
    seeds: dict[tuple[str, float, str], list[int]] = {}
    for run in sweep.runs:
        seeds.setdefault((run.dataset, run.fraction, run.method), []).append(run.seed)
    return {cell_name(*key): command(sweep, *key, found) for key, found in seeds.items()} if sweep.origin else {}


def command(sweep: Sweep, dataset: str, fraction: float, method: str, seeds: Sequence[int]) -> str:
    """The command that redoes these ``seeds`` of a cell: the same run_ids, in a results folder of their own."""
    origin = sweep.origin
    if origin is None:
        return ""
    elsewhere = replace(origin, out=Path("results") / f"{sweep.name}-redo")
    if not origin.name:
        return elsewhere.command()
    entry = _entry(origin.file.methods, method)
    gone = set().union(*map(_names, origin.file.methods)) - _names(entry)
    kept = [assignment for assignment in origin.assignments if _applies(assignment.partition("=")[0], gone)]
    axes = {
        "methods": _flow([entry]),
        "baseline": _flow(method),
        "datasets": _flow([_entry(origin.file.datasets, dataset)]),
        "fractions": _flow([fraction]),
        "seeds": _flow(list(seeds)),
    }
    return replace(elsewhere, assignments=(*kept, *(f"{key}={value}" for key, value in axes.items()))).command()


def _entry(rows: Sequence[str | dict[str, Any]], name: str) -> str | dict[str, Any]:
    """The row of the sweep file that is called ``name``."""
    return next(row for row in rows if (row if isinstance(row, str) else row["name"]) == name)


def _names(entry: str | dict[str, Any]) -> set[str]:
    """The label of a row of ``methods`` and the names of its components: what an assignment may start with."""
    parsed = parse_entry(entry, "methods")
    return {parsed.label, *(component.name for component in parsed.components)}


def _applies(key: str, gone: set[str]) -> bool:
    """Whether an assignment of the command line still has something to change without the methods called ``gone``."""
    owner, dot, _ = key.rpartition(".")
    return key not in _AXES and not (dot and owner in gone)


def _flow(value: Any) -> str:
    """YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n...\n").strip()
