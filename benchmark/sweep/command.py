"""What ``sweep``, ``plan`` and ``train`` do: prepare, run what is not done, report."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmark import yamlio
from benchmark.config import RunConfig
from benchmark.devices import cpu_count, visible_gpus
from benchmark.errors import UsageError
from benchmark.report.build import Report, build, print_table
from benchmark.report.collect import Expected, SweepInfo
from benchmark.sweep.grid import Sweep
from benchmark.sweep.plan import Plan, data_sets, make
from benchmark.sweep.state import RunFolder, check_writable, write_text
from benchmark.sweep.trials import curves
from benchmark.sweep.view import duration, open_view
from datasets.arena import Decode, find, prepare
from datasets.base import open_dataset


def run(sweep: Sweep, out: Path, workers: int | None, console: Console) -> int:
    """Carry out what is missing, failed, interrupted or stale, then report. Returns the exit code."""
    if not all(config.evaluation.test for config in sweep.runs):
        raise UsageError(f"{sweep.name}: evaluation.test: false is for 'smilebench tune': a sweep's report is of test")
    code = complete(sweep, out, workers, console)
    if code in (0, 1):
        show(report(sweep, out), console)
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
    console.print(f"{sweep.name}: {summary(plan)}")
    return _carry_out(plan, workers, console)


def _carry_out(plan: Plan, workers: int | None, console: Console) -> int:
    from benchmark.sweep.local import run_local

    for item in plan.todo:
        if item.state == "stale":
            set_aside(plan.out, item.folder)
        RunFolder(item.folder).create(yamlio.dump(item.config.model_dump(mode="json")))
    runtime = plan.sweep.runs[0].runtime
    devices = visible_gpus() if runtime.device == "cuda" else ["cpu"]
    count = workers or (len(devices) if runtime.device == "cuda" else max(1, cpu_count() // runtime.threads))
    order = [item.config.run_id for item in sorted(plan.runs, key=lambda item: -item.work)]
    outcome = run_local(plan.out, order, workers=count, threads=runtime.threads, devices=devices, view=open_view(console))
    for run_id, reason in outcome.failed.items():
        console.print(f"failed: {run_id}: {reason}", style="red", highlight=False)
    if outcome.message:
        console.print(outcome.message, highlight=False)
    return outcome.exit_code


def set_aside(out: Path, folder: Path) -> None:
    """Move a stale run's folder to ``stale/``, under a number of its own."""
    target = out / "stale"
    target.mkdir(exist_ok=True)
    taken = len(list(target.glob(f"{folder.name}.*")))
    folder.rename(target / f"{folder.name}.{taken}")


def prepare_data(configs: Sequence[RunConfig], console: Console) -> None:
    """Decode every data set of the runs that is not prepared yet; nothing is downloaded."""
    for use, decode in data_sets(configs):
        dataset = open_dataset(use)
        if find(dataset, decode) is None:
            decode_with_progress(use, decode, console)


def decode_with_progress(use: str, decode: Decode, console: Console) -> None:
    """Decode one data set into its arena, with a progress bar."""
    dataset = open_dataset(use)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(f"decoding {use}", total=sum(len(items) for items in dataset.splits.values()))
        prepare(dataset, decode, cpu_count(), lambda done, total: bar.update(task, completed=done, total=total))


def summary(plan: Plan) -> str:
    """Counts by state and the estimated cost, in one line."""
    counts = ", ".join(f"{n} {state}" for state, n in sorted(plan.counts.items()))
    cost = "cost unknown until a first run is measured" if plan.seconds is None else f"about {duration(plan.seconds)} of one worker"
    return f"{len(plan.runs)} runs: {counts}; to do: {len(plan.todo)}" + (f", {cost}" if plan.todo else "")


def show_plan(plan: Plan, console: Console) -> None:
    """Print what a sweep would do."""
    console.print(f"{plan.sweep.name} ({plan.sweep.source}) -> {plan.out}", highlight=False)
    console.print(summary(plan), highlight=False)
    if plan.leftover:
        console.print(f"{plan.leftover} folders of earlier settings are left as they are", highlight=False)
    for line in plan.missing:
        console.print(f"missing: {line}", style="yellow", highlight=False)
    warn(plan, console)


def warn(plan: Plan, console: Console) -> None:
    """Say which data sets are not what their name promises."""
    for line in plan.incomplete:
        console.print(f"not a complete copy, its results compare with no others: {line}", style="yellow", highlight=False)


def report(sweep: Sweep, out: Path) -> Report:
    """Redraw the report of a sweep from its records, when they changed."""
    about = (sweep.name, sweep.baseline, sweep.methods, sweep.protocol, sweep.source, sweep.command)
    info = SweepInfo(*about, selection=sweep.selection, tuning=curves(sweep.opened, out))
    expected = [Expected(c.run_id, c.dataset, c.fraction, c.method, c.seed) for c in sweep.runs]
    write_text(out / "sweep.yaml", sweep.text)
    return build(out, info, expected)


def show(found: Report, console: Console) -> None:
    """Print the main tables and the path of the report."""
    print_table(found, console)
    console.print(f"report: {found.html}", highlight=False)
