"""``sweep --backend slurm``: submit what no job and nobody else has in hand, then leave, or follow the jobs until they end."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from benchmark.config import kept_claims
from benchmark.config.grid import Sweep
from benchmark.config.slurm_options import Slurm, cpus_per_task, for_runs, resolve, user_file, workers_per_task
from benchmark.errors import UsageError
from benchmark.slurm.job import JobTask
from benchmark.slurm.jobs import Jobs, SubmittedTask, find_jobs, limits_of, why_ended
from benchmark.slurm.layout import JobLayout, lay_out
from benchmark.slurm.submissions import Submissions
from benchmark.storage.atomic import see_anew
from benchmark.storage.run_folder import Claim, ClaimLost, RunFolder, check_writable
from benchmark.sweep import carry_out, results
from benchmark.sweep.order import INTERRUPTED, OK, SOME_FAILED, USAGE, Order, Policy
from benchmark.sweep.plan import Plan, Planned, make, summary
from benchmark.terminal import say
from benchmark.tuning.trials import curves

_NEEDED = ("sbatch", "srun")
"""Without sbatch nothing is submitted; submitit submits nothing, either, where it finds no srun."""
_SIGNS = (*_NEEDED, "squeue", "sacct", "scancel", "scontrol", "sinfo")
"""Programs of which one shows that this machine is one to submit from."""
_FIRST_POLL, _LONGEST_POLL = 1.0, 30.0
"""Seconds between two looks at the jobs: growing while nothing changes."""
_IDLE_SHARE = 9
"""At least this many times what a look took, so that following a large sweep burdens no login node."""


@dataclass(frozen=True)
class Split:
    """What is not done of a sweep. ready: to be submitted. queued: in a job that waits or runs. held: another process works on it.

    exhausted: submitted often enough without progress.
    """

    ready: tuple[Planned, ...]
    queued: tuple[Planned, ...]
    held: tuple[Planned, ...]
    exhausted: tuple[Planned, ...]


def split(plan: Plan, found: Jobs, retries: int) -> Split:
    """Sort what is to do; each part longest first."""
    parts: dict[str, list[Planned]] = {"ready": [], "queued": [], "held": [], "exhausted": []}
    for item in sorted(plan.todo, key=lambda item: -item.work):
        run_id = item.config.run_id
        if run_id in found.active:
            parts["queued"].append(item)
        elif item.state == "running":
            parts["held"].append(item)
        elif run_id in found.ended and found.attempts(run_id, RunFolder(item.folder).saved_step()) > retries:
            parts["exhausted"].append(item)
        else:
            parts["ready"].append(item)
    return Split(**{name: tuple(items) for name, items in parts.items()})


def run(sweep: Sweep, out: Path, workers: int | None, wait: bool, console: Console) -> int:
    """Submit, say what was submitted, and follow if asked to. Returns the exit code."""
    options = for_runs(resolve(sweep.slurm), sweep.runs)
    _check_place(out)
    check_login_node()
    check_writable(out)
    carry_out.prepare_data(sweep.runs, console)
    plan = make(sweep, out)
    if plan.missing:
        raise UsageError("\n".join(plan.missing))
    if sweep.origin is not None:
        sweep.origin.keep_auto(sweep.runs, out)
    kept_claims.keep(out, sweep.claims)
    carry_out.warn(plan, console)
    say(console, f"{sweep.name}: {summary(plan)}")
    submissions = Submissions(out)
    found = find_jobs(submissions, mend=True)
    parts = split(plan, found, options.retries)
    carry_out.verify_data([item.config for item in parts.ready], console)
    if not parts.ready:
        _tell(parts, found, console)
    else:
        with submissions.turn(lambda: say(console, "another command submits just now: waiting for it to end, or to be dead")) as turn:
            plan = make(sweep, out)  # anew: another command may have had its turn since
            found = find_jobs(submissions, mend=True)
            parts = split(plan, found, options.retries)
            _tell(parts, found, console)
            if parts.ready:
                _submit(plan, parts.ready, found, options, workers, turn, console)
    if parts.ready or parts.queued:
        if not wait:
            _how_to_follow(sweep, console)
            return OK
        if not _follow(submissions, out, sweep, console):
            return INTERRUPTED
    return _conclude(sweep, out, options, console)


def _check_place(out: Path) -> None:
    """Refuse a results folder whose name would mean something else in a line of a job script."""
    path = str(out.resolve())
    if not path.isprintable() or "%" in path:
        raise UsageError(f"results folder {path!r}: Slurm reads '%' and line breaks in a path as something else: choose another --out")


def dry_run(sweep: Sweep, out: Path, workers: int | None, console: Console) -> int:
    """Print the scripts that :func:`run` would submit; nothing is changed."""
    from benchmark.slurm import sbatch

    options = for_runs(resolve(sweep.slurm), sweep.runs)
    _check_place(out)
    plan = make(sweep, out)
    found = find_jobs(Submissions(out))
    layout = _layout(plan, split(plan, found, options.retries).ready, found, options, workers)
    for line in plan.missing:
        say(console, f"# missing: {line}")
    say(console, f"# {layout.words(options.array_parallelism)}")
    for chunk in layout.chunks:
        text = sbatch.script(
            len(chunk), f"smilebench-{sweep.name}", Submissions(out.resolve()).jobs, options, _cpus(plan, options, workers)
        )
        say(console, text)
    return OK


def describe(plan: Plan, console: Console) -> None:
    """How a sweep would be submitted, in one line, where there are options for it: in the sweep file or the user's.

    Raises :class:`UsageError` on a login node from which it could not be.
    """
    options = resolve(plan.sweep.slurm)
    if options == Slurm():
        return
    try:
        options = for_runs(options, plan.sweep.runs)
        _check_place(plan.out)
    except UsageError as error:
        say(console, f"not on Slurm as it is: {error}", "yellow")
        return
    if is_meant():
        check_login_node()
    found = find_jobs(Submissions(plan.out))
    layout = _layout(plan, split(plan, found, options.retries).ready, found, options, None)
    say(console, f"on Slurm: {layout.words(options.array_parallelism)}")


def _layout(plan: Plan, ready: Sequence[Planned], found: Jobs, options: Slurm, workers: int | None) -> JobLayout:
    limits = limits_of(options)
    limits = replace(limits, jobs=limits.jobs - sum(task.active for task in found.tasks))
    seconds = None if plan.seconds is None else [item.seconds or 0.0 for item in ready]
    side_by_side = workers_per_task(options, plan.sweep.runs[0].runtime, workers)
    return lay_out([item.config.run_id for item in ready], seconds, options, limits, side_by_side)


def _cpus(plan: Plan, options: Slurm, workers: int | None) -> int:
    return cpus_per_task(options, plan.sweep.runs[0].runtime, workers)


def _submit(plan: Plan, ready: Sequence[Planned], found: Jobs, options: Slurm, workers: int | None, turn: Claim, console: Console) -> None:
    from benchmark.slurm import sbatch

    layout = _layout(plan, ready, found, options, workers)
    items = {item.config.run_id: item for item in ready}
    out, runtime = plan.out.resolve(), plan.sweep.runs[0].runtime
    submissions = Submissions(out)
    shared = submissions.prepare()
    if plan.counts["done"]:
        (shared / "done").touch()
    for chunk in layout.chunks:
        try:
            turn.beat()
        except ClaimLost:
            say(console, "another command took this one for dead and submits the rest; it is left to it", "yellow")
            return
        steps = {run_id: _ready(plan, items[run_id]) for task in chunk for run_id in task}
        entry = submissions.open(plan.sweep.name, chunk, steps)
        count = workers_per_task(options, runtime, workers)
        policy = Policy(
            wait=False, retry=False, grace=options.grace, patient=True, give_up_after=plan.sweep.give_up_after, shared=str(shared)
        )
        tasks = [
            JobTask(
                entry.id,
                n,
                Order(str(out), tuple(task), runtime.device, count, runtime.threads),
                replace(policy, session=f"slurm-{entry.id}-{n}"),
            )
            for n, task in enumerate(chunk)
        ]
        job = sbatch.submit(tasks, entry.name, submissions.jobs, options, _cpus(plan, options, workers))
        entry = submissions.update(entry, job=job)
        say(console, f"submitted job {entry.job}: {len(chunk)} tasks, {len(steps)} runs")
    say(console, layout.words(options.array_parallelism))
    if layout.left:
        say(console, f"{len(layout.left)} runs do not fit below the limit of jobs: repeat the command when some have ended")


def _ready(plan: Plan, item: Planned) -> int:
    """Make the run's folder as for a new start; the step of its newest checkpoint."""
    run = carry_out.create_folder(plan, item)
    run.retry()
    return run.saved_step()


