"""Weights kept during training, to show what choosing the best epoch on ``test`` would have added to the last iterate's accuracy.

They lie in ``checkpoint/``, which goes when the run is done. They are scored after the run's record is settled, into a file of their own:
nothing that trains, selects or fills a table's main columns reads it.
"""

import copy
import csv
import io
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load, save

from benchmark.storage import checksummed
from benchmark.storage.run_folder import Check, write_text
from benchmark.training.evaluate import Predictions
from methods.base import Net

FILE = "snapshots.csv"
COLUMNS = ("step", "test_accuracy", "test_mean_class_accuracy")


class Snapshots:
    """``count`` steps spread evenly over a run of ``total`` steps, the last of them its last: 0 for none."""

    def __init__(self, folder: Path, count: int, total: int) -> None:
        self._folder = folder / "checkpoint" / "snapshots"
        self._csv = folder / FILE
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
        writer.writerow(COLUMNS)
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
