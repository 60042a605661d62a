"""L2-SP against loops: its value, its gradient, and what it leaves alone."""

import pytest
import torch

from methods.base import MethodError
from methods.l2_sp import L2SP
from tests.methods.real import sample, step


def moved(component, ctx):
    """The run's student, moved away from its source, after one backward pass: its step, and the gradients before the pull."""
    with torch.no_grad():
        for p in ctx.net.body_parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    at = step(ctx, sample(ctx))
    at.out.logits.square().sum().backward()
    before = {name: p.grad.clone() for name, p in ctx.net.named_parameters()}
    component.before_step(at)
    return at, before


@pytest.mark.parametrize("params", ["all", "kernels"])
def test_pull_is_the_gradient_of_half_alpha_times_the_squared_distance(params, ready64):
    component, ctx, _ = ready64("l2_sp", alpha=0.3, params=params)
    student, source = ctx.net, ctx.source
    at, before = moved(component, ctx)
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


def test_pull_is_exactly_zero_at_the_source(ready):
    component, ctx, _ = ready("l2_sp", alpha=1e6)
    student = ctx.net
    at = step(ctx, sample(ctx))
    at.out.logits.sum().backward()
    before = [p.grad.clone() for p in student.parameters()]
    component.before_step(at)
    assert all(torch.equal(p.grad, g) for p, g in zip(student.parameters(), before, strict=True))
    with torch.no_grad():
        assert float(component.monitor(at)["l2_sp"]) == 0


def test_frozen_backbone_is_left_alone(ready):
    component, ctx, _ = ready("l2_sp")
    student = ctx.net
    for p in student.body_parameters():
        p.requires_grad_(False)
    at = step(ctx, sample(ctx))
    at.out.logits.sum().backward()
    component.before_step(at)
    assert all(p.grad is None for p in student.body_parameters())


def test_weight_decay_only_on_the_head_unless_asked():
    assert [L2SP().weight_decay(group) for group in ("backbone", "head", "extra")] == [0.0, 0.01, None]
    assert L2SP(wd_backbone=1e-4, beta=1e-4).weight_decay("backbone") == 1e-4


def test_negative_weight_is_refused():
    with pytest.raises(MethodError, match=">= 0"):
        L2SP(alpha=-1.0)
