"""How a process uses its device: what float32 means there, how cuDNN chooses, the split that lies on it, and its memory: the peak of one
run among many, and pages that are kept from one step to the next.
"""

import contextlib
import ctypes
import gc
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.arena import ArenaSplit

RESIDENT_SHARE = 0.25
"""Part of a device's memory that the resident splits of all its workers may take."""
FLOAT32 = "ieee"
"""What float32 means in matrix products and convolutions: never TF32, whose mantissa has 10 bits."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's ``mallopt``."""


def set_numerics(device: torch.device) -> None:
    """The one place where the device's ways of computing are set. Shapes are fixed, so that cuDNN measures once."""
    torch.backends.cuda.matmul.fp32_precision = FLOAT32
    torch.backends.cudnn.conv.fp32_precision = FLOAT32  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = FLOAT32  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = device.type == "cuda"


class Resident:
    """The pixels of at most one split, kept on the device from run to run of a process. What fits is asked anew by every run."""

    def __init__(self) -> None:
        self._split: ArenaSplit | None = None
        self._pixels: Tensor | None = None

    def pixels(self, split: ArenaSplit, device: torch.device, workers: int) -> Tensor | None:
        """The split's flat pixels on ``device``, uint8; None where they do not fit, and on the CPU: a slice is cheaper.

        workers: processes that share the device; each may take its part of :data:`RESIDENT_SHARE`.
        """
        if device.type != "cuda":
            return None
        if self._split is not split:
            self._split = self._pixels = None
            if split.pixels.nbytes <= room(device, workers):
                self._split, self._pixels = split, torch.from_numpy(np.array(split.pixels)).to(device)
        return self._pixels

    @property
    def nbytes(self) -> int:
        return 0 if self._pixels is None else self._pixels.nbytes


RESIDENT = Resident()
"""The process's own."""


def room(device: torch.device, workers: int) -> int:
    """Bytes that one of ``workers`` may keep on ``device``: its part of the share, and at most half of what is free now.

    What the allocator of this process has reserved and not handed out is free to it.
    """
    free, total = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(min(RESIDENT_SHARE * total / workers, free / 2))


def keep_pages() -> None:
    """Have glibc keep what a step frees for the next one, instead of handing every large block back to the system and faulting it in anew.

    Saves 5 to 20 % of a CPU step, whose activations are all large blocks. Does nothing under another C library.
    """
    with contextlib.suppress(AttributeError, OSError):
        for threshold in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            ctypes.CDLL(None).mallopt(threshold, 2**30)


def release() -> None:
    """Give back what is no longer in use: networks that refer to themselves in circles, and the device memory that they held."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def reset_peak() -> None:
    """Start a new peak, on the GPU and (on Linux) for this process, without what earlier runs have left: networks in circles, and pages."""
    release()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
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
