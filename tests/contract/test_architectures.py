"""Every method on the architectures that the project names, and compiled in bfloat16."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import methods
from benchmark.errors import UsageError
from benchmark.training.loop import Fit
from methods.testing import Trial, fast_options, tiny_run, trained
from tests.contract.entries import ADAPTERS, trial

pytestmark = pytest.mark.slow

SIZES = {
    "resnet18": 32,
    "resnet50": 32,
    "efficientnet_b0": 32,
    "convnext_tiny": 32,
    "vit_tiny_patch16_224": 64,
    "swin_tiny_patch4_window7_224": 64,
    "inception_v3": 75,
}
WITHOUT_BATCH_NORM = ("convnext_tiny", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")
ADAPTED = {"vit_tiny_patch16_224": ADAPTERS, "swin_tiny_patch4_window7_224": ("lora", "adaptformer"), "convnext_tiny": ("adaptformer",)}


def after(steps: int, of: Trial, training: dict[str, Any], **changes: Any) -> Fit:
    """The run of ``of`` after its first steps, every step logged."""
    entry = {"name": "method under test", "use": of.method, **fast_options(of.method, of.options), **of.options}
    return trained(tiny_run(of.images, of.backbone, entry, training={"log_every": 1, **training}, **changes), steps)


def finite(fit: Fit) -> bool:
    return bool(fit.curves) and all(math.isfinite(value) for row in fit.curves for value in row.values())


@pytest.mark.parametrize("name", sorted(methods.METHODS))
@pytest.mark.parametrize("architecture", SIZES)
def test_architectures_train_a_step_or_are_refused_with_the_reason(name: str, architecture: str, images: Path, backbone: str) -> None:
    of = Trial(trial(name, images, backbone).method, {"attention": "uniform"} if name == "delta" else {}, images, architecture)
    size = SIZES[architecture]
    settings = {"training": {"image_size": size, "batch_size": 6}, "data": {"resize": 8 + size}, "pretrained": False}
    if name == "stoch_norm" and architecture in WITHOUT_BATCH_NORM:
        with pytest.raises(UsageError, match="has none"):
            after(0, of, **settings)
    elif name in ADAPTERS and name not in ADAPTED.get(architecture, ()):
        with pytest.raises(UsageError, match="none"):
            after(0, of, **settings)
    else:
        assert finite(after(1, of, **settings))


@pytest.mark.parametrize("name", [*methods.METHODS, *methods.VARIANTS])
def test_compiled_bfloat16_training_has_no_graph_break(name: str, images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, **options: compiler(net, fullgraph=True, backend="aot_eager", **options))
    torch._dynamo.reset()
    assert finite(after(3, trial(name, images, backbone), {}, compile="on", precision="bf16"))
