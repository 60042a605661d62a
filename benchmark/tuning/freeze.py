"""``select``: freezes, per data set, fraction and method, the settings with the highest mean validation accuracy.

Per fraction, because a run at 15 % of the labels may not profit from settings that were found with more of them. Only records that were
never scored on ``test`` are read, and nothing of a run but its ``record.json``. Once final runs have been scored, a selection is refused
unless it is asked for, and marked. A tuning seed draws a subset of its own, as every seed
does: with several of them, more labels stand behind a choice than one final run trains on, and the rule says so.
"""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmark.config import grid
from benchmark.config.run_config import load_run
from benchmark.config.selection import FILE, Again, Selection, Winner, conditions, digest, kept, settings_of
from benchmark.config.tune_options import Dimension, Range, Settings, Tune
from benchmark.errors import UsageError
from benchmark.storage.run_folder import RunFolder, write_json
from benchmark.terminal import say
from benchmark.tuning.search import leader, warnings
from benchmark.tuning.trials import FOLDER, TrialOutcome, TuningCell, Unfinished, cells, check_assignments, outcomes, tuned

EDGE = 0.05
"""A winner this close to an end of its range (as a part of it) is on the edge: better settings may lie beyond."""


def select(origin: grid.Origin, out: Path, console: Console, again: bool = False) -> Path:
    """Choose the winners from the tuning records in ``out`` and write ``selection.json``; UsageError where trials are missing.

    again: where final runs with selected settings are in ``out`` already, do it nevertheless; the file then says so for good. Else it is a
    UsageError: who has seen test could tune until it pleases.
    """
    check_assignments(origin)
    tune, folder, path = tuned(origin), out / FOLDER, out / FILE
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    searched, before = cells(origin), kept(path)
    seen = final_runs(out, searched, before)
    if seen and not again:
        raise UsageError(
            f"{out / 'runs'}: {len(seen)} final runs with selected settings have been scored on test (among them {seen[0]}): a selection "
            "from here on is no choice by validation images alone; --again makes it, and the caption of the tables will say so"
        )
    done, waiting = [], []
    for cell in searched:
        try:
            done.append(_winner(cell, outcomes(cell, folder), tune.space(cell.method, origin.where)))
        except Unfinished as error:
            waiting.append(str(error))
    if waiting:
        more = f"\nand {len(waiting) - 10} more" if waiting[10:] else ""
        raise UsageError("every method must have had its whole budget; run 'smilebench tune' first:\n" + "\n".join(waiting[:10]) + more)
    content = {
        "sweep": origin.file.name,
        "rule": rule(tune),
        "date": date,
        **{key: getattr(tune, key) for key in ("search", "trials", "seeds", "val_fraction")},
        "cells": [winner.model_dump(mode="json") for winner in done],
        "tune": tune.model_dump(mode="json"),
        "again": [each.model_dump(mode="json") for each in _history(before, seen, date)],
    }
    write_json(path, {**content, "digest": digest(content)})
    _show(done, console)
    for line in warnings(origin):
        say(console, line, "yellow")
    say(console, f"selection: {path}")
    return path


def final_runs(out: Path, searched: Sequence[TuningCell], before: Selection | None) -> list[str]:
    """run_ids of the finished runs in ``out`` that have the settings of a trial of their cell, or of its winner ``before``.

    The file of winners alone would not do: it can be removed.
    """
    pool: dict[tuple[str, float, str], list[Settings]] = {}
    for cell in searched:
        pool[cell.dataset, cell.fraction, cell.method] = [trial.settings for trial in cell.trials]
    for winner in before.cells if before else []:
        pool.setdefault((winner.dataset, winner.fraction, winner.method), []).append(winner.settings)
    found = []
    for folder in sorted((out / "runs").glob("*")):
        run = RunFolder(folder)
        if not run.record_path.exists():
            continue
        try:
            config = load_run(run.config_path)
        except (UsageError, OSError):
            continue  # damaged: no report counts it either
        tried = pool.get((config.dataset, config.fraction, config.method), [])
        if config.evaluation.test and any(settings_of(config, settings) == settings for settings in tried):
            found.append(folder.name)
    return found


def _history(before: Selection | None, seen: Sequence[str], date: str) -> list[Again]:
    """Every selection that was made when test had been seen, the newest last."""
    earlier = before.again if before else []
    return [*earlier, Again(date=date, runs=len(seen), replaced=before.digest if before else "")] if seen else earlier


def rule(tune: Tune) -> str:
    """How winners are chosen, in words that a table can carry."""
    seeds = f"seed{'s' if len(tune.seeds) > 1 else ''} {', '.join(map(str, tune.seeds))}"
    return (
        f"Settings were selected per data set, fraction and method: of {tune.trials} trials each ({tune.search} search), the one with the "
        f"highest mean validation accuracy over {seeds} (each with its own training subset, of which {100 * tune.val_fraction:g} % are "
        "held out); of equal ones the earlier trial. Tuning never read test."
    )


def _winner(cell: TuningCell, found: Sequence[TrialOutcome], space: dict[str, Dimension]) -> Winner:
    best = leader(found)
    if best is None:
        raise UsageError(f"{cell.name}: every trial failed ({found[0].failed}); change its space and run 'smilebench tune' again")
    assert best.score is not None
    first, (pair,) = best.trial.runs[0], best.hashes
    tried = [outcome.trial.settings for outcome in found]
    return Winner(
        dataset=cell.dataset,
        fraction=cell.fraction,
        method=cell.method,
        trial=best.trial.number,
        settings=best.trial.settings,
        val_accuracy=best.score,
        tied=[o.trial.number for o in found if o.score == best.score and o is not best],
        failed={str(o.trial.number): o.failed for o in found if o.score is None},
        warnings=[
            text for key, dimension in space.items() if (text := edge(key, dimension, best.trial.settings[key], [t[key] for t in tried]))
        ],
        components=list(first.uses),
        conditions=conditions(first, best.trial.settings),
        data_hash=pair[0],
        weights_hash=pair[1],
        records=[record for outcome in found for record in outcome.records],
    )


def edge(key: str, dimension: Dimension, value: Any, tried: Sequence[Any]) -> str:
    """What to say where ``value`` is at an end of its range, or is the first or last of three or more numbers to choose from; else ''."""
    if isinstance(dimension, Range):
        share = dimension.share(value)
        low, high = share <= EDGE or value == min(tried), share >= 1 - EDGE or value == max(tried)
        ends = f"{dimension.low:g} to {dimension.high:g}"
    else:
        numbers = [v for v in dimension if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) < len(dimension) or len(dimension) < 3:
            return ""
        low, high = value == min(numbers), value == max(numbers)
        ends = ", ".join(f"{v:g}" for v in numbers)
    return f"{key}: the winner {value:g} is on the {'lower' if low else 'upper'} edge of what was tried ({ends})" if low or high else ""


def _show(done: Sequence[Winner], console: Console) -> None:
    table = Table("data set", "fraction", "method", "val (%)", "tied", "failed", "settings", title="winners", title_justify="left")
    for winner in done:
        settings = ", ".join(f"{key}={value}" for key, value in winner.settings.items())
        row = (f"{100 * winner.val_accuracy:.1f}", str(len(winner.tied)), str(len(winner.failed)), settings)
        table.add_row(winner.dataset, f"{winner.fraction:g}", winner.method, *row)
    console.print(table)
    for winner in done:
        for text in winner.warnings:
            say(console, f"{winner.method} on {winner.dataset} at {winner.fraction:g}: {text}", "yellow")
