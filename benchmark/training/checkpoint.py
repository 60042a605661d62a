"""Checkpoints: everything a killed run needs to go on bit for bit.

One file per claim (``checkpoint/<n>.pt``), with its checksum, renamed into place. Any claim's file is valid, since all of them lie
on the same trajectory; the one with most steps is resumed from. A damaged one is dropped: an older one serves, or the run starts afresh.

Snapshots: weights kept during training, to show what choosing the best epoch on ``test`` would have added to the last iterate's accuracy.
They lie in ``checkpoint/``, which goes when the run is done. They are scored after the run's record is settled, into a file of their own:
nothing that trains, selects or fills a table's main columns reads it.
"""

import copy
import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import torch
from safetensors.torch import load, save

from benchmark.storage import checksummed
from benchmark.storage.run_folder import Check, write_json, write_text
from benchmark.training.evaluate import Predictions
from methods.base import Net

SNAPSHOTS = "snapshots.csv"
_COLUMNS = ("step", "test_accuracy", "test_mean_class_accuracy")


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


class Snapshots:
    """``count`` steps spread evenly over a run of ``total`` steps, the last of them its last: 0 for none."""

    def __init__(self, folder: Path, count: int, total: int) -> None:
        self._folder = folder / "checkpoint" / "snapshots"
        self._csv = folder / SNAPSHOTS
        self.steps = tuple(round((n + 1) * total / count) for n in range(count))

    def due(self, step: int) -> bool:
        """Whether the weights after ``step`` steps are to be kept; the last iterate is there anyway."""
        return step in self.steps[:-1]

    def save(self, net: Net, step: int, check: Check) -> None:
        """Keep the weights. Called before the checkpoint of the same step, so that a resumed run finds all that lie behind it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with checksummed.writing(self._path(step), check) as file:
            file.write(save({name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}))

    def lacking(self, step: int) -> str:
        """Why a run cannot go on from ``step``: a snapshot before it that is missing or damaged, in words; '' where all are whole."""
        for before in self.steps[:-1]:
            if before <= step:
                try:
                    checksummed.read(self._path(before))
                except (FileNotFoundError, checksummed.DamagedError) as error:
                    return str(error)
        return ""

    def score(self, net: Net, evaluate: Callable[[Net], Predictions], last: Predictions, check: Check) -> None:
        """Write ``snapshots.csv``, one row per step; ``last`` is the evaluation of ``net``, which is left as it is."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        other = copy.deepcopy(net)
        for step in self.steps:
            if step == self.steps[-1]:
                found = last
            else:
                other.load_state_dict(load(checksummed.read(self._path(step))))
                found = evaluate(other)
            writer.writerow([step, found.accuracy, found.mean_class_accuracy])
        write_text(self._csv, text.getvalue(), check)

    def _path(self, step: int) -> Path:
        return self._folder / f"{step}.safetensors"
