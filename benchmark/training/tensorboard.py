"""TensorBoard event files of a run: ``tensorboard/`` in its folder, with the tags of ``curves.jsonl``.

The first write of a claim starts the folder afresh with every row so far, later ones add rows: a resumed run has each step once.
"""

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError
from benchmark.storage.run_folder import Check


class Events:
    """The event files of one claim on a run folder; does nothing unless ``wanted``. Closed at the end of a ``with`` block."""

    def __init__(self, folder: Path, wanted: bool, check: Check) -> None:
        self._folder = folder / "tensorboard"
        self._wanted = wanted
        self._check = check
        self._writer: Any = None
        self._written = 0

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add those of a run's log points that are not written yet; ``rows`` are all so far."""
        if not self._wanted:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._check()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._writer = SummaryWriter(self._folder)
        for row in rows[self._written :]:
            for tag, value in row.items():
                if tag != "step":
                    self._writer.add_scalar(tag, value, int(row["step"]))
        self._written = len(rows)
        self._writer.flush()


def check_installed() -> None:
    """Refuse ``runtime.tensorboard`` where its package is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError("runtime.tensorboard: tensorboard is not installed; run: pip install 'smilebench[tensorboard]'")
