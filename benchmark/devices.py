"""What this machine can run on, told without importing torch."""

import itertools
import os
from pathlib import Path


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them: numbers, UUIDs or MIG ids; none after an invalid one.

    Where the variable is not set: a number per device file. CUDA numbers what it finds, whatever the files are called.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [str(n) for n, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
    names = (part.strip() for part in listed.split(","))
    return list(itertools.takewhile(lambda name: name.isdecimal() or name.startswith(("GPU-", "MIG-")), names))


def cpu_count() -> int:
    """CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
