"""Which finished runs keep the weights of their network: ``runtime.keep_weights``.

``best_per_cell`` keeps those of one run per cell: the runs in one results folder whose configs differ in their seed alone. The best has the
highest ``val_accuracy`` where there are validation images, else the lowest ``train_loss``; of equals, the lowest seed. Test accuracy is
never looked at. Workers need no agreement: records never change and the order is total, so whoever finishes removes only weights that
are worse than others that are there, and the best always stays. What a killed run could not remove goes with the next one of its cell,
or with the next ``sweep``. Never imports torch.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmark.config.run_config import RunConfig, load_run
from benchmark.errors import UsageError
from benchmark.storage.run_folder import RunFolder

FILE = "weights.safetensors"
"""In a run's folder: the state dict of the evaluated network; the names of its classes as JSON in the metadata, under ``CLASSES``."""
CLASSES = "classes"
BEST = "best_per_cell"
Rank = tuple[float, float, int]


def wanted(folder: Path, config: RunConfig, record: Mapping[str, Any]) -> bool:
    """Whether the run in ``folder``, about to be finished with ``record``, is to write its weights.

    Those of an attempt that was killed are removed where it is not.
    """
    keep = config.runtime.keep_weights
    own = rank(record)
    wanted = keep == "last" or (keep == BEST and all(own < other for other, _ in _finished(folder, config)))
    if not wanted:
        (folder / FILE).unlink(missing_ok=True)
    return wanted


def prune(folder: Path, config: RunConfig) -> None:
    """Under ``best_per_cell``: remove the weights of every finished run of the cell of ``folder`` but the best."""
    if config.runtime.keep_weights == BEST:
        for _, worse in sorted(_finished(folder, config))[1:]:
            with contextlib.suppress(OSError):  # the run is finished all the same; the next one of the cell tries again
                (worse / FILE).unlink(missing_ok=True)


def best(folder: Path, config: RunConfig) -> Path | None:
    """The finished run that keeps the weights of the cell of ``folder``; None where none does."""
    return next((path for _, path in sorted(_finished(folder, config))), None)


def rank(record: Mapping[str, Any]) -> Rank:
    """Of a finished run among those of its cell: the lowest is the best."""
    accuracy = record["val_accuracy"]
    return (1.0, record["train_loss"], record["seed"]) if accuracy is None else (0.0, -accuracy, record["seed"])


def _finished(folder: Path, config: RunConfig) -> Iterator[tuple[Rank, Path]]:
    """The finished runs of the cell of ``folder`` that have weights and keep them by ``best_per_cell``."""
    cell = folder.name.rpartition("-s")[0]
    if not cell or not folder.parent.is_dir():
        return
    for path in folder.parent.glob(f"{cell}-s*/{FILE}"):
        record = RunFolder(path.parent).record()
        if record is None:
            continue
        with contextlib.suppress(UsageError, OSError, KeyError, TypeError):  # a damaged folder is no rival, and nothing of it is removed
            other = load_run(path.parent / "config.yaml")
            if other.canonical == config.canonical and other.runtime.keep_weights == BEST:
                yield rank(record), path.parent
