"""Small real runs for tests: those of the methods' contract, and a session that notes what training tells it."""

from collections.abc import Callable
from pathlib import Path

from methods.testing import tiny_run as config

__all__ = ["Notebook", "config"]


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
