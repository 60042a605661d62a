"""How a process uses its device: what float32 means there, how cuDNN chooses, and the split that lies on it."""

import numpy as np
import torch
from torch import Tensor

from datasets.arena import ArenaSplit

RESIDENT_SHARE = 0.25
"""Part of a device's memory that the resident splits of all its workers may take."""
FLOAT32 = "ieee"
"""What float32 means in matrix products and convolutions: never TF32, whose mantissa has 10 bits."""


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
