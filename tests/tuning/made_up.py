"""A tuning sweep on digits with made-up records: scores come from a formula of the settings."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmark.config import grid
from benchmark.config.run_config import RunConfig
from benchmark.storage import yamlio
from benchmark.storage.atomic import file_sha256
from benchmark.tuning.trials import FOLDER, cells

SPACES = {"l2_sp": {"l2_sp.alpha": {"low": 0.001, "high": 1.0, "log": True}}, "mixup": {"mixup.alpha": [0.1, 0.2, 0.5, 1.0]}}
TUNE = {
    "trials": 6,
    "seeds": [100, 101],
    "val_fraction": 0.25,
    "shared": {"training.lr": {"low": 0.001, "high": 0.1, "log": True}},
    "spaces": SPACES,
}


def sweep_file(folder: Path, tune: Mapping[str, Any] | None = TUNE, **changes: Any) -> str:
    content = {
        "name": "tuned",
        "datasets": ["digits"],
        "fractions": [0.15, 0.3],
        "seeds": 2,
        "methods": ["fine_tuning", "l2_sp", "mixup", "l2_sp+mixup"],
        "training": {"steps": 6, "batch_size": 8, "image_size": 32},
        "runtime": {"device": "cpu"},
        **({"tune": dict(tune)} if tune else {}),
        **changes,
    }
    path = folder / "tuned.yaml"
    path.write_text(yamlio.dump(content))
    return str(path)


def opened(folder: Path, tune: Mapping[str, Any] = TUNE, **changes: Any) -> grid.Origin:
    return grid.read(sweep_file(folder, tune, **changes))


def score(config: RunConfig) -> float:
    """Best near a rate of 0.01, a little by seed and method."""
    return round(0.9 - 3 * abs(config.training.lr - 0.01) + 0.01 * (config.seed % 2) + 0.001 * len(config.method), 6)


def write_record(config: RunConfig, out: Path, value: float, **changes: Any) -> Path:
    folder = out / FOLDER / "runs" / config.run_id
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "run_id": config.run_id,
        "config_hash": config.config_hash,
        "val_accuracy": value,
        "test_accuracy": None,
        **dict.fromkeys(("data_hash", "weights_hash", "subset_hash", "device", "finished_at"), "made up"),
        **changes,
    }
    (folder / "record.json").write_text(json.dumps(record))
    file_sha256.cache_clear()
    return folder


def write_final(config: RunConfig, out: Path) -> Path:
    """A finished run of the final sweep."""
    folder = out / "runs" / config.run_id
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yamlio.dump(config.model_dump(mode="json")))
    (folder / "record.json").write_text(json.dumps({"run_id": config.run_id, "test_accuracy": 0.9}))
    return folder


def write_failure(config: RunConfig, out: Path, reason: str, kind: str = "nan") -> None:
    folder = out / FOLDER / "runs" / config.run_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").unlink(missing_ok=True)
    (folder / "failure.json").write_text(json.dumps({"reason": reason, "kind": kind}))


def carry_out(found: grid.Origin, out: Path, value: Callable[[RunConfig], float] = score) -> None:
    """Records for every run that the cells ask for by now."""
    for cell in cells(found):
        for trial in cell.trials:
            for config in trial.runs:
                write_record(config, out, value(config))
