"""What ``sweep``, ``plan`` and ``train`` do: prepare, run what is not done, report."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from benchmark.config.grid import Sweep
from benchmark.config.run_config import RunConfig, Runtime
from benchmark.devices import cpu_count, visible_gpus
from benchmark.errors import UsageError
from benchmark.report.build import Report, build, print_table
from benchmark.report.collect import Expected, SweepInfo, collect
from benchmark.storage import yamlio
from benchmark.storage.run_folder import RunFolder, check_writable, write_text
from benchmark.sweep import redo
from benchmark.sweep.plan import Plan, data_sets, make
from benchmark.sweep.progress import duration, open_view, size
from benchmark.sweep.stop_early import Fuse
from benchmark.tuning.trials import curves
from datasets.arena import Decode, find, prepare, verify
from datasets.base import Use, open_dataset


def run(sweep: Sweep, out: Path, workers: int | None, console: Console) -> int:
    """Carry out what is missing, failed, interrupted or stale, then report. Returns the exit code."""
    if not all(config.evaluation.test for config in sweep.runs):
        raise UsageError(f"{sweep.name}: evaluation.test: false is for 'smilebench tune': a sweep's report is of test")
    code = complete(sweep, out, workers, console)
    if code not in (0, 1):
        return code
    try:
        show(report(sweep, out), console)
    except OSError as error:  # the disk that stopped the runs stops the report
        console.print(f"the report could not be written: {error.strerror}", style="red", highlight=False)
        return 1
    return code


def complete(sweep: Sweep, out: Path, workers: int | None, console: Console) -> int:
    """Carry out what is missing, failed, interrupted or stale in ``out``. Returns the exit code."""
    check_writable(out)
    prepare_data(sweep.runs, console)
    plan = make(sweep, out)
    if plan.missing:
        raise UsageError("\n".join(plan.missing))
    warn(plan, console)
    if not plan.todo:
        return 0
    verify_data([item.config for item in plan.todo], console)
    console.print(f"{sweep.name}: {summary(plan)}")
    return _carry_out(plan, workers, console)


def _carry_out(plan: Plan, workers: int | None, console: Console) -> int:
    from benchmark.sweep.runner import run_local

    create_folders(plan)
    runtime = plan.sweep.runs[0].runtime
    devices, count = places(runtime)
    order = [item.config.run_id for item in sorted(plan.runs, key=lambda item: -(item.seconds or item.work))]
    fuse = Fuse(plan.sweep.give_up_after, done=bool(plan.counts["done"]))
    outcome = run_local(
        plan.out, order, workers=workers or count, threads=runtime.threads, devices=devices, view=open_view(console), fuse=fuse
    )
    for run_id, reason in outcome.failed.items():
        console.print(f"failed: {run_id}: {reason}", style="red", highlight=False)
    if outcome.message:
        console.print(outcome.message, highlight=False)
    return outcome.exit_code


def places(runtime: Runtime) -> tuple[list[str], int]:
    """The devices that workers are given in turn, and how many workers fill them."""
    if runtime.device == "cuda":
        devices = visible_gpus()
        return devices, len(devices) * runtime.workers_per_gpu
    return ["cpu"], max(1, cpu_count() // runtime.threads)


def create_folders(plan: Plan) -> None:
    """A folder with its ``config.yaml`` for every run that is to do; a stale record is set aside with its folder first."""
    for item in plan.todo:
        if item.state == "stale" and RunFolder(item.folder).record_path.exists():  # else another command was here since
            set_aside(plan.out, item.folder)
        RunFolder(item.folder).create(yamlio.dump(item.config.model_dump(mode="json")))


def set_aside(out: Path, folder: Path) -> None:
    """Move a stale run's folder to ``stale/``, under a number of its own."""
    target = out / "stale"
    target.mkdir(exist_ok=True)
    taken = len(list(target.glob(f"{folder.name}.*")))
    with contextlib.suppress(FileNotFoundError):  # another command has just done it
        folder.rename(target / f"{folder.name}.{taken}")


def prepare_data(configs: Sequence[RunConfig], console: Console) -> None:
    """Decode every data set of the runs that is not prepared yet; nothing is downloaded."""
    for use, decode in data_sets(configs):
        dataset = open_dataset(use)
        if find(dataset, decode) is None:
            decode_with_progress(use, decode, console)


def verify_data(configs: Sequence[RunConfig], console: Console) -> None:
    """Read the decoded images of the runs once and compare their checksums, before anything trains on them; DataError names the file."""
    for use, decode in data_sets(configs):
        arena = find(open_dataset(use), decode)
        if arena is not None:
            with console.status(f"checking the decoded images of {escape(str(use))}"):
                verify(arena)


