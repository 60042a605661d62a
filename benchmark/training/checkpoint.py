"""Checkpoints: everything a killed run needs to go on bit for bit.

One file per claim (``checkpoint/<n>.pt``), with its checksum, renamed into place. Any claim's file is valid, since all of them lie
on the same trajectory; the one with most steps is resumed from. A damaged one is dropped: an older one serves, or the run starts afresh.
"""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import torch

from benchmark.storage import checksummed
from benchmark.storage.run_folder import write_json


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
        with checksummed.writing(self._folder / f"{self._claim}.pt") as file:
            torch.save(state, cast(IO[bytes], file))
        write_json(self._folder / "step.json", {"step": state["step"]})
        for other in self._folder.glob("*.pt"):
            if int(other.stem) < self._claim:
                other.unlink(missing_ok=True)
        if self._then is not None:
            self._then(state)
        self._last = time.monotonic()
        self._cost = self._last - started

    def load(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The most advanced checkpoint that is whole, or None; and what is wrong with the others, which are removed."""
        states, damages = [], []
        for path in sorted(self._folder.glob("*.pt")):
            try:
                content = checksummed.read(path)
            except checksummed.DamagedError as error:
                damages.append(str(error))
                path.unlink(missing_ok=True)
            else:
                states.append(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        best = max(states, key=lambda state: state["step"], default=None)
        if damages:
            self._say_step(best)
        return best, damages

    def drop(self) -> None:
        """Remove every checkpoint: the run starts afresh."""
        for path in self._folder.glob("*.pt"):
            path.unlink(missing_ok=True)
        self._say_step(None)

    def _say_step(self, state: dict[str, Any] | None) -> None:
        write_json(self._folder / "step.json", {"step": 0 if state is None else state["step"]})
