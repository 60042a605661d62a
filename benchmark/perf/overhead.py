"""What a run costs beside its training: runs in one worker that stays, against one fresh process per run, on the local backend, one worker.

Short runs: ten steps of timm's ``test_resnet`` on 64 images, without linearity. ``quick``: its grid at one seed, as it is otherwise.
Each side has a cache of its own, so that neither finds the other's set-up passes.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import methods
from benchmark.config import grid
from benchmark.config.run_config import RunConfig
from benchmark.perf.measure import Measured, own_cache, runs, show, write_backbone, write_images
from benchmark.storage import yamlio
from benchmark.storage.run_folder import RunFolder
from benchmark.sweep.order import Order
from benchmark.sweep.plan import data_sets
from benchmark.sweep.progress import View
from benchmark.sweep.runner import run_local
from datasets.arena import prepare
from datasets.base import open_dataset

SHORT_RUNS, FRESH_RUNS = 50, 5
SHORT_AT_LEAST = 10
QUICK = "quick"


class Silent(View):
    """A sweep's view that says nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def tick(self) -> None:
        """Say nothing."""


def measure(short: int = SHORT_RUNS, fresh: int = FRESH_RUNS, quick: bool = True) -> list[Measured]:
    """Seconds per run of both sides and their ratio, for short runs (``fresh`` of them in processes of their own) and for ``quick``."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        grids: list[tuple[str, tuple[RunConfig, ...], int, int | None]]
        grids = [("ten-step runs", short_runs(root, short), fresh, SHORT_AT_LEAST)]
        if quick:
            grid_of_quick = grid.load(QUICK, ["seeds=[0]", "runtime.device=cpu"]).runs
            grids.append(("quick at one seed", grid_of_quick, len(grid_of_quick), None))
        rows = []
        for n, (what, configs, apart, wanted) in enumerate(grids):
            together = per_run(root / f"{n}-together", [configs])
            separate = per_run(root / f"{n}-apart", [[config] for config in configs[:apart]])
            details = (f"{together:.2f}", f"{separate:.2f}", str(len(configs)), str(apart))
            rows.append(Measured(f"{what}: a process per run over one worker", separate / together, at_least=wanted, details=details))
    return rows


def short_runs(folder: Path, count: int) -> tuple[RunConfig, ...]:
    """``count`` seeds of ten steps on 64 images of noise."""
    backbone, images = write_backbone(folder, "test_resnet"), write_images(folder / "images", 40, per_class=8, classes=4)
    training = {"steps": 10, "batch_size": 8, "image_size": 32}
    return runs(backbone, images, list(methods.METHODS)[:1], seeds=count, training=training)


def per_run(folder: Path, batches: Sequence[Sequence[RunConfig]]) -> float:
    """Wall seconds per run when each batch of runs gets a worker of its own, one after another; decoding is not counted."""
    with own_cache(folder / "cache"):
        configs = [config for batch in batches for config in batch]
        for use, decode in data_sets(configs):
            prepare(open_dataset(use), decode)
        for config in configs:
            RunFolder(folder / "runs" / config.run_id).create(yamlio.dump(config.model_dump(mode="json")))
        begun = time.monotonic()
        for batch in batches:
            ids = [config.run_id for config in batch]
            outcome = run_local(Order(str(folder), tuple(ids), "cpu", 1, 1), Silent(Console(quiet=True)))
            if set(outcome.done) != set(ids):
                raise RuntimeError(f"runs that were to be timed failed: {outcome.failed or outcome.message}")
        return (time.monotonic() - begun) / len(configs)


def report(console: Console) -> list[Measured]:
    """Measure and print the ratios."""
    columns = ("one worker, s/run", "a process per run, s/run", "runs", "runs apart")
    return show(console, "overhead of a run, wall clock", measure(), columns)