def decode_with_progress(use: Use, decode: Decode, console: Console, partial: bool = False) -> None:
    """Decode one data set into its arena, with a progress bar, and say what listing and decoding came upon."""
    dataset = open_dataset(use, partial)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(f"decoding {escape(str(use))}", total=sum(len(items) for items in dataset.splits.values()))
        arena = prepare(dataset, decode, cpu_count(), lambda done, total: bar.update(task, completed=done, total=total))
    for line in (*dataset.notes, *arena.notes):
        console.print(f"{use}: {line}", style="yellow", highlight=False, markup=False)


def summary(plan: Plan) -> str:
    """Counts by state and the estimated cost, in one line."""
    counts = ", ".join(f"{n} {state}" for state, n in sorted(plan.counts.items()))
    return f"{len(plan.runs)} runs: {counts}; to do: {len(plan.todo)}" + (f", {cost(plan)}" if plan.todo else "")


def cost(plan: Plan) -> str:
    """What the runs to do are expected to take, and what that is based on."""
    found, runtime = plan.estimate, plan.sweep.runs[0].runtime
    if plan.seconds is None:
        return "cost unknown until a first run is measured (plan --probe measures a few steps)"
    if runtime.device == "cuda":
        unit, hours = "GPU", plan.seconds / 3600 / runtime.workers_per_gpu
    else:
        unit, hours = "CPU", plan.seconds / 3600 * runtime.threads
    parts = [f"about {duration(plan.seconds)} of one worker ({hours:.2g} {unit}-hours)"]
    if found.disk is not None:
        parts.append(f"{size(len(plan.todo) * found.disk)} of disk")
    if (memory := found.memory()) is not None:
        parts.append(f"up to {size(memory)} of memory a worker")
    scaled = found.unmeasured([run.config for run in plan.todo])
    by = f"by {found.basis}" + (f", scaled for {', '.join(scaled)}" if scaled else "")
    return ", ".join([*parts, by])


def plan(sweep: Sweep, out: Path, probe: bool, console: Console) -> None:
    """Print what a sweep would do; probe: measure its cost first."""
    made = make(sweep, out)
    if probe:
        from benchmark.sweep.probe import measured

        made = measured(made, console)
    show_plan(made, console)


def show_plan(plan: Plan, console: Console) -> None:
    """Print what a sweep would do."""
    from benchmark.slurm import submit as cluster

    console.print(f"{plan.sweep.name} ({plan.sweep.source}) -> {plan.out}", highlight=False)
    console.print(summary(plan), highlight=False)
    for reason, count in plan.reasons("stale"):
        console.print(f"stale: {count} done with {reason}", highlight=False, markup=False)
    for reason, count in plan.reasons("failed"):
        console.print(f"failed: {count}: {reason}", style="red", highlight=False, markup=False)
    if plan.leftover:
        console.print(f"{plan.leftover} folders of earlier settings are left as they are", highlight=False)
    if plan.present:
        console.print(f"prepared: {', '.join(plan.present)}", highlight=False, markup=False)
    cluster.describe(plan, console)
    for line in plan.missing:
        console.print(f"missing: {line}", style="yellow", highlight=False)
    warn(plan, console)


def warn(plan: Plan, console: Console) -> None:
    """Say which data sets are not what their name promises."""
    for line in plan.incomplete:
        console.print(f"not a complete copy, its results compare with no others: {line}", style="yellow", highlight=False)


def asked_for(sweep: Sweep) -> tuple[SweepInfo, list[Expected]]:
    """The sweep in the words of the report, which knows no configs."""
    about = (sweep.name, sweep.baseline, sweep.methods, sweep.protocol, sweep.source, sweep.command)
    info = SweepInfo(*about, redo=redo.commands(sweep), selection=sweep.selection)
    return info, [Expected(c.run_id, c.dataset, c.fraction, c.method, c.seed) for c in sweep.runs]


def report(sweep: Sweep, out: Path) -> Report:
    """Redraw the report of a sweep from its records, when they changed."""
    info, expected = asked_for(sweep)
    info = replace(info, tuning=curves(sweep.opened, out))
    write_text(out / "sweep.yaml", sweep.text)
    return build(out, info, expected)


def explain(sweep: Sweep, out: Path, text: str, console: Console) -> None:
    """Print what is behind the cell or run that ``text`` names, and the command that redoes it."""
    from benchmark.report import explain as explaining
    from benchmark.report.cells import group_runs

    info, expected = asked_for(sweep)
    target = explaining.find_target(expected, text)
    groups = group_runs(info, expected, collect(out, expected))
    again = redo.command(sweep, target.dataset, target.fraction, target.method, target.seeds(expected))
    explaining.explain(info, groups, target, again, console)


def show(found: Report, console: Console) -> None:
    """Print the main tables and the path of the report."""
    print_table(found, console)
    console.print(f"report: {found.html}", highlight=False)
