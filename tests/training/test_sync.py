"""On a GPU the host never waits for it between two log points, whatever the method."""

from pathlib import Path

import pytest
import torch

from methods.testing import advance, trained
from tests.contract.entries import COMPOSITIONS, trial
from tests.runs import config

NAMES = ("fine_tuning", "l2_sp", "delta", "rifle", "mixup", "cutmix", "manifold_mixup", "smile", "bss", *COMPOSITIONS)
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("resized", ["random", "resized"])
@pytest.mark.parametrize(
    "name", ["fine_tuning", "l2_sp", "delta", "rifle", "mixup", "cutmix", "manifold_mixup", "smile", "bss", *COMPOSITIONS]
)
def test_no_host_sync_between_log_points(name: str, resized: str, images: Path, backbone: str) -> None:
    planned = trial(name, images, backbone)
    entry = {"name": "method under test", "use": name, **planned.options}
    run = config(images, backbone, entry, training={"steps": 30, "log_every": 30, "crop": resized}, runtime={"device": "cuda"})
    fit = trained(run, 3)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        advance(fit, 20)  # past half of the steps, where a classifier may be redrawn
    finally:
        torch.cuda.set_sync_debug_mode("default")
    advance(fit, 7)
    assert len(fit.curves) == 1
