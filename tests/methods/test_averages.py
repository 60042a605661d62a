"""The weights that are evaluated: moving averages, means, points between. Followed by hand beside the training loop."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmark.training.loop import Fit
from benchmark.training.net import Net
from methods.ema import averaging
from methods.shared import renew_statistics
from methods.stoch_norm import StochNorm2d
from methods.testing import STEPS, Trial, advance, trained


def fit(name: str, images: Path, backbone: str, **options: object) -> Fit:
    return trained(Trial(name, options, images, backbone).run, 0)


@pytest.fixture
def many(images: Path, tmp_path: Path) -> Path:
    """Twice the images of the contract: more than one batch of 64."""
    for file in images.glob("*/*/*.png"):
        for n in range(2):
            target = tmp_path / file.relative_to(images).with_stem(f"{file.stem}-{n}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return tmp_path


def weights(net: Net, buffers: bool) -> list[Tensor]:
    kept = (*net.parameters(), *net.buffers()) if buffers else net.parameters()
    return [t.detach().double().clone() for t in kept if t.is_floating_point()]


@pytest.mark.parametrize("warm_up", [True, False])
def test_ema_is_the_weighted_sum_of_all_iterates(warm_up: bool, images: Path, backbone: str) -> None:
    run = fit("ema", images, backbone, decay=0.6, warm_up=warm_up)
    seen = [weights(run.net, True)]
    for _ in range(STEPS):
        advance(run, 1)
        seen.append(weights(run.net, True))
    share = [1.0]
    for t in range(STEPS):
        d = averaging(0.6, t, warm_up)
        share = [d * s for s in share] + [1 - d]
    assert sum(share) == pytest.approx(1)
    run.pipeline.finish(run.ctx)
    for n, found in enumerate(weights(run.net, True)):
        expected = sum(s * iterate[n] for s, iterate in zip(share, seen, strict=True))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_ema_warms_up_from_the_first_iterate() -> None:
    assert averaging(0.9998, 0, True) == 0.0
    assert averaging(0.9998, 7, True) == pytest.approx(0.75)
    assert averaging(0.9998, 10**7, True) == averaging(0.9998, 0, False) == 0.9998


def test_swa_is_the_mean_from_its_start_on_with_the_statistics_of_that_network(images: Path, backbone: str) -> None:
    run = fit("swa", images, backbone, start=0.5)
    seen = []
    for _ in range(STEPS):
        advance(run, 1)
        seen.append(weights(run.net, False))
    run.pipeline.finish(run.ctx)
    for n, found in enumerate(weights(run.net, False)):
        torch.testing.assert_close(found, sum(iterate[n] for iterate in seen[3:]) / 3, rtol=1e-5, atol=1e-7)
    statistics = [b.clone() for b in run.net.buffers()]
    renew_statistics(run.ctx)
    assert all(map(torch.equal, statistics, run.net.buffers()))


def test_swa_of_a_constant_is_that_constant(images: Path, backbone: str) -> None:
    run = fit("swa", images, backbone, start=0.0)
    for group in run.optimizer.param_groups:
        group["base_lr"] = 0.0
    before = [p.clone() for p in run.net.parameters()]
    advance(run, STEPS)
    run.pipeline.finish(run.ctx)
    assert all(map(torch.equal, before, run.net.parameters()))


def test_statistics_are_the_means_over_the_batches_and_modes_stay(many: Path, backbone: str) -> None:
    run = fit("ema", many, backbone)
    student = run.net.train()
    student.body.layer1[0].bn1.eval()
    kept = student.body.layer1[0].bn1.running_mean.clone()
    seen: list[Tensor] = []
    first = student.body.conv1[1] if hasattr(student.body.conv1, "__getitem__") else student.body.bn1
    handle = first.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    renew_statistics(run.ctx)
    handle.remove()
    assert [len(x) for x in seen] == [64, 8]
    torch.testing.assert_close(first.running_mean, torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0))
    torch.testing.assert_close(first.running_var, torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0))
    assert torch.equal(student.body.layer1[0].bn1.running_mean, kept)
    assert [first.training, student.training, student.body.layer1[0].bn1.training] == [True, True, False]
    assert first.momentum == 0.1


@pytest.mark.parametrize("name", ["swa+stoch_norm", "lp_ft+wise_ft+stoch_norm"])
def test_statistics_of_stochastic_normalization_are_those_of_plain_batch_normalization(name: str, images: Path, backbone: str) -> None:
    run = fit(name, images, backbone)
    advance(run, STEPS)
    run.pipeline.finish(run.ctx)
    layers = [m for m in run.net.modules() if isinstance(m, StochNorm2d)]
    assert layers
    assert all(layer.momentum == 0.1 and layer.training for layer in layers)
    found = [b.clone() for layer in layers for b in (layer.running_mean, layer.running_var)]
    for layer in layers:
        layer.from_batch.fill_(True)  # plain batch normalization
    renew_statistics(run.ctx)
    again = [b for layer in layers for b in (layer.running_mean, layer.running_var)]
    assert all(map(torch.equal, found, again))
    seen: list[Tensor] = []
    last = layers[-1]
    handle = last.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    renew_statistics(run.ctx)
    handle.remove()
    torch.testing.assert_close(last.running_mean, torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0))
    torch.testing.assert_close(last.running_var, torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_wise_ft_lies_between_the_start_and_the_end(alpha: float, images: Path, backbone: str) -> None:
    run = fit("lp_ft+wise_ft", images, backbone, **{"wise_ft.alpha": alpha})
    start = {name: t.clone() for name, t in run.net.state_dict().items()}
    advance(run, STEPS)
    end = {name: t.clone() for name, t in run.net.state_dict().items()}
    run.pipeline.finish(run.ctx)
    found = run.net.state_dict()
    plain = fit("lp_ft", images, backbone)
    advance(plain, STEPS)
    for name, _ in run.net.named_parameters():
        expected = (1 - alpha) * start[name].double() + alpha * end[name].double()
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-5, atol=1e-7)
    if alpha == 0.0:
        assert all(torch.equal(found[name], start[name]) for name in found)
    if alpha == 1.0:
        assert all(torch.equal(found[name], t) for name, t in plain.net.state_dict().items())