def _tell(parts: Split, found: Jobs, console: Console) -> None:
    """What is not submitted now, and why; what failed before and is."""
    if parts.queued:
        jobs = list(dict.fromkeys(task.entry.job or "?" for item in parts.queued for task in [found.active[item.config.run_id]]))
        say(console, f"{len(parts.queued)} runs are in jobs that wait or run: {', '.join(jobs)}")
        if not found.answered:
            say(console, "neither squeue nor sacct answers: these jobs are taken to be still there", "yellow")
    if parts.held:
        say(console, f"{len(parts.held)} runs are in the hands of other processes, and left to them")
    again = [item for item in parts.ready if item.config.run_id in found.ended]
    ends = why_ended([found.ended[item.config.run_id][-1] for item in again])
    for item in again[:20]:
        task = found.ended[item.config.run_id][-1]
        why = RunFolder(item.folder).failure().get("reason") or f"job {task.job} ended: {ends.get(task.job or '', '')}"
        say(console, f"again: {item.config.run_id}: {why.splitlines()[0]}")
    if len(again) > 20:
        say(console, f"and {len(again) - 20} more")


def _how_to_follow(sweep: Sweep, console: Console) -> None:
    if sweep.origin is None:
        return
    lines = {
        "follow": sweep.origin.command("status", "--watch"),
        "cancel": sweep.origin.command("cancel"),
        "report, or submit again what did not finish": sweep.origin.command("sweep", "--backend", "slurm"),
    }
    for what, line in lines.items():
        say(console, f"{what}: {line}")


