"""A sweep in the words of the report, which knows no configs; and the command line that carries out one of its cells again."""

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmark.config import kept_claims
from benchmark.config.entries import parse_entry
from benchmark.config.grid import Sweep
from benchmark.config.method_options import method_looks
from benchmark.errors import UsageError
from benchmark.report import explain as explaining
from benchmark.report.build import STATE, Report, build, print_table
from benchmark.report.cells import group_runs, group_slug
from benchmark.report.collect import Expected, SweepInfo, Tuned, cell_name, collect
from benchmark.report.figures import processes
from benchmark.storage.atomic import write_text
from benchmark.terminal import say

_AXES = ("methods", "datasets", "fractions", "seeds", "baseline")


def asked_for(sweep: Sweep) -> tuple[SweepInfo, list[Expected]]:
    """What the report is told of a sweep, and the runs it is to find."""
    source, command = (sweep.origin.shown, sweep.origin.command()) if sweep.origin else ("", "")
    about = (sweep.name, sweep.baseline, sweep.methods, sweep.protocol, source, command)
    info = SweepInfo(
        *about,
        redo=redo_commands(sweep),
        selection=sweep.selection,
        looks=dict(method_looks()),
        columns=sweep.columns,
        averaged=tuple(method for method, run in {run.method: run for run in sweep.runs}.items() if run.averages),
        notes={group_slug(*place): _notes(sweep, *place) for place in dict.fromkeys((run.dataset, run.fraction) for run in sweep.runs)},
    )
    return info, [Expected(c.run_id, c.dataset, c.fraction, c.method, c.seed) for c in sweep.runs]


def _notes(sweep: Sweep, dataset: str, fraction: float) -> tuple[str, ...]:
    """What the file says to readers of a main table, and what ``select`` had to say of the settings behind it."""
    chosen = sweep.winners.found.cells if sweep.winners.found else []
    mine = [w for w in chosen if (w.dataset, w.fraction) == (dataset, fraction) and w.method in sweep.methods]
    return (*filter(None, [sweep.note]), *(f"{winner.method}, tuned: {warning}" for winner in mine for warning in winner.warnings))


def check_not_emptied(sweep: Sweep, out: Path) -> None:
    """UsageError where a report in ``out`` would lose all its runs, as none of the finished ones is of the sweep as it stands."""
    finished = {record.parent.name for record in (out / "runs").glob("*/record.json")}
    if finished and (out / STATE).exists() and finished.isdisjoint(run.run_id for run in sweep.runs):
        raise UsageError(
            f"{out}: none of its {len(finished)} finished runs is of '{sweep.name}' as it stands (they have other settings, or are of an "
            "earlier version): the report there is left as it is; 'smilebench sweep' makes the runs anew"
        )


@contextlib.contextmanager
def loading() -> Iterator[Callable[[], None]]:
    """Gives what begins, once, in a thread and in processes, to import what draws a report and to read the methods' looks: less to wait for
    after the last run. The thread has ended when the block is left, as Python cannot import while it ends. What fails in it is left to the
    report, which meets the same.
    """
    with ThreadPoolExecutor(1) as thread:

        @functools.cache
        def begin() -> None:
            processes.begin()
            thread.submit(_load)

        yield begin


def _load() -> None:
    importlib.import_module("benchmark.report.redraw")
    method_looks()


def report(sweep: Sweep, out: Path, tuning: tuple[Tuned, ...] = ()) -> Report:
    """Redraw the report of a sweep from its records, when they changed. tuning: the budget curves of its tuning."""
    info, expected = asked_for(sweep)
    if sweep.origin is not None:
        write_text(out / "sweep.yaml", sweep.origin.text)
    return build(out, replace(info, tuning=tuning, claims=kept_claims.keep(out, sweep.claims).claims), expected)


def explain(sweep: Sweep, out: Path, text: str, console: Console) -> None:
    """Print what is behind the cell or run that ``text`` names, and the command that redoes it."""
    info, expected = asked_for(sweep)
    target = explaining.find_target(expected, text)
    groups = group_runs(info, expected, collect(out, expected))
    again = redo_command(sweep, target.dataset, target.fraction, target.method, target.seeds(expected))
    explaining.explain(info, groups, target, again, console)


def show(found: Report, console: Console) -> None:
    """Print the main tables and the path of the report."""
    print_table(found, console)
    say(console, f"report: {found.html}")


def redo_commands(sweep: Sweep) -> dict[str, str]:
    """Per cell, by :func:`cell_name`, the command that redoes all its seeds; none for a sweep without a command of its own."""
    seeds: dict[tuple[str, float, str], list[int]] = {}
    for run in sweep.runs:
        seeds.setdefault((run.dataset, run.fraction, run.method), []).append(run.seed)
    return {cell_name(*key): redo_command(sweep, *key, found) for key, found in seeds.items()} if sweep.origin else {}


def redo_command(sweep: Sweep, dataset: str, fraction: float, method: str, seeds: Sequence[int]) -> str:
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
