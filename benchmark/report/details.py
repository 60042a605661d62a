"""What is behind a cell: its settings, cost and hashes, as (name, text) lines that the page and the terminal share."""

from collections.abc import Sequence
from typing import Any

from benchmark.report.cells import Cell, images_per_second, minutes, peak_memory_mib
from benchmark.report.collect import Run, SweepInfo, cell_name
from benchmark.report.cost import cost_of
from benchmark.report.intervals import mean

_SECTIONS = {"training": "Training", "data": "Data", "linearity": "Linearity", "evaluation": "Evaluation"}


def name_of(cell: Cell) -> str:
    """``dataset/fraction/method``."""
    return cell_name(cell.dataset, cell.fraction, cell.method)


def details(info: SweepInfo, cell: Cell) -> list[tuple[str, str]]:
    """Settings, cost, provenance and the command that redoes the cell; what its runs did not keep is said to be missing."""
    lines = [*_settings(cell.runs[0]), *_cost(cell.runs), *_origin(cell.runs)] if cell.runs else []
    redo = info.redo.get(name_of(cell))
    return [*lines, ("Redo", redo)] if redo else lines


def _settings(run: Run) -> list[tuple[str, str]]:
    settings = run.settings()
    if not settings:
        return [("Settings", "config.yaml was not kept")]
    lines = [("Method", "; ".join(map(_component, settings.get("components", []))))]
    lines += [(title, _options(settings[name])) for name, title in _SECTIONS.items() if settings.get(name)]
    return [*lines, ("Arithmetic", f"{settings.get('precision')}, compile {settings.get('compile')}")]


def _component(part: dict[str, Any]) -> str:
    name = part["name"] if part["name"] == part["use"] else f"{part['name']} ({part['use']})"
    return f"{name} v{part['version']}" + (f": {_options(part['options'])}" if part["options"] else "")


def _options(options: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in options.items())


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "on", False: "off"}[value]
    return str(value)


def _cost(runs: Sequence[Run]) -> list[tuple[str, str]]:
    cost = cost_of(runs)
    memory = [size for size in map(peak_memory_mib, runs) if size is not None]
    parts = [
        f"{cost.total(runs):.2f} {cost.unit} for {len(runs)} run{'' if len(runs) == 1 else 's'}",
        f"{mean([minutes(run) for run in runs]):.2f} minutes and {mean([images_per_second(run) for run in runs]):.0f} images/s per run",
        f"peak memory {max(memory):.0f} MiB" if memory else "peak memory not measured",
    ]
    return [("Cost", "; ".join(parts))]


def _origin(runs: Sequence[Run]) -> list[tuple[str, str]]:
    fields = {
        "Device": lambda r: f"{r['device']}, {r['threads']} thread{'' if r['threads'] == 1 else 's'}, host {r.get('hostname')}",
        "Backbone": lambda r: f"{r.get('backbone')}, weights {r['weights_hash']}",
        "Images": lambda r: f"{r.get('num_train')} for training, {r.get('num_classes')} classes; data {r['data_hash']}",
        "Code": lambda r: f"git commit {r.get('git_commit') or 'not recorded'}",
    }
    return [(name, "; ".join(dict.fromkeys(read(run.record) for run in runs))) for name, read in fields.items()]
