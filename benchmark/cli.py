"""The command line: ``smilebench`` and ``python -m benchmark``. Each command parses its arguments and calls one function."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from benchmark.errors import UsageError
from datasets.base import DataError

USAGE = 2

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
data_app = typer.Typer(no_args_is_help=True, help="Prepare data sets and look at them.")
backbones_app = typer.Typer(no_args_is_help=True, help="Prepare pre-trained weights and look at them.")
list_app = typer.Typer(no_args_is_help=True, help="What there is to choose from.")
app.add_typer(data_app, name="data")
app.add_typer(backbones_app, name="backbones")
app.add_typer(list_app, name="list")

SweepName = Annotated[str, typer.Argument(help="A sweep file, or the name of one in sweeps/.")]
Assignments = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the sweep file, as dotted.key=value.")]
Out = Annotated[Path | None, typer.Option(help="Results folder [default: results/<sweep>].")]
WIDTH = 132
"""Columns where the output is no terminal."""
console = Console(width=None if sys.stdout.isatty() else WIDTH)


@app.command()
def sweep(
    sweep: SweepName,
    assignments: Assignments = None,
    backend: Annotated[Literal["local"], typer.Option(help="Where runs are carried out.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes [default: one per GPU, or per CPU core].")] = None,
    out: Out = None,
) -> None:
    """Carry out what is missing, failed or interrupted, then report. Safe to repeat."""
    from benchmark.sweep import command

    found, folder = _load(sweep, assignments, out)
    raise typer.Exit(command.run(found, folder, workers, console))


@app.command()
def plan(sweep: SweepName, assignments: Assignments = None, out: Out = None) -> None:
    """Say what a sweep would do; change nothing."""
    from benchmark.sweep import command
    from benchmark.sweep import plan as planning

    command.show_plan(planning.make(*_load(sweep, assignments, out)), console)


@app.command()
def status(
    sweep: SweepName,
    assignments: Assignments = None,
    out: Out = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep the table up to date until the sweep ends.")] = False,
) -> None:
    """Show how far a sweep is."""
    from benchmark.sweep import status as states

    found, folder = _load(sweep, assignments, out)
    run_ids = [config.run_id for config in found.runs]
    if watch:
        states.watch(folder, run_ids, console)
    else:
        console.print(states.render(states.collect(folder, run_ids)))


@app.command()
def train(assignments: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...")], out: Out = None) -> None:
    """Carry out one run: method=… dataset=… seed=… fraction=… and any key of a sweep file."""
    from benchmark.sweep import command, grid

    found = grid.single(assignments)
    raise typer.Exit(command.run(found, out or Path("results") / found.name, 1, console))


@app.command()
def report(sweep: SweepName, assignments: Assignments = None, out: Out = None) -> None:
    """Redraw tables, figures and report.html from the records alone."""
    from benchmark.sweep import command

    found, folder = _load(sweep, assignments, out)
    command.show(command.report(found, folder), console)


app.command("figures", help="The same as report: redraw what the records say.")(report)


@app.command()
def logs(run_id: str, results: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("results")) -> None:
    """Print the log of a run, and why it failed."""
    from benchmark.sweep.state import RunFolder

    folders = sorted(results.glob(f"*/runs/{run_id}*"))
    if not folders:
        raise UsageError(f"no run '{run_id}' under {results}")
    for folder in folders:
        run = RunFolder(folder)
        console.print(f"{folder}: {run.state()}", highlight=False)
        if run.log_path.is_file():
            console.print(run.log_path.read_text(encoding="utf-8"), markup=False, highlight=False)
        if failure := run.failure():
            console.print(f"{failure['reason']}\n{failure['traceback'] or ''}", markup=False, highlight=False)


@app.command()
def describe(method: str) -> None:
    """Print a method's equation, and every option with its default."""
    from benchmark import catalogue

    catalogue.describe(method, console)


@app.command()
def doctor() -> None:
    """Check that this installation can run: packages, folders, embedded weights, devices."""
    from benchmark import catalogue

    raise typer.Exit(catalogue.doctor(console))


@list_app.command("methods")
def list_methods() -> None:
    """Methods and named variants."""
    from benchmark import catalogue

    catalogue.methods_table(console)


@list_app.command("backbones")
@backbones_app.command("list")
def list_backbones() -> None:
    """The embedded backbone and every prepared one."""
    from benchmark import catalogue

    catalogue.backbones_table(console)


@list_app.command("sweeps")
def list_sweeps() -> None:
    """Sweep files that come with the project."""
    from benchmark import catalogue

    catalogue.sweeps_table(console)


@backbones_app.command("prepare")
def prepare_backbone(name: str, source: Annotated[Path | None, typer.Option("--from", help="A weight file that you have.")] = None) -> None:
    """Fetch a timm tag once, or read it from a file; runs then need no network."""
    from benchmark.training.backbones import prepare

    weights = prepare(name, source)
    console.print(f"{name}: prepared, sha256 {weights.sha256}", highlight=False)


@backbones_app.command("verify")
def verify_backbone(name: str) -> None:
    """Check prepared weights against their recorded sha256, and load them."""
    from benchmark.training.backbones import verify

    console.print(f"{name}: intact, sha256 {verify(name)}", highlight=False)


@data_app.command("prepare")
def prepare_data(
    name: str,
    source: Annotated[Path | None, typer.Option("--from", help="A folder, archive or parquet file that you have.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch the official files; a broken download is continued.")] = False,
    resize: Annotated[int, typer.Option(min=8, help="Pixels of the decoded copy: of both sides, or of the shorter one.")] = 256,
    keep_aspect: Annotated[bool | None, typer.Option(help="Keep the aspect ratio [default: as published work on this data set].")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Accept a copy that is not complete.")] = False,
) -> None:
    """Fetch or read a data set, check its counts, and decode it; runs then need no network."""
    from benchmark import data

    data.prepare(name, source, download, resize, keep_aspect, partial, console)


@data_app.command("list")
def list_data() -> None:
    """Data sets: prepared, present or missing, and their size on disk."""
    from benchmark import data

    data.table(console)


@data_app.command("verify")
def verify_data(name: str) -> None:
    """Check counts, every decoded copy, and that the images are still those which were decoded."""
    from benchmark import data

    data.check(name, console)


@data_app.command("show")
def show_data(
    name: str,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "train",
    out: Annotated[Path | None, typer.Option(help="The PNG to write [default: NAME-SPLIT.png].")] = None,
) -> None:
    """Say what is known of a data set, and write a contact sheet: images with their labels."""
    from benchmark import data

    data.show(name, split, out, console)


def _load(sweep: str, assignments: list[str] | None, out: Path | None) -> tuple:
    from benchmark.sweep import grid

    found = grid.load(sweep, assignments or [])
    return found, out or Path("results") / found.name


def main() -> None:
    """Entry point: errors that are the user's to mend are printed and exit with 2."""
    try:
        _check_package()
        app(standalone_mode=True)
    except (UsageError, DataError) as error:
        errors = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
        errors.print(f"error: {error}", style="red", highlight=False, markup=False)
        sys.exit(USAGE)


def _check_package() -> None:
    import datasets

    if not hasattr(datasets, "DATASETS"):
        raise UsageError(
            f"the package 'datasets' is {datasets.__file__}, not SmileBench's: run inside the project's own environment (make)"
        )
