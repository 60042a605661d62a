"""The files of a run: event files while it trains, the others when it is finished. ``record.json`` comes last: its presence means done."""

import csv
import datetime
import functools
import importlib.util
import io
import json
import platform
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save

from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.storage.run_folder import Check, replacing, write_record, write_text
from benchmark.training import kept_weights
from benchmark.training.backbones import Source
from benchmark.training.evaluate import Predictions
from benchmark.training.images import Images
from benchmark.training.linearity import MEASURES, summary
from benchmark.training.loop import Fit
from benchmark.training.on_device import FLOAT32, RESIDENT, peak_bytes
from benchmark.training.session import Session


@dataclass(frozen=True)
class AlsoTested:
    """What a second test set was, and the predictions on it, labels as in training."""

    name: str
    predictions: Predictions
    data_hash: str
    pixels_hash: str

    @property
    def fields(self) -> dict[str, Any]:
        """What the record says of it."""
        found = self.predictions
        return {
            "accuracy": found.accuracy,
            "mean_class_accuracy": found.mean_class_accuracy,
            "nll": found.loss,
            "ece": found.calibration_error,
            "num_images": len(found.label),
            "data_hash": self.data_hash,
            "pixels_hash": self.pixels_hash,
        }


@dataclass(frozen=True)
class Results:
    """A trained network and what was measured of it. test: None in a tuning run. linearity: rows per split, empty when not measured.

    also_test: None where the run has no second test set.
    """

    fit: Fit
    images: Images
    source: Source
    train: Predictions
    val: Predictions | None
    test: Predictions | None
    linearity: dict[str, list[dict]]
    also_test: AlsoTested | None = None
    wall_seconds: float = 0.0
    started_at: datetime.datetime | None = None


def write(config: RunConfig, session: Session, results: Results, record: dict[str, Any]) -> None:
    """Write every file of the run, ``record`` (from :func:`build`) last."""
    folder = session.folder
    write_text(folder / "curves.jsonl", "".join(json.dumps(row) + "\n" for row in results.fit.curves), session.check)
    write_text(folder / "linearity.csv", _linearity_csv(results.linearity), session.check)
    predicted = {"predictions": results.test}
    if results.also_test is not None:
        predicted[f"predictions-{results.also_test.name}"] = results.also_test.predictions
    for name, predictions in predicted.items():
        if predictions is not None:
            with replacing(folder / f"{name}.parquet", check=session.check) as file:
                pq.write_table(_predictions(predictions, results.images.arena.classes), file)
    if kept_weights.wanted(folder, config, record):
        state = {k: v.detach().cpu().contiguous() for k, v in results.fit.net.state_dict().items()}
        with replacing(folder / kept_weights.FILE, check=session.check) as file:
            file.write(save(state, {kept_weights.CLASSES: json.dumps(results.images.arena.classes)}))
    write_record(folder, record, session.check)
    kept_weights.prune(folder, config)


def build(config: RunConfig, results: Results) -> dict[str, Any]:
    """The record's fields; accuracies are fractions, times are seconds. Those on ``test`` are null in a tuning run.

    ``also_test`` is there where the run has a second test set.
    """
    fit, device = results.fit, results.fit.ctx.device
    assert results.started_at is not None
    return {
        "run_id": config.run_id,
        "sweep": config.sweep,
        "dataset": config.dataset,
        "fraction": config.fraction,
        "method": config.method,
        "components": [c.model_dump(mode="json", exclude={"use"}) for c in config.components],
        "seed": config.seed,
        "backbone": config.backbone,
        "weights_hash": results.source.sha256,
        "data_hash": results.images.arena.data_hash,
        "pixels_hash": results.images.arena.pixels_hash,
        "subset_hash": results.images.subset_hash,
        "protocol": config.protocol,
        "num_classes": fit.ctx.num_classes,
        "num_train": len(results.images.train_index),
        "steps": fit.step,
        "batch_size": fit.stream.batch_size,
        "lr": config.training.lr,
        "precision": config.precision,
        "float32": FLOAT32,
        "compile": config.compile,
        "fold_bn": config.fold_bn,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "resident_pixels": fit.stream.pixels is not None,
        "threads": torch.get_num_threads(),
        "workers_per_gpu": config.runtime.workers_per_gpu if device.type == "cuda" else 1,
        "train_loss": results.train.loss,
        "train_accuracy": results.train.accuracy,
        "test_accuracy": results.test.accuracy if results.test else None,
        "test_mean_class_accuracy": results.test.mean_class_accuracy if results.test else None,
        "test_nll": results.test.loss if results.test else None,
        "test_ece": results.test.calibration_error if results.test else None,
        "val_accuracy": results.val.accuracy if results.val else None,
        **({"also_test": {results.also_test.name: results.also_test.fields}} if results.also_test else {}),
        "linearity": {split: summary(rows) for split, rows in results.linearity.items()} or None,
        "wall_seconds": round(results.wall_seconds, 3),
        "images_per_second": round(fit.step * fit.stream.batch_size / fit.elapsed, 3),
        "peak_memory_bytes": _peak_bytes(device),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "hostname": socket.gethostname(),
        "resumes": fit.resumes,
        "versions": versions(),
        "git_commit": git_commit(),
        "config_hash": config.config_hash,
        "started_at": results.started_at.isoformat(timespec="seconds"),
        "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


class Events:
    """TensorBoard event files, ``tensorboard/`` in the run's folder, with the tags of ``curves.jsonl``; nothing unless ``wanted``.

    The first write of a claim starts the folder afresh with every row so far, later ones add rows: a resumed run has each step once.
    Closed at the end of a ``with`` block.
    """

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


def _peak_bytes(device: torch.device) -> int | None:
    """The run's own: without the pixels that lie on the device for later runs too."""
    peak = peak_bytes(device)
    return peak - RESIDENT.nbytes if device.type == "cuda" and peak is not None else peak


@functools.cache
def versions() -> dict[str, str | None]:
    """Versions of what determines results."""
    names = ("smilebench", "torch", "torchvision", "timm", "numpy", "scipy", "pillow")
    found: dict[str, str | None] = {name: metadata.version(name) for name in names}
    return {"python": platform.python_version(), **found, "cuda": torch.version.cuda if torch.cuda.is_available() else None}


def _linearity_csv(linearity: dict[str, list[dict]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["split", "lam", *MEASURES, "n_pairs"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"split": split, **row} for split, rows in linearity.items() for row in rows)
    return text.getvalue()


def _predictions(test: Predictions, classes: Sequence[str]) -> pa.Table:
    names = pa.array(classes, pa.string())
    columns = {"index": test.index, "label": test.label, "top1": test.top1, "probability": test.probability}
    named = {"label_name": names.take(pa.array(test.label)), "top1_name": names.take(pa.array(test.top1))}
    return pa.table({**columns, "true_probability": test.true_probability, **named})


@functools.cache
def cpu_name() -> str:
    """The processor as the system calls it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), platform.machine())


@functools.cache
def git_commit() -> str | None:
    """Commit of the code that ran, with ``-dirty`` when it was changed; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
