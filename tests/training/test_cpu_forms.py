"""Layers in their faster form on a CPU: the same numbers, the same names."""

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.nn import functional as F

from benchmark.config.run_config import Linearity
from benchmark.training.backbones import load_source
from benchmark.training.cpu_forms import DepthwiseConv2d, for_cpu, in_place
from benchmark.training.evaluate import evaluate
from benchmark.training.linearity import measure
from benchmark.training.net import Net
from datasets.stream import Sample


def gradients(conv: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x = x.clone().requires_grad_()
    y = conv(x)
    return y.detach(), *torch.autograd.grad(y, (x, conv.weight), grad)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (2, 3)], ids=str)
@pytest.mark.parametrize(("kind", "kernel", "stride"), [(nn.Conv2d, 5, 1), (nn.Conv2d, 5, 2), (Conv2dSame, 5, 2), (Conv2dSame, 7, 1)])
def test_gradients_of_depthwise_convolutions_on_small_maps(kind: type, kernel: int, stride: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    padding = {} if kind is Conv2dSame else {"padding": kernel // 2}
    plain = kind(6, 6, kernel, stride=stride, groups=6, bias=False, **padding)
    fast = DepthwiseConv2d(plain)
    assert fast.weight is plain.weight
    x = torch.randn(4, 6, *shape).to(memory_format=torch.channels_last)
    grad = torch.randn_like(plain(x))
    exact = gradients(copy.deepcopy(plain).double(), x.double(), grad.double())
    found = gradients(fast, x, grad)
    assert torch.equal(found[0], plain(x))
    for value, wanted in zip(found[1:], exact[1:], strict=True):
        torch.testing.assert_close(value.double(), wanted, rtol=1e-6, atol=1e-6)
    doubled = gradients(DepthwiseConv2d(copy.deepcopy(plain).double()), x.double(), grad.double())
    for value, wanted in zip(doubled, exact, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)


def test_the_product_is_used_on_small_maps_alone() -> None:
    conv = DepthwiseConv2d(nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False))
    names = {side: type(conv(torch.zeros(1, 4, side, side)).grad_fn).__name__ for side in (3, 4)}
    assert names == {3: "_SmallMapsBackward", 4: "ConvolutionBackward0"}


def test_what_is_no_plain_depthwise_convolution_stays() -> None:
    body = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        nn.Conv2d(4, 4, 3, groups=4, dilation=2, bias=False),
        nn.Conv2d(4, 4, 3, groups=4, bias=True),
        nn.Conv2d(4, 4, 3, groups=4, padding="same", bias=False),
        nn.Conv2d(4, 4, 3, groups=4, padding_mode="reflect", padding=1, bias=False),
    )
    before = list(body)
    for_cpu(body)
    assert list(body) == before


def test_activations_that_keep_their_input_work_out_of_place_and_give_the_same_bits() -> None:
    body = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU6(inplace=True), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    other = copy.deepcopy(body)
    for_cpu(other)
    assert [body[1].inplace, other[1].inplace, other[3].inplace] == [True, False, True]
    x = torch.randn(2, 3, 4, 4)
    grads = []
    for net in (body, other):
        out = net(x)
        out.square().sum().backward()
        grads.append([out, *(p.grad for p in net.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_a_network_keeps_its_names_and_its_steps() -> None:
    plain = load_source("efficientnet_lite0").net.body.train().requires_grad_(True)
    fast = copy.deepcopy(plain)
    for_cpu(fast)
    assert sum(isinstance(module, DepthwiseConv2d) for module in fast.modules()) == 16
    assert [*fast.state_dict()] == [*plain.state_dict()]
    curves = {dtype: [_curve(copy.deepcopy(net).to(dtype)) for net in (plain, fast)] for dtype in (torch.float32, torch.float64)}
    assert curves[torch.float32][0] == pytest.approx(curves[torch.float32][1], rel=1e-4)
    assert curves[torch.float64][0] == pytest.approx(curves[torch.float64][1], rel=1e-9)


def _curve(net: nn.Module) -> list[float]:
    """The loss of three steps."""
    generator = torch.Generator().manual_seed(0)
    dtype = next(net.parameters()).dtype
    x = torch.randn(8, 3, 48, 48, generator=generator).to(dtype).to(memory_format=torch.channels_last)
    net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), torch.arange(8) % 5)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_activations_are_in_place_where_no_gradient_is_asked_for_and_give_the_same_bits() -> None:
    body = load_source("efficientnet_lite0", 32).net.body
    seen: list[bool] = []
    body.bn1.act.register_forward_pre_hook(lambda act, _: seen.append(act.inplace))
    x = torch.rand(4, 3, 32, 32).to(memory_format=torch.channels_last)
    for_cpu(body)
    with torch.inference_mode():
        out_of_place = body(x)
        with in_place(body):
            assert torch.equal(body(x), out_of_place)
    body(x)
    assert seen == [False, True, False]
    sample = Sample(x, torch.tensor([0, 1, 2, 3]), torch.arange(4))
    evaluate(Net(body), [sample], "fp32")
    measure(Net(body), [(sample, sample)], Linearity(pairs=4, lambdas=3), "fp32")
    assert all(seen[3:])
    assert len(seen) > 4
    kept = nn.ReLU6(inplace=False)  # the network's own choice: its input may be read again
    with in_place(kept):
        assert not kept.inplace
