"""RIFLE: when the classifier is redrawn, from what, and what happens to its momentum."""

import math

import pytest
import torch

from methods.base import MethodError
from methods.rifle import Rifle, cyclic_factor, period_ends
from methods.testing import advance
from tests.methods.real import random_net, sample, step


def redraws(fit):
    """The steps (counted from 1) after which the classifier changed, in a run whose rate is zero."""
    for group in fit.optimizer.param_groups:
        group["base_lr"] = 0.0
    found = []
    for i in range(fit.config.steps):
        before = fit.net.head.weight.detach().clone()
        advance(fit, 1)
        if not torch.equal(before, fit.net.head.weight):
            found.append(i + 1)
    return found


@pytest.mark.parametrize(
    ("total_steps", "n_periods", "expected"),
    [(10, 1, []), (10, 2, [5]), (10, 3, [3, 7]), (7, 4, [2, 4, 5]), (3, 3, [1, 2]), (1, 4, []), (2, 8, [1])],
)
def test_redraws_fall_between_periods_and_never_at_the_end(total_steps, n_periods, expected, ready):
    fit = ready("rifle", training={"steps": total_steps}, n_periods=n_periods).fit
    assert redraws(fit) == expected


def test_published_schedules():
    assert period_ends(9000, 2)[1:-1] == (4500,)
    assert period_ends(9000, 4)[1:-1] == (2250, 4500, 6750)
    assert period_ends(1000, 3)[1:-1] == (333, 667)


def test_redraw_depends_on_seed_and_step_alone(ready):
    heads = []
    for trained in (0, 1):
        component, ctx, fit = ready("rifle", training={"steps": 4})
        advance(fit, trained)
        component.after_step(step(ctx, sample(ctx, 2), 1))
        heads.append(ctx.net.head.weight.detach().clone())
    assert torch.equal(*heads)
    assert float(heads[0].abs().max()) <= 1 / math.sqrt(ctx.net.head.in_features)


@pytest.mark.parametrize("momentum", ["clear", "keep"])
def test_momentum_of_the_head_alone_is_cleared(momentum, ready):
    _, ctx, fit = ready("rifle", training={"steps": 4}, momentum=momentum)
    advance(fit, 2)
    head = {id(p) for p in ctx.net.head_parameters()}
    for p in ctx.net.parameters():
        assert bool(ctx.optimizer.state.get(p)) == (momentum == "keep" or id(p) not in head)
    advance(fit, 1)


def test_cyclic_rate_restarts_with_every_period():
    ends = period_ends(10, 3)
    expected = [0.5 * (1 + math.cos(math.pi * t / n)) for n in (3, 4, 3) for t in range(n)]
    assert [cyclic_factor(i, ends) for i in range(10)] == pytest.approx(expected)
    assert Rifle(n_periods=3, head_lr="cyclic").head_lr_factor(3, 10) == 1.0
    assert Rifle(n_periods=3).head_lr_factor(2, 10) == 1.0


def test_a_classifier_that_is_not_linear_is_refused():
    net = random_net()
    net.body.reset_classifier(0)
    with pytest.raises(MethodError, match="Identity"):
        Rifle().check(net)
