"""``tune``: carries out the trials of a tuning sweep, and draws what each budget would have found."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmark.config import grid
from benchmark.config.method_options import method_looks
from benchmark.errors import UsageError
from benchmark.report.budget import CSV, budget_csv
from benchmark.report.collect import Tuned
from benchmark.storage.atomic import write_text
from benchmark.sweep import carry_out
from benchmark.terminal import say
from benchmark.tuning.trials import FOLDER, TrialOutcome, cells, check_assignments, curves, of_trials, outcomes, runs_of, tuned


def run(origin: grid.Origin, out: Path, workers: int | None, console: Console) -> int:
    """Carry out every trial that is missing, interrupted, or failed before this command; returns the exit code."""
    check_assignments(origin)
    origin = of_trials(origin)
    grid.expand(
        origin.file.model_copy(update={"selection": None}), origin.extra, origin.where, origin.auto
    )  # refuses overrides that hit no run
    for line in warnings(origin):
        say(console, line, "yellow")
    folder = out / FOLDER
    found = cells(origin)
    labels = tuple(dict.fromkeys(cell.method for cell in found))
    batch = grid.Sweep(
        f"{origin.file.name} (tuning)", origin.file.baseline, origin.file.protocol, labels, tuple(runs_of(found)), origin=origin
    )
    code = carry_out.complete(batch, folder, workers, console)
    if code in (0, 1):
        show(origin, out, console)
    return code


def warnings(origin: grid.Origin) -> list[str]:
    """What a reader of the final table would object to."""
    file, tune = origin.file, tuned(origin)
    seeds = range(file.seeds) if isinstance(file.seeds, int) else file.seeds
    shared = sorted(set(seeds) & set(tune.seeds))
    text = "seeds {} are used both for tuning and in the final sweep: its numbers will flatter the choice (tune.seeds names others)"
    return [text.format(", ".join(map(str, shared)))] if shared else []


def show(origin: grid.Origin, out: Path, console: Console) -> None:
    """Print the best trial of every cell, and write the budget curves."""
    table = Table(
        "data set", "fraction", "method", "trials", "best val (%)", "with", title="tuning, on validation accuracy", title_justify="left"
    )
    folder = out / FOLDER
    for cell in cells(origin):
        try:
            done = outcomes(cell, folder)
        except UsageError as error:
            table.add_row(cell.dataset, f"{cell.fraction:g}", cell.method, "-", "-", str(error))
            continue
        best = leader(done)
        failed = sum(outcome.score is None for outcome in done)
        count = f"{len(done)}" + (f" ({failed} failed)" if failed else "")
        top = "-" if best is None or best.score is None else f"{100 * best.score:.1f}"
        words = ", ".join(f"{key}={value}" for key, value in best.trial.settings.items()) if best else "-"
        table.add_row(cell.dataset, f"{cell.fraction:g}", cell.method, count, top, words)
    console.print(table)
    for path in write_budget(folder, curves(origin, out, console)):
        say(console, f"budget: {path}")


def write_budget(folder: Path, found: Sequence[Tuned]) -> list[Path]:
    """Write ``tables/tuning_budget.csv`` and a figure per data set × fraction below ``folder``; returns their paths."""
    from benchmark.report.figures.write import write_budgets
    from benchmark.report.style import Looks

    if not found:
        return []
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    write_text(folder / "tables" / CSV, budget_csv(found), durable=False)
    pictures = write_budgets(found, folder / "figures", Looks(method_looks()))
    return [folder / "tables" / CSV, *(folder / "figures" / f"{picture.name}.png" for picture in pictures)]


def leader(done: Sequence[TrialOutcome]) -> TrialOutcome | None:
    """The outcome with the highest score; of equal ones the earliest trial."""
    scored = [outcome for outcome in done if outcome.score is not None]
    return max(scored, key=lambda outcome: (outcome.score, -outcome.trial.number), default=None)
