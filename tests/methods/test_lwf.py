"""LwF against loops: value and gradient, whose logits are distilled, the frozen variant and the warm-up."""

import math

import pytest
import torch

from methods.base import MethodError
from methods.lwf import distillation
from methods.testing import advance
from tests.methods.real import sample, step, swapped


def test_distillation_and_its_gradient_by_hand():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    t, value, gradient = 2.0, 0.0, torch.zeros(3, 4, dtype=torch.float64)
    for b in range(3):
        p = [math.exp(z / t) for z in teacher[b].tolist()]
        q = [math.exp(z / t) for z in student[b].tolist()]
        p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
        for s in range(4):
            value += p[s] * math.log(p[s] / q[s]) / 3
            gradient[b, s] = (q[s] - p[s]) / t / 3
    loss = distillation(student, teacher, t)
    loss.backward()
    assert loss.item() == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(student.grad, gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("t2_scaling", [False, True])
def test_targets_are_the_source_networks_on_the_images_the_student_saw(t2_scaling, ready):
    component, ctx, _ = ready("lwf", weight=4.0, temperature=3.0, t2_scaling=t2_scaling)
    mixed = swapped(sample(ctx))
    at = step(ctx, sample(ctx), mixed=mixed)
    teacher = ctx.source(mixed.x).logits
    student = at.out.features @ ctx.source.head.weight.T + ctx.source.head.bias
    expected = 4.0 * (9.0 if t2_scaling else 1.0) * distillation(student, teacher, 3.0).item()
    assert component.penalties(at)["lwf"].item() == pytest.approx(expected, rel=1e-5)


def test_source_head_trains_unless_frozen_and_the_source_never_does(ready):
    for train in (True, False):
        component, ctx, _ = ready("lwf", train_source_head=train)
        at = step(ctx, sample(ctx))
        component.penalties(at)["lwf"].backward()
        assert len(component.extra_modules()) == int(train)
        assert (component._source_head.weight.grad is not None) == train
        assert ctx.source.head.weight.grad is None
        assert ctx.net.body.conv1[0].weight.grad.abs().sum() > 0


def test_warm_up_leaves_the_backbone_where_it_is(ready):
    _, ctx, fit = ready("lwf", warm_up=1)
    for still in (True, False):
        before = [p.detach().clone() for p in ctx.net.body_parameters()]
        advance(fit, 1)
        assert all(torch.equal(p, b) for p, b in zip(ctx.net.body_parameters(), before, strict=True)) == still


def test_a_network_without_source_classifier_is_refused(ready):
    component, ctx, _ = ready("lwf")
    ctx.source.body.reset_classifier(0)
    with pytest.raises(MethodError, match="no source classifier"):
        component.setup(ctx)