def _follow(submissions: Submissions, out: Path, sweep: Sweep, console: Console) -> bool:
    """Wait until no job of the sweep waits or runs, telling when counts change; False when the user ends the waiting."""
    from benchmark.sweep import status

    wanted = {config.run_id for config in sweep.runs}
    before, pause = "", _FIRST_POLL
    try:
        while True:
            started = time.monotonic()
            found = find_jobs(submissions, mend=True)
            counts = status.collect(out, sorted(wanted)).counts
            line = ", ".join(f"{count} {status.WORDS.get(state, state)}" for state, count in counts.items() if count)
            if line != before:
                before, pause = line, _FIRST_POLL
                say(console, f"{time.strftime('%H:%M:%S')} {line}")
            if wanted.isdisjoint(found.active):
                return True
            time.sleep(max(pause, _IDLE_SHARE * (time.monotonic() - started)))
            pause = min(1.5 * pause, _LONGEST_POLL)
    except KeyboardInterrupt:
        say(console, "the jobs go on; the same command follows them again")
        return False


def _conclude(sweep: Sweep, out: Path, options: Slurm, console: Console) -> int:
    """List what failed, report when nothing is left to run; the exit code."""
    see_anew(out / "runs" / config.run_id for config in sweep.runs)
    plan, found = make(sweep, out), find_jobs(Submissions(out))
    parts = split(plan, found, options.retries)
    failed = [item for item in plan.todo if item.state == "failed"]
    given_up = [item for item in parts.exhausted if item.state != "failed"]
    last: dict[str, SubmittedTask] = {item.config.run_id: found.ended[item.config.run_id][-1] for item in given_up}
    ends = why_ended(list(last.values()))
    for item in failed:
        say(console, f"failed: {item.config.run_id}: {RunFolder(item.folder).failure().get('reason', '')}", "red")
    for item in given_up:
        job = last[item.config.run_id].job or ""
        say(console, f"not finished: {item.config.run_id}: job {job} ended: {ends.get(job, '')} ({Submissions(out).log(job)})", "red")
    if parts.exhausted:
        most = max(found.attempts(item.config.run_id, RunFolder(item.folder).saved_step()) for item in parts.exhausted)
        say(
            console,
            f"{len(parts.exhausted)} runs were submitted up to {most} times without progress, and are not submitted again: mend the cause, "
            f"then add slurm.retries={most} to the command, or run them with --backend local",
        )
    closed = {item.config.run_id for item in [*failed, *given_up]}
    left = [item.config.run_id for item in plan.todo if item.config.run_id not in closed]
    ended = [found.ended[run_id][-1] for run_id in left if run_id in found.ended]
    for words in dict.fromkeys(task.said for task in ended if task.said):
        say(console, words)
    if not closed and any(task.refused for task in ended):
        return USAGE
    if left:
        say(console, f"{len(left)} runs are not finished; the same command resumes them")
    if left and not closed:
        return INTERRUPTED
    results.show(results.report(sweep, out, curves(sweep.origin, out, console)), console)
    return SOME_FAILED if closed else OK


def why_not() -> str | None:
    """Why nothing can be submitted from here, or None."""
    absent = [name for name in _NEEDED if shutil.which(name) is None]
    if not absent:
        return None
    return (
        f"no jobs can be submitted from here: {' and '.join(absent)} not found on PATH; on the cluster's login node, load Slurm's module "
        "or add the folder of its programs to PATH"
    )


def is_meant() -> bool:
    """Whether this machine is one to submit from: some of Slurm's programs are here, or the user's options for it."""
    options = user_file()
    return (options is not None and options.is_file()) or any(shutil.which(name) for name in _SIGNS)


def check_login_node() -> None:
    """Raise :class:`UsageError` where nothing can be submitted."""
    if why := why_not():
        raise UsageError(why)
