"""Peak memory of one run, in a process that carries out many."""

import re
from pathlib import Path

import torch


def reset_peak() -> None:
    """Start a new peak, on the GPU and (on Linux) for this process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes(device: torch.device) -> int | None:
    """Peak since :func:`reset_peak`: device memory allocated, or this process's resident set; None where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
