"""What ``sweep``, ``tune`` and ``train`` do: prepare, run what is not done, report."""

import errno
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from benchmark.config import kept_claims
from benchmark.config.grid import Sweep
from benchmark.config.run_config import RunConfig
from benchmark.devices import cpu_count, default_workers, no_gpu, worker_devices
from benchmark.errors import UsageError
from benchmark.report.collect import Tuned
from benchmark.storage import yamlio
from benchmark.storage.atomic import check_writable, remove_litter
from benchmark.storage.run_folder import RunFolder
from benchmark.sweep import results
from benchmark.sweep.order import Order, Policy
from benchmark.sweep.plan import Plan, Planned, data_sets, make, summary
from benchmark.sweep.progress import open_view
from benchmark.terminal import clean, say
from benchmark.training import kept_weights
from datasets.arena import Decode, find, prepare, verify
from datasets.base import Use, open_dataset


def run(sweep: Sweep, out: Path, workers: int | None, console: Console, tuning: Callable[[], tuple[Tuned, ...]] = tuple) -> int:
    """Carry out what is missing, failed, interrupted or stale, then report. Returns the exit code.

    tuning: the budget curves of the sweep's tuning, for the report.
    """
    if not all(config.evaluation.test for config in sweep.runs):
        raise UsageError(f"{sweep.name}: evaluation.test: false is for 'smilebench tune': a sweep's report is of test")
    with results.loading() as load:
        code = complete(sweep, out, workers, console, idle=load)
        if code not in (0, 1):
            return code
        try:
            results.show(results.report(sweep, out, tuning()), console)
        except OSError as error:  # the disk that stopped the runs stops the report
            say(console, f"the report could not be written: {error.strerror}", "red")
            return 1
        return code


def complete(sweep: Sweep, out: Path, workers: int | None, console: Console, idle: Callable[[], None] = lambda: None) -> int:
    """Carry out what is missing, failed, interrupted or stale in ``out``. Returns the exit code.

    idle: called when a core is free while the last runs are still carried out.
    """
    if not worker_devices(sweep.runs[0].runtime.device):
        raise UsageError(no_gpu())
    check_writable(out)
    remove_litter([out, *(out / name for name in ("runs", "tables", "figures", "stale"))])
    prepare_data(sweep.runs, console)
    plan = make(sweep, out)
    if plan.missing:
        raise UsageError("\n".join(plan.missing))
    if sweep.origin is not None:
        sweep.origin.keep_auto(sweep.runs, out)
    kept_claims.keep(out, sweep.claims)
    warn(plan, console)
    for item in {item.config.canonical: item for item in plan.runs}.values():
        kept_weights.prune(item.folder, item.config)  # a run that is killed behind its record leaves this undone
    if not plan.todo:
        for item in plan.runs:
            RunFolder(item.folder).tidy()  # of a run whose process died behind its record
        return 0
    verify_data([item.config for item in plan.todo], console)
    say(console, f"{sweep.name}: {summary(plan)}")
    return _carry_out(plan, workers, console, idle)


def _carry_out(plan: Plan, workers: int | None, console: Console, idle: Callable[[], None]) -> int:
    from benchmark.sweep.runner import run_local

    create_folders(plan)
    runtime = plan.sweep.runs[0].runtime
    run_ids = tuple(item.config.run_id for item in sorted(plan.runs, key=lambda item: -(item.seconds or item.work)))
    count = workers or default_workers(runtime.device, runtime.threads, runtime.workers_per_gpu)
    order = Order(str(plan.out), run_ids, runtime.device, count, runtime.threads)
    outcome = run_local(order, open_view(console), Policy(give_up_after=plan.sweep.give_up_after), idle=idle)
    for run_id, reason in outcome.failed.items():
        say(console, f"failed: {run_id}: {reason}", "red")
    if outcome.message:
        say(console, outcome.message)
    return outcome.exit_code


def create_folders(plan: Plan) -> None:
    """A folder with its ``config.yaml`` for every run that is to do; a stale record is set aside with its folder first."""
    for item in plan.todo:
        create_folder(plan, item)


def create_folder(plan: Plan, item: Planned) -> RunFolder:
    """The same for one run."""
    run, looked_at = RunFolder(item.folder), item.recorded_at
    if item.state == "stale" and looked_at is not None and run.recorded_at() == looked_at:  # else another command was here since
        set_aside(plan.out, item.folder)
    run.create(yamlio.dump(item.config.model_dump(mode="json")))
    return run


def set_aside(out: Path, folder: Path) -> None:
    """Move a stale run's folder to ``stale/``, under the first number that is free."""
    target = out / "stale"
    target.mkdir(exist_ok=True)
    for number in itertools.count():
        place = target / f"{folder.name}.{number}"
        if place.exists():
            continue
        try:
            folder.rename(place)
        except FileNotFoundError:  # another command has just done it
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # taken meanwhile
                raise
            continue
        return


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
        task = bar.add_task(escape(f"decoding {clean(str(use))}"), total=sum(len(items) for items in dataset.splits.values()))
        arena = prepare(dataset, decode, cpu_count(), lambda done, total: bar.update(task, completed=done, total=total))
    for line in (*dataset.notes, *arena.notes):
        say(console, f"{use}: {line}", "yellow")


def warn(plan: Plan, console: Console) -> None:
    """Say which data sets are not what their name promises, which entries of ``methods`` are the same, which options cannot act."""
    for line in plan.incomplete:
        say(console, f"not a complete copy, its results compare with no others: {line}", "yellow")
    for line in [*plan.alike(), *plan.idle()]:
        say(console, line, "yellow")
