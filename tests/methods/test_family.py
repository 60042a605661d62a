"""Every method, variant and published composition trains a tiny network; neutral options train like fine-tuning; a restored run
goes on as if never stopped."""

import math

import pytest
import torch

import methods
from methods.base import MethodError
from tests.methods.run import Run, build

NAMES = [*methods.METHODS, *methods.VARIANTS]
COMPOSITIONS = ["l2_sp+mixup", "delta+mixup", "rifle+mixup", "bss+mixup", "co_tuning+mixup", "smile+rifle", "l2_sp+cutmix", "lwf+mixup"]
NEVER_NEUTRAL = {"linear_probe"}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def run(label, **options):
    return Run(*(build(name) for name in label.split("+")), **options)


def equal(a, b) -> bool:
    return all(torch.equal(t, b[name]) for name, t in a.items())


@pytest.mark.parametrize("label", NAMES + COMPOSITIONS)
def test_restored_run_goes_on_bit_for_bit(label):
    whole = run(label)
    whole.steps(0, 2)
    saved = whole.state()
    terms = whole.steps(2, 6)
    assert all(math.isfinite(value) for row in terms for value in row.values())
    resumed = run(label)
    resumed.restore(saved)
    assert resumed.steps(2, 6) == terms
    assert equal(resumed.net.state_dict(), whole.net.state_dict())


@pytest.mark.parametrize("name", sorted(methods.METHODS))
def test_neutral_options_train_like_fine_tuning(name):
    neutral = type(build(name)).neutral
    if name in NEVER_NEUTRAL:
        assert neutral is None
        return
    plain, changed = Run(build("fine_tuning")), Run(build(name, **neutral))
    plain.steps(0, 4)
    changed.steps(0, 4)
    assert equal(plain.net.state_dict(), changed.net.state_dict())


@pytest.mark.parametrize("name", [n for n in NAMES if n != "fine_tuning"])
def test_default_options_do_not(name):
    plain, changed = Run(build("fine_tuning")), Run(build(name))
    plain.steps(0, 6)
    changed.steps(0, 6)
    assert not equal(plain.net.state_dict(), changed.net.state_dict())


def test_variants_differ_from_their_method_and_each_other():
    keys = [(method, tuple(sorted(options.items()))) for method, options in methods.VARIANTS.values()]
    assert len(set(keys)) == len(keys)
    assert all(options for _, options in keys)
    assert not set(methods.VARIANTS) & set(methods.METHODS)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(methods.METHODS))
@pytest.mark.parametrize(
    ("architecture", "size", "options"),
    [
        ("resnet18", 32, {}),
        ("resnet50", 32, {}),
        ("efficientnet_b0", 32, {}),
        ("convnext_tiny", 32, {}),
        ("vit_tiny_patch16_224", 64, {"img_size": 64}),
        ("inception_v3", 75, {"aux_logits": False}),
    ],
)
def test_architectures_train_a_step_or_are_refused_with_the_reason(name, architecture, size, options):
    component = build(name, **({"n_batches": 1, "batch_size": 2, "attention": "uniform"} if name == "delta" else {}))
    if name == "stoch_norm" and architecture in ("convnext_tiny", "vit_tiny_patch16_224"):
        with pytest.raises((MethodError, ValueError), match="has none"):
            Run(component, architecture=architecture, size=size, **options)
        return
    (terms,) = Run(component, architecture=architecture, size=size, **options).steps(0, 1)
    assert all(math.isfinite(value) for value in terms.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_compiled_bfloat16_training_has_no_graph_break(name):
    torch._dynamo.reset()
    compiled = Run(build(name), wrap=lambda net: torch.compile(net, fullgraph=True, backend="aot_eager"), autocast=True)
    terms = compiled.steps(0, 3)
    assert all(math.isfinite(value) for row in terms for value in row.values())
