"""Every method on the architectures that the project names, and compiled in bfloat16."""

import math

import pytest
import torch

import methods
from benchmark.errors import UsageError
from methods.base import MethodError
from tests.contract.entries import ADAPTERS
from tests.methods.run import Run, build

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", sorted(methods.METHODS))
@pytest.mark.parametrize(
    ("architecture", "size", "options"),
    [
        ("resnet18", 32, {}),
        ("resnet50", 32, {}),
        ("efficientnet_b0", 32, {}),
        ("convnext_tiny", 32, {}),
        ("vit_tiny_patch16_224", 64, {"img_size": 64}),
        ("swin_tiny_patch4_window7_224", 64, {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1)}),
        ("inception_v3", 75, {"aux_logits": False}),
    ],
)
def test_architectures_train_a_step_or_are_refused_with_the_reason(name, architecture, size, options):
    component = build(name, **({"n_batches": 1, "batch_size": 2, "attention": "uniform"} if name == "delta" else {}))
    if name == "stoch_norm" and architecture in ("convnext_tiny", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"):
        with pytest.raises((MethodError, ValueError), match="has none"):
            Run(component, architecture=architecture, size=size, **options)
        return
    fit = {"vit_tiny_patch16_224": ADAPTERS, "swin_tiny_patch4_window7_224": ("lora", "adaptformer"), "convnext_tiny": ("adaptformer",)}
    if name in ADAPTERS and name not in fit.get(architecture, ()):
        with pytest.raises(UsageError, match="none"):
            Run(component, architecture=architecture, size=size, **options)
        return
    (terms,) = Run(component, architecture=architecture, size=size, **options).steps(0, 1)
    assert all(math.isfinite(value) for value in terms.values())


@pytest.mark.parametrize("name", [*methods.METHODS, *methods.VARIANTS])
def test_compiled_bfloat16_training_has_no_graph_break(name):
    torch._dynamo.reset()
    network = {"architecture": "test_vit", "img_size": 32} if name in ADAPTERS else {}
    compiled = Run(build(name), wrap=lambda net: torch.compile(net, fullgraph=True, backend="aot_eager"), autocast=True, **network)
    terms = compiled.steps(0, 3)
    assert all(math.isfinite(value) for row in terms for value in row.values())
