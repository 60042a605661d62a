"""The command line: ``smilebench`` and ``python -m benchmark``. Each command parses its arguments and calls one function."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from benchmark.cli import assets
from benchmark.errors import UsageError, os_error_words
from benchmark.terminal import accept_any_text, console, errors, say

if TYPE_CHECKING:
    from benchmark.config.grid import Origin, Sweep

USAGE = 2

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(assets.data_app, name="data")
app.add_typer(assets.backbones_app, name="backbones")
app.add_typer(assets.list_app, name="list")
app.command()(assets.describe)
app.command()(assets.doctor)

SweepName = Annotated[str, typer.Argument(help="A sweep file, or the name of one in sweeps/.")]
Assignments = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the sweep file, as dotted.key=value.")]
Out = Annotated[Path | None, typer.Option(help="Results folder (default: results/<sweep>).")]


@app.command()
def sweep(
    sweep: SweepName,
    assignments: Assignments = None,
    backend: Annotated[Literal["local", "slurm"], typer.Option(help="Where runs are carried out: here, or as jobs.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes, here or per job (default: one per GPU or core).")] = None,
    out: Out = None,
    wait: Annotated[bool, typer.Option("--wait", help="With slurm: follow the jobs until they end, then report.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With slurm: print the sbatch scripts, change nothing.")] = False,
) -> None:
    """Carry out what is missing, failed or interrupted, then report. Safe to repeat. With slurm: submit it as jobs."""
    found, folder = _load(sweep, assignments, out)
    if backend == "slurm":
        from benchmark.slurm import submit

        code = submit.dry_run(found, folder, workers, console) if dry_run else submit.run(found, folder, workers, wait, console)
        raise typer.Exit(code or 0)
    if wait or dry_run:
        raise UsageError(f"{'--wait' if wait else '--dry-run'} goes with --backend slurm (for a local sweep: smilebench plan)")
    from benchmark.sweep import carry_out
    from benchmark.tuning.trials import curves

    raise typer.Exit(carry_out.run(found, folder, workers, console, lambda: curves(found.origin, folder, console)))


@app.command()
def plan(
    sweep: SweepName,
    assignments: Assignments = None,
    out: Out = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Train a few steps of the methods not measured yet: their cost, the size of their loss terms; on a CPU, bf16 too.",
        ),
    ] = False,
) -> None:
    """Say what a sweep would do; change nothing."""
    from benchmark.cli import printing

    printing.plan(*_load(sweep, assignments, out), probe, console)


@app.command()
def status(
    sweep: SweepName,
    assignments: Assignments = None,
    out: Out = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep the table up to date until the sweep ends.")] = False,
) -> None:
    """Show how far a sweep is."""
    from benchmark.config import kept_claims
    from benchmark.slurm import jobs
    from benchmark.sweep import status as states

    found, folder = _load(sweep, assignments, out)
    run_ids = [config.run_id for config in found.runs]
    if watch:
        states.watch(folder, run_ids, console)
    else:
        console.print(states.render(states.collect(folder, run_ids)))
        if line := kept_claims.together(folder, found.claims).about_late():
            say(console, line, "yellow")
        jobs.show_jobs(folder, console)


@app.command()
def train(assignments: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...")], out: Out = None) -> None:
    """Carry out one run: method=… dataset=… seed=… fraction=… and any key of a sweep file."""
    from benchmark.config import grid
    from benchmark.sweep import carry_out

    found = grid.single(assignments, out)
    assert found.origin is not None
    raise typer.Exit(carry_out.run(found, found.origin.folder, 1, console))


@app.command()
def report(sweep: SweepName, assignments: Assignments = None, out: Out = None) -> None:
    """Redraw tables, figures and report.html from the records alone."""
    from benchmark.sweep import results
    from benchmark.tuning.trials import curves

    found, folder = _load(sweep, assignments, out)
    if not (folder / "runs").is_dir():
        raise UsageError(f"no run of '{found.name}' under {folder} yet (run 'smilebench sweep', or name another folder with --out)")
    results.check_not_emptied(found, folder)
    results.show(results.report(found, folder, curves(found.origin, folder, console)), console)


app.command("figures", help="The same as report: redraw what the records say.")(report)


@app.command()
def tune(
    sweep: SweepName,
    assignments: Assignments = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes (default: one per GPU, or per CPU core).")] = None,
    out: Out = None,
) -> None:
    """Try settings as the sweep's tune block says, on validation images alone. Safe to repeat."""
    from benchmark.tuning import search as tuning

    opened, folder = _read(sweep, assignments, out)
    raise typer.Exit(tuning.run(opened, folder, workers, console))


@app.command()
def select(
    sweep: SweepName,
    assignments: Assignments = None,
    out: Out = None,
    again: Annotated[bool, typer.Option("--again", help="Even if final runs with such settings exist; tables will say so.")] = False,
) -> None:
    """Freeze the settings that tuning found best, for the final sweep to read."""
    from benchmark.tuning import freeze as selecting

    selecting.select(*_read(sweep, assignments, out), console, again)


@app.command()
def show(
    what: Annotated[list[str] | None, typer.Argument(metavar="METHOD [KEY=VALUE]...", help="As of train; digits without dataset=.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The PNG to write (default: DATASET-METHOD.png); with --into, the results folder.")
    ] = None,
    into: Annotated[str | None, typer.Option(metavar="SWEEP", help="Draw a sweep's methods (or one) for its report.")] = None,
    images: Annotated[int | None, typer.Option(min=1, max=32, help="How many images are shown (default: 8, with --into 6).")] = None,
) -> None:
    """Show the first training batch as the network sees it: images, partners, masks, weights and targets."""
    from benchmark.cli import show as showing

    if into is None:
        showing.show(what or [], out, images or showing.ON_TERMINAL, console)
    else:
        showing.show_into(into, what or [], out, images or showing.IN_REPORT, console)


