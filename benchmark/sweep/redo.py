"""The command line that carries out one cell of a sweep again, and nothing else."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmark.config.entries import parse_entry
from benchmark.config.grid import Sweep
from benchmark.report.collect import cell_name
from benchmark.storage import yamlio

_AXES = ("methods", "datasets", "fractions", "seeds", "baseline")


def commands(sweep: Sweep) -> dict[str, str]:
    """Per cell, by :func:`cell_name`, the command that redoes all its seeds."""
    seeds: dict[tuple[str, float, str], list[int]] = {}
    for run in sweep.runs:
        seeds.setdefault((run.dataset, run.fraction, run.method), []).append(run.seed)
    raw = yamlio.parse(sweep.text, sweep.source)
    return {cell_name(*key): _command(sweep, raw, *key, found) for key, found in seeds.items()}


def command(sweep: Sweep, dataset: str, fraction: float, method: str, seeds: Sequence[int]) -> str:
    """The command that redoes these ``seeds`` of a cell: the same run_ids, in a results folder of their own."""
    return _command(sweep, yamlio.parse(sweep.text, sweep.source), dataset, fraction, method, seeds)


def _command(sweep: Sweep, raw: dict[str, Any], dataset: str, fraction: float, method: str, seeds: Sequence[int]) -> str:
    program, verb, *given = shlex.split(sweep.command)
    out = ["--out", str(Path("results") / f"{sweep.name}-redo")]
    if verb != "sweep":
        return shlex.join([program, verb, *given, *out])
    entry = _entry(raw["methods"], method)
    gone = set().union(*map(_names, raw["methods"])) - _names(entry)
    kept = [assignment for assignment in given[1:] if _applies(assignment.partition("=")[0], gone)]
    axes = {
        "methods": _flow([entry]),
        "baseline": _flow(method),
        "datasets": _flow([_entry(raw["datasets"], dataset)]),
        "fractions": _flow([fraction]),
        "seeds": _flow(list(seeds)),
    }
    return shlex.join([program, verb, given[0], *kept, *(f"{key}={value}" for key, value in axes.items()), *out])


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
