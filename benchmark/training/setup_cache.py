"""Results of set-up passes, kept on disk for every run that would compute the same."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark.config.run_config import RunConfig
from datasets.base import cache_root


class SetupCache:
    """Results of set-up passes on disk, keyed by all they depend on; one file each, renamed into place."""

    def __init__(self, key: Mapping[str, Any]) -> None:
        self._key = dict(key)

    def __call__(self, name: str, options: Mapping[str, Any], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        text = json.dumps({**self._key, "pass": name, "options": dict(options)}, sort_keys=True)
        file = cache_root() / "setup" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.safetensors"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_suffix(f".{os.getpid()}.tmp")
            save_file({k: v.detach().cpu().contiguous() for k, v in compute().items()}, temporary)
            temporary.replace(file)
        return load_file(file)


def setup_cache(config: RunConfig, sha256: str, data_hash: str, subset: str, device: torch.device) -> SetupCache:
    """The cache for one run: weights, images, subset, image size, seed, numerics."""
    return SetupCache(
        {
            "weights": sha256,
            "data": data_hash,
            "subset": subset,
            "image_size": config.training.image_size,
            "flip": config.training.flip,
            "crop": config.training.crop,
            "seed": [config.dataset, config.fraction, config.seed],
            "precision": config.precision,
            "numerics": [device.type, torch.get_num_threads(), torch.__version__],
        }
    )
