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
    found = None
    if probe:
        from benchmark.sweep.probe import measured, precisions

        made = measured(made, console)
        found = precisions(made, console)
    show_plan(made, console)
    if found is not None:
        say(console, found.words(), "yellow" if found.loses else "")


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
