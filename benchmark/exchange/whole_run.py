"""What is wrong with a finished run that is to become one of a sweep: files that are damaged or cut off, and files of another run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError, first_line
from benchmark.exchange.folders import travelling
from benchmark.report.collect import Run
from benchmark.storage import yamlio

_LABELS = ("dataset", "fraction", "method", "seed")


def faults(run: Run, config: RunConfig) -> list[str]:
    """Why ``run`` cannot be taken for the run that ``config`` asks for, a reason each; a measured file that was not kept is none."""
    asked = {name: getattr(config, name) for name in _LABELS}
    found = [*run.damage(), *_damaged_tables(run.folder), *_cut(run, config)]
    found += _of_another(run.record, {**asked, "config_hash": config.config_hash}, "record.json")
    try:
        settings = yamlio.read_mapping(run.folder / "config.yaml")
    except (UsageError, OSError) as error:
        return [*found, f"config.yaml cannot be read ({_reason(error, run.folder / 'config.yaml')})"]
    return [*found, *_of_another(settings, asked, "config.yaml")]


def _of_another(said: Mapping[str, Any], asked: Mapping[str, Any], file: str) -> list[str]:
    return [f"{file}: {name} is {said.get(name, 'absent')}, not {value}" for name, value in asked.items() if said.get(name) != value]


def _reason(error: Exception, path: Path) -> str:
    return first_line(error).removeprefix(f"{path}: ").removeprefix("cannot be read: ")


def _cut(run: Run, config: RunConfig) -> list[str]:
    """Tables that end before the run did: a copy that broke off at the end of a line."""
    ends: dict[str, Sequence[float]] = {
        "curves.jsonl": [row["step"] for row in run.curves()],
        "snapshots.csv": [step for step, _ in run.snapshots()],
    }
    last = config.training.steps
    found = [f"{name} is cut off (it ends at step {steps[-1]:g} of {last})" for name, steps in ends.items() if steps and steps[-1] != last]
    if run.record["linearity"] is not None and (run.folder / "linearity.csv").exists() and not run.linearity():
        found.append("linearity.csv is cut off (it has no rows)")
    return found


def _damaged_tables(run: Path) -> list[str]:
    """The run's ``.parquet`` files that cannot be read, each with the reason."""
    found = []
    for file in travelling(run):
        if file.suffix == ".parquet":
            try:
                pq.read_table(run / file)
            except (pa.ArrowException, OSError) as error:
                found.append(f"{file} is damaged ({str(error).splitlines()[0]})")
    return found
