"""What the contract is held to: every method, every variant, and the compositions that papers or the project's sweeps have."""

from pathlib import Path
from typing import Any

import methods
from benchmark.config import grid
from benchmark.storage import yamlio
from methods.testing import Trial

PUBLISHED = ("l2_sp+mixup", "delta+mixup", "rifle+mixup", "bss+mixup", "co_tuning+mixup", "lwf+mixup", "l2_sp+cutmix", "smile+rifle")


def of_sweeps() -> set[str]:
    """The compositions in the files of ``sweeps/``."""
    rows = [row for path in grid.SWEEPS.glob("*.yaml") for row in yamlio.read(path)["methods"]]
    uses = {row if isinstance(row, str) else row["use"] for row in rows}
    return {use for use in uses if "+" in use}


COMPOSITIONS = tuple(sorted({*PUBLISHED, *of_sweeps()}))
ENTRIES = (*methods.METHODS, *methods.VARIANTS, *COMPOSITIONS)
TEMPLATE = "methods.template:Template"
"""What new methods are copied from: held to the contract, and in no table."""


def trial(name: str, images: Path, backbone: str, **options: Any) -> Trial:
    """The trial of an entry."""
    return Trial(name, options, images, backbone)
