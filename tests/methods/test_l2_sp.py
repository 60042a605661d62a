"""L2-SP against loops: its value, its gradient, and what it leaves alone."""

import pytest
import torch

from methods.base import MethodError
from methods.l2_sp import L2SP
from tests.methods.tiny import context, images, pair, step


def moved(component):
    """A float64 student away from its source, after one backward pass; the gradients before and after the pull."""
    student, source = (net.double() for net in pair(component=component))
    with torch.no_grad():
        for p in student.body_parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    ctx = context(student, source, images(dtype=torch.float64))
    component.setup(ctx)
    at = step(ctx, images(dtype=torch.float64))
    at.out.logits.square().sum().backward()
    before = {name: p.grad.clone() for name, p in student.named_parameters()}
    component.before_step(at)
    return student, source, at, before


@pytest.mark.parametrize("params", ["all", "kernels"])
def test_pull_is_the_gradient_of_half_alpha_times_the_squared_distance(params):
    component = L2SP(alpha=0.3, params=params)
    student, source, at, before = moved(component)
    head = {id(p) for p in student.head_parameters()}
    start = dict(source.named_parameters())
    value = 0.0
    for name, p in student.named_parameters():
        pulled = id(p) not in head and (params == "all" or p.ndim > 1)
        expected = 0.3 * (p.detach() - start[name]) if pulled else torch.zeros_like(p)
        torch.testing.assert_close(p.grad - before[name], expected, rtol=1e-9, atol=1e-11)
        if pulled:
            value += 0.15 * sum(d * d for d in (p.detach() - start[name]).flatten().tolist())
    with torch.no_grad():
        assert float(component.monitor(at)["l2_sp"]) == pytest.approx(value, rel=1e-9)


def test_pull_is_exactly_zero_at_the_source():
    component = L2SP(alpha=1e6)
    student, source = pair(component=component)
    ctx = context(student, source)
    component.setup(ctx)
    at = step(ctx, images())
    at.out.logits.sum().backward()
    before = [p.grad.clone() for p in student.parameters()]
    component.before_step(at)
    assert all(torch.equal(p.grad, g) for p, g in zip(student.parameters(), before, strict=True))
    with torch.no_grad():
        assert float(component.monitor(at)["l2_sp"]) == 0


def test_frozen_backbone_is_left_alone():
    component = L2SP()
    student, source = pair(component=component)
    for p in student.body_parameters():
        p.requires_grad_(False)
    ctx = context(student, source)
    component.setup(ctx)
    at = step(ctx, images())
    at.out.logits.sum().backward()
    component.before_step(at)
    assert all(p.grad is None for p in student.body_parameters())


def test_weight_decay_only_on_the_head_unless_asked():
    assert [L2SP().weight_decay(group) for group in ("backbone", "head", "extra")] == [0.0, 0.01, None]
    assert L2SP(wd_backbone=1e-4, beta=1e-4).weight_decay("backbone") == 1e-4


def test_negative_weight_is_refused():
    with pytest.raises(MethodError, match=">= 0"):
        L2SP(alpha=-1.0)
