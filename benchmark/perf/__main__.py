"""``make perf``: every measurement, printed and kept under ``results/perf/``."""

import datetime
import platform
from pathlib import Path

import torch
from rich.console import Console

from benchmark.perf import data, steps
from benchmark.sweep.state import write_text

console = Console(record=True, width=100)
torch.set_num_threads(1)
today = datetime.datetime.now(datetime.UTC)
console.print(f"{today:%Y-%m-%d}, {platform.machine()}, torch {torch.__version__}, one thread", highlight=False)
steps.report(console)
data.report(console)
target = Path("results/perf") / f"{today:%Y%m%d-%H%M%S}.txt"
target.parent.mkdir(parents=True, exist_ok=True)
write_text(target, console.export_text())
console.print(f"kept: {target}", highlight=False)
