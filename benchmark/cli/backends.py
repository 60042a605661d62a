"""The two places in which a sweep can be carried out."""

from pathlib import Path

from rich.console import Console

from benchmark.config.grid import Sweep
from benchmark.errors import UsageError


def run(sweep: Sweep, out: Path, backend: str, workers: int | None, wait: bool, dry_run: bool, console: Console) -> int:
    """Carry ``sweep`` out on ``backend``, ``local`` or ``slurm``; the exit code. wait, dry_run: of ``slurm`` alone."""
    if backend == "slurm":
        from benchmark.slurm import submit as cluster

        return cluster.dry_run(sweep, out, workers, console) if dry_run else cluster.run(sweep, out, workers, wait, console)
    if wait or dry_run:
        raise UsageError(f"{'--wait' if wait else '--dry-run'} goes with --backend slurm (for a local sweep: smilebench plan)")
    from benchmark.sweep import carry_out
    from benchmark.tuning.trials import curves

    return carry_out.run(sweep, out, workers, console, lambda: curves(sweep.opened, out))
