"""What the loop needs from whoever runs it: a sweep's worker, or a single ``train`` command."""

from pathlib import Path
from typing import Protocol


class Interrupted(Exception):
    """Training stopped at a step boundary because it was asked to; its checkpoint is written."""


class Session(Protocol):
    """One live claim on one run folder. ``claim`` is its fencing token."""

    folder: Path
    claim: int

    def check(self) -> None:
        """Raise when the claim was lost: the holder must stop without writing."""

    def progress(self, step: int, total: int, phase: str, images_per_second: float) -> None:
        """Say how far the run is; cheap enough for every step."""

    def stop_requested(self) -> bool:
        """Whether to save and stop at this step boundary."""

    def log(self, text: str) -> None:
        """A line for ``log.txt``."""
