"""A made-up sweep whose finished runs lie in folders of their own, as on machines that share no disk."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.config import grid
from benchmark.config.run_config import RunConfig
from benchmark.report.collect import Expected
from benchmark.storage import yamlio
from tests.report import fakes

FILE = """
name: made_up
datasets: [digits]
fractions: [0.15]
seeds: 2
methods: [fine_tuning, smile]
training: {steps: 60, batch_size: 32, image_size: 48}
runtime: {device: cpu}
"""


class Halves:
    """The sweep's file, its results folder ``target``, and folders in which its runs are written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "made_up.yaml"
        self.file.write_text(FILE)
        self.target = root / "target"
        self._configs: dict[str, RunConfig] = {}

    def expected(self, *assignments: str) -> list[Expected]:
        runs = grid.load(str(self.file), assignments, self.target).runs
        self._configs |= {config.run_id: config for config in runs}
        return [Expected(c.run_id, c.dataset, c.fraction, c.method, c.seed) for c in runs]

    def write(self, name: str, chosen: Iterable[Expected], **changes: Any) -> Path:
        """A results folder with these runs; changes: to their records."""
        folder = self.root / name
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        for item in chosen:
            config, run = self._configs[item.run_id], folder / "runs" / item.run_id
            fakes.write_run(folder, item, {"sweep": "made_up", "config_hash": config.config_hash, **changes})
            (run / "config.yaml").write_text(yamlio.dump(config.model_dump(mode="json")))
            with (run / "curves.jsonl").open("a") as file:
                file.write(json.dumps({"step": config.training.steps, "lr": 0.01, "loss/total": 0.25}) + "\n")
            pq.write_table(pa.table({"index": [0, 1], "top1": [3, 4]}), run / "predictions.parquet")
        return folder

    def seed(self, seed: int) -> list[Expected]:
        return [item for item in self.expected() if item.seed == seed]

    def edit(self, run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change the record of a run."""
        record = json.loads((run / "record.json").read_text())
        change(record)
        (run / "record.json").write_text(json.dumps(record))


def files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
