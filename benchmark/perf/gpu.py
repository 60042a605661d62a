"""What a GPU gives: the loop against the ceiling, host waits, MFU, step ratios, workers per GPU, and the time that ``paper`` would take.

ResNet-50 at 224 px in bfloat16, compiled, unless said otherwise; random weights on generated images. The ceiling is the same model trained
on one fixed batch that lies on the device. Each function is a part of ``make perf`` and takes a few minutes.
"""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from benchmark.config import grid
from benchmark.devices import worker_devices
from benchmark.perf import steps
from benchmark.perf.measure import Measured, device_clock, interleaved, own_cache, ratio, runs, show, write_backbone, write_images
from benchmark.perf.overhead import Silent
from benchmark.storage import yamlio
from benchmark.storage.run_folder import RunFolder, read_json
from benchmark.sweep.order import Order
from benchmark.sweep.plan import data_sets, work
from benchmark.sweep.runner import run_local
from benchmark.terminal import say
from benchmark.training.loop import Fit
from datasets.arena import prepare
from datasets.base import open_dataset

RESNET50 = steps.Setting("resnet50", 224, 48, "cuda", "bf16", "on", rounds=10, steps=20)
BATCHES = (48, 256)
LOOP_AT_MOST = 1.05
WARM_UP, WATCHED = 5, 20
WORKERS = (1, 2, 3, 4)
STEPS_OF_A_WORKER = 300
PAPER = "paper"
PEAK = {"B200": 2250e12, "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
"""Dense bfloat16 operations per second by part of the device's name, as NVIDIA states them; the first that fits counts."""


def ceiling(console: Console, setting: steps.Setting = RESNET50, batches: Sequence[int] = BATCHES) -> list[Measured]:
    """Images per second of the loop and of the ceiling, the share of a step outside the model, MFU, and host waits of the core methods."""
    rows = [row for batch in batches for row in against_ceiling(replace(setting, batch=batch))]
    return show(console, setting.title.partition(", batch")[0], [*rows, *waits(replace(setting, compile="off"))])


def against_ceiling(setting: steps.Setting) -> list[Measured]:
    """The loop of the baseline against a bare step."""
    with tempfile.TemporaryDirectory() as folder, own_cache(Path(folder) / "cache"):
        (config,) = steps.configured(Path(folder), setting, steps.core()[:1])
        fit = steps.started(config)
        tasks = {"loop": steps.repeat(steps.stepper(fit), setting.steps), "bare": steps.repeat(steps.bare_step(fit), setting.steps)}
        times = interleaved(tasks, setting.rounds, device_clock(fit.ctx.device))
        waited = host_waits(tasks["loop"], fit.ctx.device)
        flops = step_flops(fit)
    rate = {name: setting.steps * setting.batch / median(seconds) for name, seconds in times.items()}
    over, where = ratio(times["loop"], times["bare"]), f"batch {setting.batch}"
    rows = [
        Measured(f"loop, {where}", rate["loop"], unit="images/s"),
        Measured(f"ceiling, {where}", rate["bare"], unit="images/s"),
        Measured(f"loop over ceiling, {where}: step time", over, at_most=LOOP_AT_MOST),
        Measured(f"share of the step outside the model, {where}", 100 * (1 - 1 / over), unit="%"),
        Measured(f"host waits in {setting.steps} steps, {where}", waited, at_most=0, unit=""),
    ]
    peak = peak_flops(fit.ctx.device)
    if peak is not None:
        rows.append(Measured(f"MFU, {where}", 100 * flops * rate["loop"] / setting.batch / peak, unit="%"))
    return rows


def step_flops(fit: Fit) -> float:
    """Floating-point operations of the model's forward and backward pass on one batch, a multiply-add counting two."""
    x = fit.stream.batch(0).x[:2]
    with FlopCounterMode(display=False) as counter:
        fit.net(x).logits.sum().backward()
    return counter.get_total_flops() / len(x) * fit.stream.batch_size


def peak_flops(device: torch.device) -> float | None:
    """The device's bfloat16 peak; None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK.items() if part in name), None)


def waits(setting: steps.Setting) -> list[Measured]:
    """How often the host waits for the device between two log points, for every core method; not compiled, which would take minutes."""
    with tempfile.TemporaryDirectory() as folder, own_cache(Path(folder) / "cache"):
        rows = []
        for config in steps.configured(Path(folder), setting, steps.core()):
            step = steps.stepper(steps.started(config))
            steps.repeat(step, WARM_UP)()
            found = host_waits(steps.repeat(step, WATCHED), torch.device(setting.device))
            rows.append(Measured(f"host waits in {WATCHED} steps: {config.method}", found, at_most=0, unit=""))
        return rows


def host_waits(task: Callable[[], object], device: torch.device) -> int:
    """Synchronising calls that PyTorch sees during ``task``; 0 on a CPU, which has none."""
    if device.type != "cuda":
        task()
        return 0
    torch.cuda.synchronize(device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            task()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


def gpu_steps(console: Console, setting: steps.Setting = RESNET50) -> list[Measured]:
    """Step ratios of the core methods."""
    return steps.report(console, replace(setting, names=steps.core()))


def workers_resnet50(console: Console) -> list[Measured]:
    """Workers per GPU for ResNet-50."""
    return workers(console, replace(RESNET50, compile="off"))


def workers_vit(console: Console) -> list[Measured]:
    """Workers per GPU for ViT-S/16."""
    return workers(console, replace(RESNET50, architecture="vit_small_patch16_224", compile="off"))


def workers_lite(console: Console) -> list[Measured]:
    """Workers per GPU for EfficientNet-Lite0."""
    return workers(console, replace(RESNET50, architecture="tf_efficientnet_lite0", compile="off"))


def workers(console: Console, setting: steps.Setting, counts: Sequence[int] = WORKERS, length: int = STEPS_OF_A_WORKER) -> list[Measured]:
    """Images per second of so many runs at once on one device, over one alone; says which number is best. Not compiled: runs are short."""
    rates = {count: together(setting, count, length) for count in counts}
    alone = rates[counts[0]]
    what = f"workers over {counts[0]}: images per second"
    rows = [Measured(f"{count} {what}", rate / alone, details=(f"{rate:,.0f}",)) for count, rate in rates.items()]
    show(console, setting.title, rows, ("images/s",))
    best = max(rates, key=lambda count: rates[count])
    say(console, f"best number of workers on one device, {setting.architecture}: {best}")
    return rows


def together(setting: steps.Setting, count: int, length: int) -> float:
    """Sum of the images per second of ``count`` runs of ``length`` steps, each in a worker of its own, all on one device."""
    with tempfile.TemporaryDirectory() as folder, own_cache(Path(folder) / "cache"):
        root = Path(folder)
        backbone = write_backbone(root, setting.architecture)
        images = write_images(root / "images", setting.side + setting.side // 8, per_class=-(-setting.batch // 5))
        training = {"steps": length, "batch_size": setting.batch, "image_size": setting.side}
        how = {"precision": setting.precision, "compile": setting.compile, "runtime": {"device": setting.device}}
        configs = runs(backbone, images, steps.core()[:1], seeds=count, training=training, **how)
        for use, decode in data_sets(configs):
            prepare(open_dataset(use), decode)
        folders = [RunFolder(root / "runs" / config.run_id) for config in configs]
        for place, config in zip(folders, configs, strict=True):
            place.create(yamlio.dump(config.model_dump(mode="json")))
        ids = tuple(config.run_id for config in configs)
        order = Order(str(root), ids, setting.device, count, 1, tuple(worker_devices(setting.device)[:1]))
        outcome = run_local(order, Silent(Console(quiet=True)))
        if len(outcome.done) != count:
            raise RuntimeError(f"runs that were to be timed failed: {outcome.failed or outcome.message}")
        return sum((read_json(place.record_path) or {})["images_per_second"] for place in folders)


def paper(console: Console, setting: steps.Setting = RESNET50) -> list[Measured]:
    """GPU hours of the sweep ``paper``: its passes through the backbone, at the speed of the baseline's loop here; one run at a time."""
    with tempfile.TemporaryDirectory() as folder, own_cache(Path(folder) / "cache"):
        (config,) = steps.configured(Path(folder), setting, steps.core()[:1])
        fit = steps.started(config)
        times = interleaved({"loop": steps.repeat(steps.stepper(fit), setting.steps)}, setting.rounds, device_clock(fit.ctx.device))
    seconds = median(times["loop"]) / setting.steps
    planned = grid.load(PAPER).runs
    hours = sum(work(run) for run in planned) / (work(config) / config.training.steps) * seconds / 3600
    rows = [Measured(f"{PAPER}: {len(planned)} runs, without evaluation and data loading", hours, unit="GPU hours")]
    return show(console, f"estimate from {setting.title}", rows)
