"""The suite: what happens between a sweep file and its report.

Rooms, from the ground up; each imports only those listed before it:

- ``errors``, ``devices``, ``terminal``: errors that are the user's to mend, what this machine can do, where text is printed.
- ``storage``: files that are whole or absent; the run folder with its states, claims and heartbeat.
- ``report``: from records to tables, statistics, figures and ``report.html``; knows no torch.
- ``config``: one run's settings and its identity; the sweep file and the grid it stands for; methods' options; weights.
- ``published``: numbers from papers, and the comparison with ours.
- ``training``: one run, from its images to its record: backbones, loop, optimizer, evaluation, linearity, checkpoints.
- ``sweep``: what is to do and what it costs, the runner, its workers, progress.
- ``deploy``: a run's network as timm loads it, labels for images.
- ``tuning``: trials on validation images, freezing the winners.
- ``exchange``: archives of results, one sweep out of several folders, frames for Python.
- ``slurm``: a sweep as jobs: layout, submission, what became of them, cancelling.
- ``perf``: ``make perf``.
- ``cli``: the commands: each parses its arguments and calls one function.

Methods (``methods``) and data sets (``datasets``) are packages beside this one; the loop knows none of them by name. What happens
to an image lives there: crops and batches in ``datasets.stream``, mixing and its lambda in ``methods.shared``.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.exchange.loading import LoadedSweep


def load(folder: str | Path) -> "LoadedSweep":
    """The records of a results folder, such as ``results/quick``, as pandas frames; see ``docs/sharing.md``. Imports no torch."""
    from benchmark.exchange import loading

    return loading.load(folder)
