"""Results of set-up passes, kept on disk for every run in which the same code would compute the same."""

import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from safetensors.torch import load, save
from torch import Tensor

from benchmark.config.run_config import LOOP_VERSION, RunConfig
from benchmark.config.weights import parse
from benchmark.storage import checksummed
from datasets.base import cache_root

Cached = Callable[[str, Mapping[str, Any], Callable[[], dict[str, Tensor]]], dict[str, Tensor]]


class SetupCache:
    """Results on disk, keyed by all they depend on; one file each, with its checksum, renamed into place. A damaged one is made anew.

    spared: seconds that it took other runs to compute what was found here. They count as this run's, or the first method to need a pass
    would seem slower than the next.
    """

    def __init__(self, key: Mapping[str, Any]) -> None:
        self._key = dict(key)
        self.spared = 0.0

    def of(self, component: str, version: int) -> Cached:
        """The cache as one component sees it: what others keep under the same name, or it kept at another version, is not there."""
        return functools.partial(self._get, {**self._key, "component": component, "version": version})

    def _get(
        self, key: Mapping[str, Any], name: str, options: Mapping[str, Any], compute: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        text = json.dumps({**key, "pass": name, "options": dict(options)}, sort_keys=True)
        file = cache_root() / "setup" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.safetensors"
        try:
            content = checksummed.read(file)
        except (FileNotFoundError, checksummed.DamagedError):
            started = time.monotonic()
            found = {key: value.detach().cpu().contiguous() for key, value in compute().items()}
            file.parent.mkdir(parents=True, exist_ok=True)
            with checksummed.writing(file) as out:
                out.write(save(found, {"seconds": str(time.monotonic() - started)}))
            return found
        self.spared += _seconds(content)
        return load(content)


def _seconds(content: bytes) -> float:
    """What the header of a safetensors file says it took to make; 0 where it says nothing."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return float(header.get("__metadata__", {}).get("seconds", 0))


def setup_cache(config: RunConfig, sha256: str, data_hash: str, subset: str, device: torch.device) -> SetupCache:
    """The cache for one run: architecture, weights, images, subset, image size, seed, how networks are run, versions of all that computes.

    sha256: of the weights. Random ones are named by their seed alone, so the architecture is part of the key beside them.
    """
    return SetupCache(
        {
            "loop": LOOP_VERSION,
            "weights": [parse(config.backbone).architecture, sha256],
            "data": data_hash,
            "subset": subset,
            "image_size": config.training.image_size,
            "flip": config.training.flip,
            "crop": config.training.crop,
            "seed": [config.dataset, config.fraction, config.seed],
            "precision": [config.precision, config.compile, config.fold_bn],
            "numerics": [device.type, torch.get_num_threads(), torch.__version__, timm.__version__],
        }
    )
