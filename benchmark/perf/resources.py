"""What threads buy, and what memory methods take, on ResNet-18 at 96 px.

Threads: wall time of a step at one thread over that at more, and images per second of as many one-thread workers over one worker with
that many threads, which is what a sweep can choose between. Memory: peaks of the core methods above the idle process, over
fine-tuning's.
"""

import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from benchmark.config.run_config import RunConfig
from benchmark.devices import cpu_count
from benchmark.perf import steps
from benchmark.perf.measure import Measured, interleaved, own_cache, ratio, show, threads
from benchmark.training import on_device

ROUNDS, STEPS_OF_A_WORKER, STEPS_OF_A_PEAK = 5, 12, 3


def measure(setting: steps.Setting = steps.CPU) -> list[Measured]:
    """The rows of both questions."""
    names = setting.names or steps.core()
    with tempfile.TemporaryDirectory() as folder, own_cache(Path(folder) / "cache"), threads(1):
        configs = steps.configured(Path(folder), setting, names)
        return [*thread_rows(configs[0], cpu_count()), *memory_rows(configs)]


def thread_rows(config: RunConfig, most: int) -> list[Measured]:
    """One worker with ``most`` threads, and ``most`` workers with one; no row where there is but one core."""
    if most < 2:
        return []
    step = steps.stepper(steps.started(config))

    def at(count: int) -> None:
        with threads(count):
            step()

    times = interleaved({"one": lambda: at(1), "many": lambda: at(most)}, ROUNDS, time.perf_counter)
    with multiprocessing.get_context("spawn").Pool(most) as pool:
        alone = statistics.median(pool.map(_worker, [config]))
        beside = statistics.median(pool.map(_worker, [config] * most, chunksize=1))
    speedup = ratio(times["one"], times["many"])
    return [
        Measured(f"{most} threads over one: speed of a step", speedup),
        Measured(f"{most} workers of one thread over one such worker: images per second", most * alone / beside),
    ]


def _worker(config: RunConfig) -> float:
    """Median seconds of a step in this process."""
    torch.set_num_threads(1)
    on_device.keep_pages()
    step = steps.stepper(steps.started(config))
    return statistics.median(interleaved({"step": step}, STEPS_OF_A_WORKER, time.perf_counter)["step"])


def memory_rows(configs: tuple[RunConfig, ...]) -> list[Measured]:
    """Peak memory of each method over the first one's, each in a process of its own."""
    peaks = {}
    for config in configs:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks[config.method] = pool.apply(_peak, (config,))
    first = peaks[configs[0].method]
    return [Measured(f"peak memory of {name}", peak / first, details=(f"{peak / 2**20:,.0f}",)) for name, peak in peaks.items()]


def _peak(config: RunConfig) -> int:
    """Bytes that set-up and a few steps take above what the process has before."""
    torch.set_num_threads(1)
    on_device.reset_peak()
    device = torch.device(config.runtime.device)
    idle = on_device.peak_bytes(device) or 0
    step = steps.stepper(steps.started(config))
    for _ in range(STEPS_OF_A_PEAK):
        step()
    return (on_device.peak_bytes(device) or 0) - idle


def report(console: Console) -> list[Measured]:
    """Measure and print the ratios."""
    return show(console, "threads and memory", measure(), ("MiB",))
