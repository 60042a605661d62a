"""Checkpoints: everything a killed run needs to go on bit for bit.

One file per claim (``checkpoint/<n>.pt``), renamed into place. Any claim's file is valid, since all of them lie
on the same trajectory; the one with most steps is resumed from.
"""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmark.storage.run_folder import replacing, write_json


class Checkpoints:
    """The checkpoints of one run folder, written at most every ``seconds`` and for at most 2 % of the time.

    then: called with each state that was saved.
    """

    def __init__(self, folder: Path, claim: int, seconds: float, then: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._folder = folder / "checkpoint"
        self._claim = claim
        self._seconds = seconds
        self._last = time.monotonic()
        self._cost = 0.0
        self._then = then

    def due(self) -> bool:
        return time.monotonic() - self._last >= max(self._seconds, 50 * self._cost)

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state`` (tensors and plain values, with ``step``) and drop older claims' files."""
        started = time.monotonic()
        self._folder.mkdir(exist_ok=True)
        content = io.BytesIO()
        torch.save(state, content)  # not into the file: torch hides why a write failed, a full disk say, behind an error of its own
        with replacing(self._folder / f"{self._claim}.pt") as file:
            file.write(content.getbuffer())
        write_json(self._folder / "step.json", {"step": state["step"]})
        for other in self._folder.glob("*.pt"):
            if int(other.stem) < self._claim:
                other.unlink(missing_ok=True)
        if self._then is not None:
            self._then(state)
        self._last = time.monotonic()
        self._cost = self._last - started

    def load(self) -> dict[str, Any] | None:
        """The most advanced checkpoint, or None."""
        states = [torch.load(file, map_location="cpu", weights_only=True) for file in self._folder.glob("*.pt")]
        return max(states, key=lambda state: state["step"], default=None)
