"""Step time of every method over fine-tuning's, and of the loop over a bare training step, on the same network and batch size.

A network with random weights on generated images: on a CPU ResNet-18 at 96 px, float32, one thread. Methods take turns, step by step,
and the median of the per-round ratios counts.
"""

import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.nn import functional as F

import methods
from benchmark.config.method_options import method_info
from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.perf.measure import (
    LEARNING_RATE,
    Measured,
    device_clock,
    interleaved,
    own_cache,
    ratio,
    runs,
    show,
    threads,
    write_backbone,
    write_images,
)
from benchmark.storage import yamlio
from benchmark.training.evaluate import autocast
from benchmark.training.frozen import compiled
from benchmark.training.loop import Fit, train_step
from benchmark.training.run import assemble

ROUNDS = 10
LOOP_AT_MOST = 1.03
CPU_ALLOWANCE = 0.05


@dataclass(frozen=True)
class Setting:
    """What is trained, and how. rounds: repetitions. steps: per task and round. names: methods, the baseline first; empty: all
    that are defined for the network."""

    architecture: str = "resnet18"
    side: int = 96
    batch: int = 32
    device: str = "cpu"
    precision: str = "fp32"
    compile: str = "off"
    rounds: int = ROUNDS
    steps: int = 1
    names: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        how = f"{self.precision}, compile {self.compile}"
        return f"{self.architecture} at {self.side} px, batch {self.batch}, {self.device}, {how}"


CPU = Setting()


def measure(setting: Setting = CPU) -> tuple[list[Measured], float]:
    """A row per method but the baseline, and the step time of the loop over that of a bare step."""
    names = setting.names or every()
    with tempfile.TemporaryDirectory() as folder, own_cache(Path(folder) / "cache"), threads(1):
        configs = configured(Path(folder), setting, names)
        fits = {config.method: fit for config in configs if (fit := _started(config, needed=config.method in (*setting.names, names[0])))}
        baseline = names[0]
        tasks = {name: repeat(stepper(fit), setting.steps) for name, fit in fits.items()}
        tasks["bare"] = repeat(bare_step(fits[baseline]), setting.steps)
        times = interleaved(tasks, setting.rounds, device_clock(torch.device(setting.device)))
    rows = [_row(name, ratio(times[name], times[baseline]), setting.device) for name in fits if name != baseline]
    return rows, ratio(times[baseline], times["bare"])


def every() -> tuple[str, ...]:
    """All methods; one that needs a start for the classifier is composed with the first that gives it one."""
    said = {name: method_info(name).declarations for name in methods.METHODS}
    start = next(name for name in said if said[name]["sets_head"])
    return tuple(f"{start}+{name}" if said[name]["needs_head_start"] else name for name in said)


@functools.cache
def notes() -> dict[str, dict[str, Any]]:
    """What ``methods.yaml`` says of each method: ``at_most``, ``set`` and ``freezes``."""
    return yamlio.read(Path(__file__).with_name("methods.yaml"))


def core() -> tuple[str, ...]:
    """The baseline and every method whose step time has a bound."""
    return next(iter(methods.METHODS)), *(name for name, note in notes().items() if "at_most" in note)


def configured(folder: Path, setting: Setting, names: Sequence[str]) -> tuple[RunConfig, ...]:
    """Runs of the methods that never end nor log, on images made in ``folder``."""
    return runs(
        write_backbone(folder, setting.architecture),
        write_images(folder / "images", setting.side + setting.side // 8, per_class=-(-setting.batch // 5)),
        names,
        precision=setting.precision,
        compile=setting.compile,
        training={
            "steps": 10**6,
            "batch_size": setting.batch,
            "image_size": setting.side,
            "lr": LEARNING_RATE,
            "log_every": 10**6,
        },
        runtime={"device": setting.device},
        overrides=[
            {"match": {"method": name}, "set": {f"{name}.{key}": value for key, value in note["set"].items()}, "optional": True}
            for name, note in notes().items()
            if "set" in note
        ],
    )


def started(config: RunConfig) -> Fit:
    """A run that is about to take its first step."""
    return assemble(config)[0]


def _started(config: RunConfig, needed: bool) -> Fit | None:
    """As :func:`started`; None for a method that is undefined for the network, unless it is ``needed``."""
    try:
        return started(config)
    except UsageError:
        if needed:
            raise
        return None


def stepper(fit: Fit) -> Callable[[], None]:
    """Take the next training step."""

    def step() -> None:
        train_step(fit, fit.step)
        fit.step += 1

    return step


def bare_step(fit: Fit) -> Callable[[], None]:
    """Forward, backward and optimizer step on one fixed batch: what no training loop can undercut."""
    sample, net, device = fit.stream.batch(0), fit.net, fit.ctx.device
    forward = net if fit.forward is net else compiled(net)
    on_gpu = device.type == "cuda"
    kernel = {"fused": on_gpu, "foreach": not on_gpu}
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=1e-4, **kernel)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, fit.precision):
            loss = F.cross_entropy(forward(sample.x).logits, sample.y)
        loss.backward()
        optimizer.step()

    return step


def repeat(task: Callable[[], None], times: int) -> Callable[[], None]:
    """``task`` so many times."""

    def repeated() -> None:
        for _ in range(times):
            task()

    return repeated


def _row(name: str, value: float, device: str) -> Measured:
    info = method_info(name.rpartition("+")[2])
    passes, wanted = info.declarations, notes().get(name, {}).get("at_most")
    if wanted is not None and device == "cpu":
        wanted += CPU_ALLOWANCE
    return Measured(name, value, at_most=wanted, details=(str(passes["forwards"]), str(passes["backwards"]), f"{info.cost:.2f}"))


def report(console: Console, setting: Setting = CPU) -> list[Measured]:
    """Measure and print the ratios."""
    rows, loop = measure(setting)
    title = f"step time over {(setting.names or tuple(methods.METHODS))[0]}'s"
    show(console, title, rows, ("forwards", "backwards", "passes over fine-tuning's"))
    bare = Measured("loop over a bare forward, backward and optimizer step", loop, at_most=LOOP_AT_MOST)
    return [*rows, *show(console, setting.title, [bare])]


def adapters(console: Console, architecture: str = "vit_tiny_patch16_224") -> list[Measured]:
    """The same for the methods that freeze most of a network, on a transformer, which all of them are defined for."""
    frozen = (name for name, note in notes().items() if note.get("freezes"))
    return report(console, Setting(architecture, names=(next(iter(methods.METHODS)), *frozen)))
