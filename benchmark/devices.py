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


def worker_devices(device: str) -> list[str]:
    """What workers are given in turn: ``cpu``, or the entries for their ``CUDA_VISIBLE_DEVICES``; none where no GPU is visible."""
    return visible_gpus() if device == "cuda" else ["cpu"]


def no_gpu() -> str:
    """Why a run on a GPU cannot be carried out where none is visible, and what can be done."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = "there is no /dev/nvidia*" if listed is None else f"CUDA_VISIBLE_DEVICES is '{listed}'"
    return f"runtime.device: 'cuda', but no GPU is visible here ({seen}); runtime.device=cpu runs without one"


def default_workers(device: str, threads: int, workers_per_gpu: int) -> int:
    """How many workers fill this machine."""
    return len(visible_gpus()) * workers_per_gpu if device == "cuda" else max(1, cpu_count() // threads)
