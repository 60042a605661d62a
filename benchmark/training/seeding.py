"""Named random streams: every draw names its coordinates, and the method is never one of them.

At one seed index all methods see the same subset, order, crops, flips, pairs and mixing draws, so their
differences are paired. A draw for step i depends on i alone: a resumed run needs no generator state.
"""

import hashlib

import numpy as np
import torch

STREAMS = ("subset", "order", "augment", "mix", "init", "noise", "pairs", "setup")


class Streams:
    """The streams of one run (the ``Rng`` of :mod:`methods.base`).

    ``subset`` depends on (data set id, seed), so that fractions are nested; the others on (stream, data set id,
    fraction, seed[, step]).
    """

    def __init__(self, dataset: str, fraction: float, seed: int) -> None:
        self._coordinates = (dataset, repr(float(fraction)), seed)

    def seed(self, stream: str, step: int | None = None) -> int:
        """A 63-bit seed for ``stream`` (one of ``STREAMS``), optionally at one step."""
        if stream not in STREAMS:
            raise ValueError(f"unknown stream '{stream}' (valid: {', '.join(STREAMS)})")
        dataset, fraction, seed = self._coordinates
        coordinates = (stream, dataset, seed) if stream == "subset" else (stream, dataset, fraction, seed, step)
        digest = hashlib.sha256("\x1f".join(map(str, coordinates)).encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def numpy(self, stream: str, step: int | None = None) -> np.random.Generator:
        """A fresh NumPy generator for the stream."""
        return np.random.Generator(np.random.Philox(self.seed(stream, step)))

    def torch(self, stream: str, step: int | None = None) -> torch.Generator:
        """A fresh CPU generator for the stream."""
        return torch.Generator().manual_seed(self.seed(stream, step))
