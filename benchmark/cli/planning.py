"""What ``plan`` prints."""

from pathlib import Path

from rich.console import Console

from benchmark.config import kept_claims
from benchmark.config.grid import Sweep
from benchmark.devices import explain_auto
from benchmark.slurm import submit
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
