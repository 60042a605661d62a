"""StochNorm against the formula, channel by channel, with the gradient that belongs to it; p = 1 is the original network."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from methods.base import MethodError
from methods.stoch_norm import StochNorm, StochNorm2d, stochastic_normalization
from tests.methods.real import noise, pair, random_net


def layer(channels=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    bn = nn.BatchNorm2d(channels).double()
    with torch.no_grad():
        for t in (bn.weight, bn.bias, bn.running_mean):
            t.copy_(torch.randn(channels, generator=generator))
        bn.running_var.copy_(torch.rand(channels, generator=generator) + 0.5)
    return bn


def test_each_channel_by_hand_with_the_statistics_before_the_pass():
    bn, mask = layer(), torch.tensor([True, False, False, True])
    mean0, var0 = bn.running_mean.clone(), bn.running_var.clone()
    x = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    out = stochastic_normalization(x, bn, mask)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (out * weights).sum().backward()
    y = x.detach().clone().requires_grad_()
    for c in range(4):
        values = y[:, c]
        mean, var = (values.mean(), values.var(correction=0)) if mask[c] else (mean0[c], var0[c])
        expected = (values - mean) / (var + bn.eps).sqrt() * bn.weight[c].detach() + bn.bias[c].detach()
        torch.testing.assert_close(out[:, c], expected, rtol=1e-10, atol=1e-12)
        (expected * weights[:, c]).sum().backward()
        torch.testing.assert_close(bn.running_mean[c], 0.9 * mean0[c] + 0.1 * values.mean().detach())
        torch.testing.assert_close(bn.running_var[c], 0.9 * var0[c] + 0.1 * values.var(correction=1).detach())
        normal = ((values - mean) / (var + bn.eps).sqrt()).detach()
        assert bn.weight.grad[c].item() == pytest.approx((normal * weights[:, c]).sum().item(), rel=1e-9)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("frozen", [(), ("x",), ("weight", "bias")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_value_gradient_and_statistics_are_those_of_two_plain_layers_chosen_from(dtype, frozen):
    mask, found = torch.tensor([True, False, False, True]), []
    for form in ("fast", "plain"):
        bn = layer() if dtype == torch.float64 else layer().float()
        bn.weight.requires_grad_("weight" not in frozen)
        bn.bias.requires_grad_("bias" not in frozen)
        x = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_("x" not in frozen)
        if form == "fast":
            out = stochastic_normalization(x, bn, mask)
        else:
            moving = F.batch_norm(x, bn.running_mean.clone(), bn.running_var.clone(), bn.weight, bn.bias, eps=bn.eps)
            out = torch.where(mask[:, None, None], bn(x), moving)
        (out * torch.linspace(-1, 1, 120, dtype=dtype).view_as(out)).sum().backward()
        found.append([out, x.grad, bn.weight.grad, bn.bias.grad, bn.running_mean, bn.running_var])
    assert all((a is None and b is None) or torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet"])
def test_p_one_is_the_original_network_bit_for_bit(architecture):
    plain, _ = pair(architecture)
    student = copy.deepcopy(plain)
    component = StochNorm(p=1.0)
    component.surgery(student)
    assert any(isinstance(module, StochNorm2d) for module in student.modules())
    component.before_forward(0, student, torch.Generator())
    for net in (plain, student):
        net(noise().x).logits.square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), student.parameters(), strict=True))
    state = student.state_dict()
    assert list(state) == list(plain.state_dict())
    assert all(torch.equal(t, state[name]) for name, t in plain.state_dict().items())
    assert torch.equal(plain.eval()(noise().x).logits, student.eval()(noise().x).logits)


def test_masks_follow_p_and_depend_on_the_stream_alone():
    component = StochNorm(p=0.3)
    student, _ = pair()
    component.surgery(student)

    def masks(seed):
        component.before_forward(0, student, torch.Generator().manual_seed(seed))
        return torch.cat([m.from_batch for m in student.modules() if isinstance(m, StochNorm2d)])

    first = masks(0).clone()
    assert torch.equal(first, masks(0))
    assert not torch.equal(first, masks(1))
    share = torch.stack([masks(seed) for seed in range(40)]).float().mean()
    assert share.item() == pytest.approx(0.3, abs=0.02)


def test_test_time_is_plain_batch_norm_whatever_p():
    plain, _ = pair()
    student = copy.deepcopy(plain)
    StochNorm(p=0.0).surgery(student)
    assert torch.equal(plain.eval()(noise().x).logits, student.eval()(noise().x).logits)


def test_a_network_without_batch_norm_is_refused():
    with pytest.raises(MethodError, match="has none"):
        StochNorm().check(random_net("test_vit", img_size=32))
