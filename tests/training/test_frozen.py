"""Folded BatchNorm gives what the plain network gives: alone, in training, and after the weights moved."""

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.training.frozen import Folded, Runner, foldable
from methods.testing import advance, trained
from tests.methods.real import random_net
from tests.runs import config

BOTTLENECK = {"channels": (4, 4, 8, 8), "stem_width": 4}


def norms(net: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())


def frozen(architecture: str, tap_stages: bool = True, **options):
    net = random_net(architecture, **options).eval().requires_grad_(False).double()
    net.tap(net.stages if tap_stages else ())
    return net


def assert_same_output(net: nn.Module, other: nn.Module, size: int = 32, rtol: float = 1e-10) -> None:
    x = torch.randn(2, 3, size, size, dtype=torch.double).to(memory_format=torch.channels_last)
    expected, found = net(x), other(x)
    torch.testing.assert_close(found.logits, expected.logits, rtol=rtol, atol=1e-12)
    torch.testing.assert_close(found.features, expected.features, rtol=rtol, atol=1e-12)
    assert found.maps.keys() == expected.maps.keys()
    for tap, expected_map in expected.maps.items():
        torch.testing.assert_close(found.maps[tap], expected_map, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize(
    ("architecture", "options", "left"),
    [
        ("test_resnet", {}, 0),
        ("test_efficientnet", {}, 0),  # BatchNormAct2d, same-padded and depthwise convolutions
        ("resnet26", BOTTLENECK, 0),
        ("densenet121", {"growth_rate": 4, "block_config": (2, 2)}, 7),  # six normalise before a convolution, one is tapped
        ("test_convnext", {}, 0),
    ],
)
def test_a_folded_network_computes_the_same_in_float64(architecture, options, left) -> None:
    net = frozen(architecture, **options)
    folded = Folded(net)
    assert_same_output(net, folded.net)
    assert norms(folded.net) == left


def test_a_convolution_whose_own_output_is_tapped_stays_as_it_is() -> None:
    net = frozen("resnet26", tap_stages=False, **BOTTLENECK)
    net.tap(("layer1.1.conv3", "layer4.1.bn2"))
    folded = Folded(net)
    assert norms(folded.net) == 2
    assert_same_output(net, folded.net)


def test_layers_on_batch_statistics_are_not_folded() -> None:
    net = frozen("test_resnet")
    for module in net.modules():
        module.train(isinstance(module, nn.BatchNorm2d))
    assert foldable(net) == []


def test_a_convolution_with_its_own_way_of_computing_is_not_folded() -> None:
    class Halved(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) / 2

    net = frozen("test_resnet")
    before = len(foldable(net))
    net.body.layer1[0].conv1.__class__ = Halved
    assert len(foldable(net)) == before - 1
    assert_same_output(net, Folded(net).net)


def test_the_copy_shares_what_it_does_not_fold_and_follows_the_rest_when_told() -> None:
    net = frozen("test_efficientnet")
    folded = Folded(net)
    assert folded.net.head.weight is net.head.weight
    with torch.no_grad():
        for tensor in [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]:
            tensor.add_(torch.rand_like(tensor), alpha=0.1)
    with pytest.raises(AssertionError):
        assert_same_output(net, folded.net)
    folded.update()
    assert_same_output(net, folded.net)


def test_folding_leaves_the_network_as_it_was() -> None:
    net = frozen("test_resnet")
    before = {name: t.clone() for name, t in net.state_dict().items()}
    Folded(net).net(torch.randn(2, 3, 32, 32, dtype=torch.double))
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert len(net._hooks) == len(net.stages) == sum(len(m._forward_hooks) for m in net.modules())


def test_a_runner_gives_no_gradient_and_costs_nothing_before_it_runs() -> None:
    net = frozen("test_resnet").requires_grad_(True)
    runner = Runner(net, fold=True, compile=False)
    runner.refresh()
    assert not runner._forms
    assert not runner(torch.randn(2, 3, 32, 32, dtype=torch.double)).features.requires_grad


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_convnext"])
def test_under_autocast_a_runner_gives_what_the_network_gives_also_after_a_change(architecture: str, fold: bool) -> None:
    size = 160 if architecture == "test_vit" else 32
    net = random_net(architecture).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    runner, x = Runner(net, fold=fold, compile=False), torch.randn(2, 3, size, size).to(memory_format=torch.channels_last)
    runner(x)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            expected, found = (Folded(net).net if fold else net)(x), runner(x)
        assert found.logits.dtype == expected.logits.dtype == torch.bfloat16
        assert torch.equal(found.logits, expected.logits)
        torch.testing.assert_close(runner(x).logits, net(x).logits, rtol=1e-3, atol=1e-4)
        with torch.no_grad():
            for p in net.parameters():
                p.add_(torch.rand_like(p), alpha=0.1)
        runner.refresh()
    weights = [m.weight for m in runner._forms[torch.bfloat16].net.modules() if isinstance(m, nn.Linear)]
    assert weights
    assert all(weight.dtype == torch.bfloat16 for weight in weights)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_runner_follows_a_network_whose_layers_go_to_batch_statistics(precision: str) -> None:
    net = random_net("test_resnet").eval().requires_grad_(False)
    runner, x = Runner(net, fold=True, compile=False), torch.randn(4, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        runner(x)
        net.train()
        runner.refresh()
        assert torch.equal(runner(x).logits, net(x).logits)


FOLLOWING = {"smile": {"ema_every": 2, "ema_decay": 0.9}}


@pytest.mark.parametrize("method", ["smile", "delta", "lwf", "smile_fixed_teacher"])
def test_training_curves_are_the_same_folded_or_not(method: str, images: Path, backbone: str) -> None:
    entry = {"name": "tested", "use": method, **FOLLOWING.get(method, {})}
    curves = {}
    for fold in ("off", "on"):
        fit = trained(config(images, backbone, entry, fold_bn=fold, training={"log_every": 1}), 6)
        curves[fold] = [{k: v for k, v in row.items() if k.startswith("loss/")} for row in fit.curves]
        if fold == "on":
            teacher = getattr(fit.pipeline._named[0][1], "_teacher", None)
            run = teacher.run if teacher else fit.ctx.run_source
            assert norms(run._forms[None].net) < norms(run._net)
    assert len(curves["on"]) == 6
    for a, b in zip(curves["on"], curves["off"], strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_a_folded_teacher_resumes_where_it_was(images: Path, backbone: str) -> None:
    run = config(images, backbone, {"name": "tested", "use": "smile", **FOLLOWING["smile"]}, fold_bn="on")
    whole, cut = trained(run, 5), trained(run, 3)
    resumed = trained(run, 1)  # has folded a teacher that the saved state replaces
    resumed.load_state_dict(cut.state_dict())
    advance(resumed, 2)
    assert all(torch.equal(t, resumed.net.state_dict()[name]) for name, t in whole.net.state_dict().items())


def test_a_run_without_folding_keeps_the_name_it_had_before_there_was_folding(images: Path, backbone: str) -> None:
    runs = {fold: config(images, backbone, "smile", fold_bn=fold) for fold in ("auto", "off", "on")}
    assert "fold_bn" not in runs["auto"].identity()
    assert runs["auto"].run_id == runs["off"].run_id != runs["on"].run_id
