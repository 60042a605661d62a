"""What the parts of ``make perf`` share: a row of their tables, fair timing, and small models and images to time."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from benchmark.config import grid
from benchmark.config.run_config import RunConfig

CLASSES, PER_CLASS = 10, 16
LEARNING_RATE = 1e-6
Task = Callable[[], object]


@dataclass(frozen=True)
class Measured:
    """One measured number, a ratio unless ``unit`` says otherwise. at_most, at_least: what is wanted of it, if anything.

    details: further columns.
    """

    what: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "x"
    details: tuple[str, ...] = ()

    @property
    def met(self) -> bool | None:
        """Whether the wanted bound holds; None without one."""
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or self.value <= self.at_most) and (self.at_least is None or self.value >= self.at_least)

    @property
    def wanted(self) -> str:
        """The bound in words."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else ""

    def as_json(self) -> dict[str, Any]:
        """For the results file."""
        return {**asdict(self), "met": self.met}


def show(console: Console, title: str, rows: Sequence[Measured], details: Sequence[str] = ()) -> list[Measured]:
    """Print the rows as a table with the wanted bound next to each number, and hand them on. details: names of the further columns."""
    table = Table(title, "measured", "wanted", "", *details)
    for row in rows:
        mark = {True: "met", False: "MISSED", None: ""}[row.met]
        table.add_row(row.what, f"{number(row.value)} {row.unit}", row.wanted, mark, *row.details)
    console.print(table)
    return list(rows)


def number(value: float) -> str:
    """Three significant digits, more above 100."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 10 else f"{value:.3f}" if value < 2 else f"{value:.2f}"


def interleaved(tasks: Mapping[str, Task], rounds: int, clock: Callable[[], float] = time.process_time) -> dict[str, list[float]]:
    """Seconds of each task in each round; tasks take turns, so that a machine whose speed drifts slows all of them alike.

    The first round warms up and is dropped. clock: by default CPU seconds of this process, which other programs do not add to.
    """
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):
        for name, task in tasks.items():
            start = clock()
            task()
            times[name].append(clock() - start)
    return {name: values[1:] for name, values in times.items()}


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """The median over rounds of a / b."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def device_clock(device: torch.device) -> Callable[[], float]:
    """CPU seconds of this process; for a GPU the wall clock, read when the GPU has done all it was given."""
    if device.type == "cpu":
        return time.process_time

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


@contextmanager
def threads(count: int) -> Iterator[None]:
    """``count`` threads for torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Keep decoded images and set-up passes out of the user's cache."""
    before = os.environ.get("SMILEBENCH_CACHE")
    os.environ["SMILEBENCH_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SMILEBENCH_CACHE"]
        else:
            os.environ["SMILEBENCH_CACHE"] = before


def write_backbone(folder: Path, architecture: str) -> str:
    """A checkpoint of ``architecture`` with random weights and its own classifier: the backbone's name in a sweep."""
    file = folder / f"{architecture}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file({k: v.contiguous() for k, v in timm.create_model(architecture).state_dict().items()}, file)
    return f"{architecture}@{file}"


def write_images(folder: Path, side: int, per_class: int = PER_CLASS, classes: int = CLASSES) -> str:
    """An image folder of noise, ``per_class`` train images and as many test images in each class: its name in a sweep."""
    rng = np.random.default_rng(0)
    for split, label, n in np.ndindex(2, classes, per_class):
        path = folder / ("train", "test")[split] / f"class{label}" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(path)
    return f"folder:{folder}"


def runs(backbone: str, images: str, methods: Sequence[Any], **keys: Any) -> tuple[RunConfig, ...]:
    """The runs of a sweep over these methods on the noise images. keys: of a sweep file, over short defaults on one CPU thread."""
    raw: dict[str, Any] = {
        "name": "perf",
        "backbone": backbone,
        "datasets": [{"name": "noise", "use": images}],
        "seeds": [0],
        "methods": list(methods),
        "baseline": methods[0] if isinstance(methods[0], str) else methods[0]["name"],
        "linearity": {"pairs": 0},
        "runtime": {"device": "cpu"},
    }
    for key, value in keys.items():
        raw[key] = {**raw[key], **value} if isinstance(raw.get(key), dict) else value
    return grid.expand(grid.SweepFile.model_validate(raw), [], "perf").runs
