"""What ``plan`` and ``logs`` print."""

from pathlib import Path

from rich.console import Console

from benchmark.config import kept_claims
from benchmark.config.grid import Sweep
from benchmark.devices import explain_auto
from benchmark.errors import UsageError
from benchmark.slurm import submit
from benchmark.slurm.submissions import Submissions
from benchmark.storage.run_folder import RunFolder
from benchmark.sweep.carry_out import warn
from benchmark.sweep.plan import Plan, make, summary
from benchmark.terminal import say


def plan(sweep: Sweep, out: Path, probe: bool, console: Console) -> None:
    """Print what a sweep would do; probe: measure its cost first, and on a CPU what bf16 gives."""
    made = make(sweep, out)
    if not probe:
        show_plan(made, console)
        return
    from benchmark.sweep.probe import measured, precisions

    found = measured(made, console)
    speeds = precisions(found.plan, console)
    show_plan(found.plan, console)
    for line in found.terms:
        say(console, line)
    for line in found.warnings:
        say(console, line, "yellow")
    if speeds is not None:
        say(console, speeds.words(), "yellow" if speeds.loses else "")


def show_plan(plan: Plan, console: Console) -> None:
    """Print what a sweep would do."""
    origin = plan.sweep.origin
    say(console, f"{plan.sweep.name} ({origin.shown if origin else 'no file'}) -> {plan.out}")
    if origin is not None and (line := origin.about_auto()):
        say(console, line, "yellow")
    workers = plan.sweep.runs[0].runtime.workers_per_gpu
    for line in dict.fromkeys(line for settings in plan.sweep.settings for line in explain_auto(settings, workers)):
        say(console, line)
    say(console, summary(plan))
    if line := kept_claims.together(plan.out, plan.sweep.claims).about_late():
        say(console, line, "yellow")
    for reason, count in plan.reasons("stale"):
        say(console, f"stale: {count} done with {reason}")
    for reason, count in plan.reasons("failed"):
        say(console, f"failed: {count}: {reason}", "red")
    if plan.leftover:
        say(console, f"{plan.leftover} folders of earlier settings are left as they are")
    if plan.present:
        say(console, f"prepared: {', '.join(plan.present)}")
    for line in plan.missing:
        say(console, f"missing: {line}", "yellow")
    warn(plan, console)
    submit.describe(plan, console)


_LINES = 200
"""Of a job's log, which tells of other runs, too."""


def show_logs(run_id: str, results: Path, console: Console) -> None:
    """Print the logs of every run under ``results`` whose id begins with ``run_id``."""
    folders = sorted(folder for folder in results.glob("*/runs/*") if folder.name.startswith(run_id)) if run_id else []
    if not folders:
        raise UsageError(f"no run '{run_id}' under {results}")
    for folder in folders:
        run = RunFolder(folder)
        say(console, f"{folder}: {run.state()}")
        if run.log_path.is_file():
            say(console, run.log_path.read_text(encoding="utf-8", errors="replace"))
        if failure := run.failure():
            say(console, f"{failure['reason']}\n{failure['traceback'] or ''}")
        for log in Submissions(folder.parents[1]).logs_of(run):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            left_out = f" (its last {_LINES} lines of {len(lines)})" if len(lines) > _LINES else ""
            say(console, f"job log {log}{left_out}:")
            say(console, "\n".join(lines[-_LINES:]))
