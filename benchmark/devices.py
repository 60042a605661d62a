"""What this machine can run on, told without importing torch."""

import os
from pathlib import Path


def visible_gpus() -> list[str]:
    """Ids of the GPUs this process may use: those of ``CUDA_VISIBLE_DEVICES`` (numbers, UUIDs or MIG ids), else all device files."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [part.strip() for part in listed.split(",") if part.strip() and part.strip() != "-1"]
    return sorted((file.name.removeprefix("nvidia") for file in Path("/dev").glob("nvidia[0-9]*")), key=int)


def cpu_count() -> int:
    """CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
