"""Small real runs for tests: configs on the tiny image folder, and a session that notes what training tells it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmark.config import RunConfig
from benchmark.sweep import grid
from benchmark.sweep.grid import SweepFile
from benchmark.training.loop import Fit, train_step
from benchmark.training.run import assemble


def config(images: Path, backbone: str, method: Any = "fine_tuning", **changes: Any) -> RunConfig:
    """The config of one run of ``method`` (an entry of a sweep file): 6 steps of 8 images at 32 px. ``changes``: keys of a sweep file."""
    raw: dict[str, Any] = {
        "name": "test",
        "backbone": backbone,
        "datasets": [{"name": "tiny", "use": f"folder:{images}"}],
        "seeds": [0],
        "methods": [method],
        "baseline": method if isinstance(method, str) else method["name"],
        "training": {"steps": 6, "batch_size": 8, "image_size": 32, "log_every": 2},
        "linearity": {"pairs": 4, "lambdas": 3},
        "runtime": {"device": "cpu"},
    }
    for key, value in changes.items():
        raw[key] = {**raw.get(key, {}), **value} if isinstance(value, Mapping) else value
    return grid.expand(SweepFile.model_validate(raw), Path("test"), [], "test").runs[0]


class Notebook:
    """A session without a worker. ``stop_after``: a step at which it asks to stop."""

    def __init__(self, folder: Path, claim: int = 1, stop_after: int | None = None) -> None:
        self.folder, self.claim, self._stop_after = folder, claim, stop_after
        self.lines: list[str] = []
        self.phases: list[str] = []
        self.step = 0
        self.on_progress: Callable[[str], None] = lambda phase: None
        folder.mkdir(parents=True, exist_ok=True)

    def check(self) -> None:
        return

    def progress(self, step: int, total: int, phase: str, images_per_second: float) -> None:
        self.step = step
        self.phases.append(phase)
        self.on_progress(phase)

    def stop_requested(self) -> bool:
        return self._stop_after is not None and self.step >= self._stop_after

    def log(self, text: str) -> None:
        self.lines.append(text)


def trained(run: RunConfig, steps: int) -> Fit:
    """``run`` after its first ``steps`` steps."""
    fit, _, _ = assemble(run)
    fit.net.train()
    fit.pipeline.train_mode(fit.net)
    advance(fit, steps)
    return fit


def advance(fit: Fit, steps: int) -> None:
    """``steps`` more steps."""
    for _ in range(steps):
        train_step(fit, fit.step)
        fit.step += 1
