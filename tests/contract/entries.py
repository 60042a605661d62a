"""What the contract is held to: every method, every variant, and the compositions that papers or the project's sweeps have."""

import functools
from pathlib import Path
from typing import Any

import methods
from benchmark.config import grid
from benchmark.config.method_options import method_info
from benchmark.storage import yamlio
from methods.testing import Trial, tiny_backbone

PUBLISHED = (
    "l2_sp+mixup",
    "delta+mixup",
    "rifle+mixup",
    "bss+mixup",
    "co_tuning+mixup",
    "lwf+mixup",
    "l2_sp+cutmix",
    "smile+rifle",
    "lp_ft+wise_ft",
    "lr_decay+ema",
    "sam+mixup",
    "smile+ema",
    "l2_sp+swa",
    "bitfit+lr_decay",
    "lora+mixup",
    "lora+ema",
    "sam+regmixup",
    "l2_sp+snapmix",
)


ADAPTERS = ("lora", "ssf", "vpt", "adaptformer")
"""Methods for transformers alone."""


@functools.cache
def transformer(folder: Path) -> str:
    """The tiny ViT's name in a sweep, its checkpoint in ``folder``."""
    return tiny_backbone(folder, "test_vit")


def of_sweeps() -> set[str]:
    """The compositions in the files of ``sweeps/``."""
    rows = [row for path in grid.built_in() for row in yamlio.read(path)["methods"]]
    uses = {row if isinstance(row, str) else row["use"] for row in rows}
    return {use for use in uses if "+" in use}


COMPOSITIONS = tuple(sorted({*PUBLISHED, *of_sweeps()}))
ENTRIES = (*methods.METHODS, *methods.VARIANTS, *COMPOSITIONS)
TEMPLATE = "methods.template:Template"
"""What new methods are copied from: held to the contract, and in no table."""


def trial(name: str, images: Path, backbone: str, **options: Any) -> Trial:
    """The trial of an entry; a method that needs a start for the classifier beside it has it."""
    alone = method_info(name).declarations if name in methods.METHODS else {}
    if set(ADAPTERS) & set(name.split("+")):
        backbone = transformer(Path(backbone.partition("@")[2]).parent)
    return Trial(f"lp_ft+{name}" if alone.get("needs_head_start") else name, options, images, backbone)