@app.command()
def explain(
    sweep: SweepName,
    target: Annotated[str, typer.Argument(metavar="CELL|RUN_ID", help="dataset/fraction/method, or a run_id or the beginning of one.")],
    assignments: Assignments = None,
    out: Out = None,
) -> None:
    """Show the runs behind a cell of a table, their settings and cost, and the command that redoes it."""
    from benchmark.sweep import results

    found, folder = _load(sweep, assignments, out)
    results.explain(found, folder, target, console)


@app.command()
def compare(sweep: SweepName, assignments: Assignments = None, out: Out = None) -> None:
    """Set a sweep's cells beside published numbers: reproduced, off, or not comparable and why."""
    from benchmark.published import comparison as comparing
    from benchmark.published import published_numbers

    comparing.publish(*_load(sweep, assignments, out), published_numbers.load(), console)


@app.command()
def cancel(sweep: SweepName, assignments: Assignments = None, out: Out = None) -> None:
    """Stop a sweep: cancel its Slurm jobs, and tell what runs elsewhere. Runs keep their checkpoints."""
    from benchmark.slurm import jobs

    raise typer.Exit(jobs.cancel(*_load(sweep, assignments, out), console))


@app.command()
def logs(run_id: str, results: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("results")) -> None:
    """Print the log of a run, why it failed, and the logs of its jobs."""
    from benchmark.cli import printing

    printing.show_logs(run_id, results, console)


@app.command()
def export(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="A finished run that kept its weights (runtime.keep_weights).")],
    to: Annotated[Path | None, typer.Option(help="The folder to write (default: exported/RUN_ID).")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx as well; needs the extra 'onnx'.")] = False,
    results: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("results"),
) -> None:
    """Write a run's trained network as a folder that timm loads without SmileBench."""
    from benchmark.deploy import export as exporting

    folder, notes = exporting.export(run_id, results, to, onnx)
    for note in notes:
        say(console, note, "yellow")
    say(console, f"exported to {folder}: timm.create_model({f'local-dir:{folder}'!r}, pretrained=True) loads it")


@app.command()
def predict(
    target: Annotated[str, typer.Argument(metavar="RUN_ID|DIR", help="A finished run that kept its weights, or an exported folder.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...|FOLDER", help="Image files, or folders of them at any depth.")],
    out: Annotated[Path | None, typer.Option(help="The CSV file to write (default: standard output).")] = None,
    results: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("results"),
) -> None:
    """Give images their labels, with probabilities, as CSV. Files that cannot be read are named at the end (exit code 1)."""
    from benchmark.deploy import predict as predicting

    raise typer.Exit(predicting.predict(target, images, results, out, errors))


@app.command()
def merge(
    folders: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="Results folders, archives of pack; and KEY=VALUE changes.")],
    into: Annotated[str, typer.Option(help="The sweep: a sweep file, or the name of one in sweeps/.")],
    out: Out = None,
) -> None:
    """Bring the finished runs of other machines' results folders into one sweep. Nothing is overwritten; safe to repeat."""
    from benchmark.exchange import merge as merging

    named, assignments = _paths_and_assignments(folders)
    raise typer.Exit(merging.run(named, into, assignments, out, console))


@app.command()
def pack(
    what: Annotated[list[str], typer.Argument(metavar="SWEEP|RUN...", help="A sweep or its results folder; or runs: ids or folders.")],
    to: Annotated[Path | None, typer.Option(help="The archive (default: <sweep>.tar.gz here).")] = None,
    results: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("results"),
) -> None:
    """Make one archive of finished runs, without checkpoints and weights, for merge on another machine."""
    from benchmark.exchange import pack as packing

    packing.run(what, to, results, console)


def _paths_and_assignments(words: list[str]) -> tuple[list[Path], list[str]]:
    """Arguments that are paths, and those that are ``key=value``; what exists is a path."""
    assignments = [word for word in words if "=" in word and not Path(word).exists()]
    return [Path(word) for word in words if word not in assignments], assignments


def _load(sweep: str, assignments: list[str] | None, out: Path | None) -> "tuple[Sweep, Path]":
    from benchmark.config import grid

    found = grid.load(sweep, assignments or [], out)
    assert found.origin is not None
    return found, found.origin.folder


def _read(sweep: str, assignments: list[str] | None, out: Path | None) -> "tuple[Origin, Path]":
    from benchmark.config import grid

    origin = grid.read(sweep, assignments or [], out)
    return origin, origin.folder


def main() -> None:
    """Entry point: errors that are the user's to mend, those of files and disks among them, are printed and exit with 2."""
    accept_any_text()
    _check_package()
    from datasets.base import DataError

    try:
        app(standalone_mode=True)
    except (UsageError, DataError) as error:
        say(errors, f"error: {error}", "red")
        sys.exit(USAGE)
    except OSError as error:  # a place that the user named, a disk, or a machine
        words = os_error_words(error)
        if words is None:
            raise
        say(errors, f"error: {words}", "red")
        sys.exit(USAGE)


def _check_package() -> None:
    """Exit where another package is imported as ``datasets``, before anything of ours is."""
    import datasets

    if not hasattr(datasets, "DATASETS"):
        where = f"the package 'datasets' is {datasets.__file__}, not SmileBench's"
        say(errors, f"error: {where}: run inside the project's own environment (make setup)", "red")
        sys.exit(USAGE)
