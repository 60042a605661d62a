"""Step time of every method over fine-tuning's, and of the loop over a bare training step, on the same network and batch size.

ResNet-18 with random weights on generated images, float32. Methods take turns, step by step, so that a machine
whose speed drifts slows all of them alike; the median of the per-round ratios counts.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import timm
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch.nn import functional as F

import methods
from benchmark.config import RunConfig
from benchmark.errors import UsageError
from benchmark.plugins import method_info
from benchmark.sweep import grid
from benchmark.training.loop import Fit, train_step
from benchmark.training.run import assemble

ROUNDS = 6
BATCH, SIDE = 32, 96
CLASSES, PER_CLASS = 10, 16


class Row(NamedTuple):
    """A method's median step time, relative to fine-tuning's, next to its forward and backward passes per step."""

    method: str
    ratio: float
    forwards: int
    backwards: int


def measure(rounds: int = ROUNDS) -> tuple[list[Row], float]:
    """Every method that has a full set of defaults, and the loop's step time over that of a bare step."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        backbone = write_backbone(root)
        write_images(root / "images")
        fits = {name: fit for name in methods.METHODS if (fit := _fit(name, root / "images", backbone)) is not None}
        tasks: dict[str, Callable[[], None]] = {name: _stepper(fit) for name, fit in fits.items()}
        baseline = next(iter(fits))
        tasks["bare"] = bare_step(fits[baseline])
        times = _times(tasks, rounds)
    ratios = {name: statistics.median(a / b for a, b in zip(times[name], times[baseline], strict=True)) for name in tasks}
    passes = {name: method_info(name).declarations for name in fits}
    rows = [Row(name, ratios[name], passes[name]["forwards"], passes[name]["backwards"]) for name in fits]
    return rows, 1 / ratios["bare"]


def bare_step(fit: Fit) -> Callable[[], None]:
    """Forward, backward and optimizer step on one fixed batch: what no training loop can undercut."""
    sample = fit.stream.batch(0)
    parameters = list(fit.net.parameters())
    optimizer = torch.optim.SGD(parameters, lr=1e-6, momentum=0.9, nesterov=True, weight_decay=1e-4, foreach=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(fit.net(sample.x).logits, sample.y).backward()
        optimizer.step()

    return step


def write_backbone(folder: Path) -> str:
    """A checkpoint of ResNet-18 with random weights and its 1,000-class head."""
    file = folder / "resnet18.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("resnet18").state_dict(), file)
    return f"resnet18@{file}"


def write_images(folder: Path) -> None:
    """A small image folder of noise."""
    rng = np.random.default_rng(0)
    for split, label, n in np.ndindex(2, CLASSES, PER_CLASS):
        path = folder / ("train", "test")[split] / f"class{label}" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)


def _config(method: str, images: Path, backbone: str) -> RunConfig:
    raw = {
        "name": "perf",
        "backbone": backbone,
        "datasets": [{"name": "noise", "use": f"folder:{images}"}],
        "seeds": [0],
        "methods": [method],
        "baseline": method,
        "training": {"steps": 10**6, "batch_size": BATCH, "image_size": SIDE, "lr": 1e-6, "log_every": 10**6},
        "runtime": {"device": "cpu"},
    }
    return grid.expand(grid.SweepFile.model_validate(raw), [], "perf").runs[0]


def _fit(method: str, images: Path, backbone: str) -> Fit | None:
    try:
        return assemble(_config(method, images, backbone))[0]
    except UsageError:
        return None  # a method whose options have no default cannot be timed without a sweep


def _stepper(fit: Fit) -> Callable[[], None]:
    fit.net.train()
    fit.pipeline.train_mode(fit.net)

    def step() -> None:
        train_step(fit, fit.step)
        fit.step += 1

    return step


def _times(tasks: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for n in range(rounds + 2):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if n >= 2:
                times[name].append(time.perf_counter() - start)
    return times


def report(console: Console) -> None:
    """Measure and print the ratios."""
    rows, overhead = measure()
    table = Table("method", "step time / fine-tuning's", "forwards", "backwards")
    for row in rows:
        table.add_row(row.method, f"{row.ratio:.2f}", str(row.forwards), str(row.backwards))
    console.print(table)
    untimed = [name for name in methods.METHODS if name not in {row.method for row in rows}]
    console.print(f"not timed, as some of its options have no default: {', '.join(untimed) or 'none'}", highlight=False)
    console.print(f"loop over a bare forward, backward and optimizer step: {overhead:.3f}", highlight=False)
