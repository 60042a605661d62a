"""``make perf``: every measurement, printed with the bound wanted of it and kept under ``results/perf/``, as text and as JSON.

A part that is finished is kept at once; with ``--into FOLDER`` of an earlier call only the parts that are missing there are measured.
"""

import datetime
import importlib
import platform
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmark.devices import cpu_count
from benchmark.errors import UsageError, unknown
from benchmark.storage.run_folder import read_json, write_json, write_text
from benchmark.terminal import errors, say
from benchmark.training import on_device
from benchmark.training.record import cpu_name, git_commit

PARTS = {name: f"benchmark.perf.{name}" for name in ("steps", "data_path", "kernels", "overhead", "resources", "scale")}
PARTS["adapters"] = "benchmark.perf.steps:adapters"
"""Modules with ``report(console)``, or functions, which measure, print, and may return rows."""
GPU_NAMES = ("ceiling", "gpu_steps", "workers_resnet50", "workers_vit", "workers_lite", "paper")
GPU_PARTS = {name: f"benchmark.perf.gpu:{name}" for name in GPU_NAMES}
"""Functions of the same kind that need a GPU."""
WIDTH = 120


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join([*PARTS, *GPU_PARTS])}; all that can run here.")] = None,
    into: Annotated[Path | None, typer.Option(help="Folder of the results; a new one under results/perf/.")] = None,
) -> None:
    """Measure speed; see the module."""
    known = {**PARTS, **GPU_PARTS}
    chosen = parts or [*PARTS, *(GPU_PARTS if torch.cuda.is_available() else ())]
    for part in chosen:
        if part not in known:
            raise UsageError(unknown("part", part, known))
    folder = into or Path("results/perf") / f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    on_device.keep_pages()
    torch.set_num_threads(1)
    for part in chosen:
        file = folder / f"{part}.json"
        found = read_json(file)
        if found is None:
            write_json(file, carry_out(part, known[part]))
            on_device.release()
        else:
            print(found["text"])
    kept = {part: read_json(folder / f"{part}.json") for part in known}
    together = {part: found for part, found in kept.items() if found}
    write_json(folder / "report.json", together)
    write_text(folder / "report.txt", "\n".join(found["text"] for found in together.values()))
    print(f"kept: {folder}")


def carry_out(part: str, place: str) -> dict[str, Any]:
    """Measure one part: its rows, its text, and where and when that was."""
    console = Console(width=WIDTH, record=True)
    module, _, name = place.partition(":")
    report = getattr(importlib.import_module(module), name or "report")
    facts = machine()
    say(console, f"{part}: {'; '.join(map(str, facts.values()))}")
    begun = time.monotonic()
    rows = report(console) or []
    seconds = round(time.monotonic() - begun, 1)
    return {"part": part, "machine": facts, "seconds": seconds, "rows": [row.as_json() for row in rows], "text": console.export_text()}


def machine() -> dict[str, str]:
    """Where and when something is measured."""
    load = Path("/proc/loadavg")
    return {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "processor": f"{cpu_name()}, {cpu_count()} cores, {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        "torch": f"torch {torch.__version__}",
        "commit": f"commit {git_commit() or 'unknown'}",
        "load": f"load before {load.read_text().split()[0]}" if load.is_file() else "load unknown",
    }


if __name__ == "__main__":
    try:
        typer.run(main)
    except UsageError as error:
        say(errors, f"error: {error}", "red")
        raise SystemExit(2) from error
