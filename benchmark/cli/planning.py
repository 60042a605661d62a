"""What ``plan`` prints."""

from pathlib import Path

from rich.console import Console

from benchmark.config.grid import Sweep
from benchmark.slurm import submit
from benchmark.sweep.carry_out import warn
from benchmark.sweep.plan import Plan, make, summary


def plan(sweep: Sweep, out: Path, probe: bool, console: Console) -> None:
    """Print what a sweep would do; probe: measure its cost first."""
    made = make(sweep, out)
    if probe:
        from benchmark.sweep.probe import measured

        made = measured(made, console)
    show_plan(made, console)


def show_plan(plan: Plan, console: Console) -> None:
    """Print what a sweep would do."""
    console.print(f"{plan.sweep.name} ({plan.sweep.origin.shown if plan.sweep.origin else 'no file'}) -> {plan.out}", highlight=False)
    console.print(summary(plan), highlight=False)
    for reason, count in plan.reasons("stale"):
        console.print(f"stale: {count} done with {reason}", highlight=False, markup=False)
    for reason, count in plan.reasons("failed"):
        console.print(f"failed: {count}: {reason}", style="red", highlight=False, markup=False)
    if plan.leftover:
        console.print(f"{plan.leftover} folders of earlier settings are left as they are", highlight=False)
    if plan.present:
        console.print(f"prepared: {', '.join(plan.present)}", highlight=False, markup=False)
    for line in plan.missing:
        console.print(f"missing: {line}", style="yellow", highlight=False)
    warn(plan, console)
    submit.describe(plan, console)
