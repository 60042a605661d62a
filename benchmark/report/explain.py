"""``smilebench explain``: what is behind a cell of a table, or behind one run."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmark.errors import UsageError
from benchmark.report.cells import Cell, Group, given, hours_of, term_ratios
from benchmark.report.collect import SECTIONS, Expected, Run, SweepInfo, cell_name
from benchmark.report.effects import option_text
from benchmark.report.intervals import mean
from benchmark.report.measures import accuracy, images_per_second, minutes, peak_memory_mib
from benchmark.report.tables import interval_value, p_value

_NEAREST = 3


@dataclass(frozen=True)
class Target:
    """A cell, or one run of it where ``seed`` is given."""

    dataset: str
    fraction: float
    method: str
    seed: int | None = None

    def seeds(self, expected: Sequence[Expected]) -> list[int]:
        """The seed of the run, or all that the sweep asks for in the cell."""
        cell = (self.dataset, self.fraction, self.method)
        asked = [item.seed for item in expected if (item.dataset, item.fraction, item.method) == cell]
        return asked if self.seed is None else [self.seed]


def find_target(expected: Sequence[Expected], text: str) -> Target:
    """The cell or run that ``text`` names.

    A run is its run_id or the beginning of one. A cell is ``dataset/fraction/method``, the fraction as a number or in percent
    (``0.15``, ``15%``); a data set or a fraction that is the sweep's only one may be left out. UsageError names the nearest ones.
    """
    runs = [item for item in expected if item.run_id.startswith(text)]
    exact = [item for item in runs if item.run_id == text]
    cells = _cells(expected)
    wanted = _normal(text)
    if exact or len(runs) == 1:
        item = (exact or runs)[0]
        return Target(item.dataset, item.fraction, item.method, item.seed)
    if wanted in cells:
        return cells[wanted]
    names = [*cells, *(item.run_id for item in expected)]
    near = difflib.get_close_matches(wanted, names, n=_NEAREST, cutoff=0.4)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    what = f"'{text}' begins {len(runs)} run_ids" if runs and text else f"no cell or run '{text}' in this sweep"
    raise UsageError(f"{what}{hint}. A cell is DATASET/FRACTION/METHOD ({_choices(expected)}), a run its run_id or the beginning of one")


def _cells(expected: Sequence[Expected]) -> dict[str, Target]:
    """Every cell under its full name and under the names that leave out what has no choice."""
    one_dataset, one_fraction = (len({getattr(item, axis) for item in expected}) == 1 for axis in ("dataset", "fraction"))
    found = {}
    for item in expected:
        target = Target(item.dataset, item.fraction, item.method)
        found[cell_name(item.dataset, item.fraction, item.method)] = target
        if one_dataset:
            found[f"{item.fraction:g}/{item.method}"] = target
        if one_fraction:
            found[f"{item.dataset}/{item.method}"] = target
        if one_dataset and one_fraction:
            found[item.method] = target
    return found


def _normal(text: str) -> str:
    """``text`` with a fraction in percent as a number."""
    return "/".join(f"{float(part[:-1]) / 100:g}" if _is_percent(part) else part for part in text.split("/"))


def _is_percent(part: str) -> bool:
    return part.endswith("%") and part[:-1].strip().replace(".", "", 1).isdigit()


def _choices(expected: Sequence[Expected]) -> str:
    axes = {"data sets": "dataset", "fractions": "fraction", "methods": "method"}
    listed = {title: dict.fromkeys(getattr(item, axis) for item in expected) for title, axis in axes.items()}
    return "; ".join(f"{title}: {', '.join(map(str, names))}" for title, names in listed.items())


def explain(info: SweepInfo, groups: Sequence[Group], target: Target, redo: str, console: Console) -> None:
    """Print the runs of ``target``, finished or not, with settings, cost, hashes, files and the command ``redo``."""
    group = next(group for group in groups if (group.dataset, group.fraction) == (target.dataset, target.fraction))
    cell = given(group.cell(target.method))
    if target.seed is not None:
        cell = replace(
            cell,
            runs=tuple(run for run in cell.runs if run.seed == target.seed),
            absent=tuple(item for item in cell.absent if item.expected.seed == target.seed),
        )
    console.print(Text(f"{info.name}: {name_of(cell)}" + ("" if target.seed is None else f", seed {target.seed}"), style="bold"))
    for line in _results(group, cell) if target.seed is None else []:
        console.print(Text(line))
    console.print(_runs(cell))
    for item in cell.absent:
        console.print(Text(f"{item.expected.run_id}: {item.state} ({item.reason})"))
    for title, text in [*details(replace(info, redo={}), cell), *_files(cell)]:
        console.print(Text.assemble((f"{title}: ", "bold"), text), soft_wrap=True)
    console.print(Text.assemble(("Redo: ", "bold"), redo), soft_wrap=True)


def _results(group: Group, cell: Cell) -> list[str]:
    lines = [f"{cell.n} of {cell.expected} runs finished"]
    if cell.accuracy:
        lines.append(f"Test accuracy {interval_value(cell.accuracy).text} %" + ("" if cell.n > 1 else " (one seed, no interval)"))
    if cell.difference:
        pairs = f"{cell.difference.n} pair{'' if cell.difference.n == 1 else 's'} of seeds"
        p = "not tested" if cell.p_holm is None else f"p (Holm) {p_value(cell).text}"
        lines.append(
            f"Difference to {group.baseline} {interval_value(cell.difference, '{:+.1f}').text} points over {pairs}, {p}".replace(" -", " −")
        )
    elif cell.refused and cell.n:
        lines.append(f"No difference to {group.baseline}: {cell.refused}")
    return lines


def _runs(cell: Cell) -> RichTable:
    table = RichTable()
    for title in ("Seed", "Accuracy (%)", "Minutes", "Resumed", "Subset", "Run"):
        table.add_column(title, justify="left" if title in ("Subset", "Run") else "right", overflow="fold")
    for run in cell.runs:
        entries = (
            run.seed,
            f"{accuracy(run):.2f}",
            f"{minutes(run):.2f}",
            f"{run.record.get('resumes', 0)} ×",
            run.record["subset_hash"][:12],
        )
        table.add_row(*(Text(str(entry)) for entry in (*entries, run.expected.run_id)))
    for item in cell.absent:
        table.add_row(*(Text(str(entry)) for entry in (item.expected.seed, item.state, "", "", "", item.expected.run_id)))
    return table


def _files(cell: Cell) -> list[tuple[str, str]]:
    return [("Files", f"{run.folder}: {', '.join(run.files()) or 'none kept'}") for run in cell.runs]


def name_of(cell: Cell) -> str:
    """``dataset/fraction/method``."""
    return cell_name(cell.dataset, cell.fraction, cell.method)


def details(info: SweepInfo, cell: Cell) -> list[tuple[str, str]]:
    """Settings, cost, provenance and the command that redoes the cell; what its runs did not keep is said to be missing."""
    lines = [*_settings(cell.runs[0]), *_terms(cell), *_cost(cell.runs), *_origin(cell.runs)] if cell.runs else []
    redo = info.redo.get(name_of(cell))
    return [*lines, ("Redo", redo)] if redo else lines


def _settings(run: Run) -> list[tuple[str, str]]:
    settings = run.settings()
    if not settings:
        return [("Settings", "config.yaml was not kept, or is damaged")]
    lines = [("Method", "; ".join(map(_component, settings.get("components", []))))]
    lines += [(name.capitalize(), _options(settings[name])) for name in SECTIONS if settings.get(name)]
    return [*lines, ("Arithmetic", f"{settings.get('precision')}, compile {settings.get('compile')}")]


def _component(part: dict[str, Any]) -> str:
    name = part["name"] if part["name"] == part["use"] else f"{part['name']} ({part['use']})"
    return f"{name} v{part['version']}" + (f": {_options(part['options'])}" if part["options"] else "")


def _options(options: dict[str, Any]) -> str:
    return ", ".join(f"{key} {option_text(value)}" for key, value in options.items())


def _terms(cell: Cell) -> list[tuple[str, str]]:
    ratios = term_ratios(cell)
    text = ", ".join(f"{term} {ratio:.2g} ×" if ratio < 100 else f"{term} {ratio:.0f} ×" for term, ratio in ratios.items())
    return [("Loss terms", f"{text} the cross-entropy (means over the run)")] if ratios else []


def _cost(runs: Sequence[Run]) -> list[tuple[str, str]]:
    hours = hours_of(runs)
    memory = [size for size in map(peak_memory_mib, runs) if size is not None]
    parts = [
        f"{hours.total(runs):.2f} {hours.unit} for {len(runs)} run{'' if len(runs) == 1 else 's'}",
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
