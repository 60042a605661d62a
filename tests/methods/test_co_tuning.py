"""Co-Tuning against loops and scikit-learn: both relationships, the term and its gradient."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from methods.co_tuning import calibration_scale, direct_relationship, held_out, learned_relationship, logistic_regression
from tests.methods.real import CLASSES, SOURCE_CLASSES, sample, step, swapped, whole

ZERO = torch.zeros(CLASSES, SOURCE_CLASSES, dtype=torch.float64)


def informative(n=60, seed=0):
    """Source probabilities that tell something about y."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % CLASSES
    logits = torch.randn(n, SOURCE_CLASSES, generator=generator, dtype=torch.float64)
    logits[torch.arange(n), y] += 2
    return logits.softmax(1), y


def test_direct_relationship_is_the_class_mean_and_zero_for_an_empty_class():
    p, y = informative()
    found = direct_relationship(p, y, CLASSES + 1)
    for c in range(CLASSES):
        for s in range(SOURCE_CLASSES):
            members = [p[i, s].item() for i in range(len(y)) if y[i] == c]
            assert found[c, s].item() == pytest.approx(sum(members) / len(members), rel=1e-12)
    assert found[CLASSES].abs().sum() == 0


@pytest.mark.parametrize("c", [1e4, 1.0, 1e-3])
def test_regression_is_scikit_learns(c):
    p, y = informative()
    theirs = LogisticRegression(C=c, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(p.numpy(), y.numpy()).coef_
    np.testing.assert_allclose(logistic_regression(p, y, c, ZERO).numpy(), theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


def test_calibration_is_the_best_scale():
    p, y = informative()
    logits = p.log()
    best = minimize_scalar(lambda s: torch.nn.functional.cross_entropy(logits * s, y).item(), bounds=(0.01, 10), method="bounded")
    assert calibration_scale(logits, y).item() == pytest.approx(best.x, rel=1e-3)


def test_held_out_is_the_last_fifth_of_each_class():
    y = torch.tensor([0] * 10 + [1] * 2 + [2])
    assert held_out(y, CLASSES).nonzero().flatten().tolist() == [8, 9, 11]


def test_learned_relationship_is_bayes_rule():
    p, y = informative()
    found = learned_relationship(p, y, CLASSES)
    held = held_out(y, CLASSES)
    accuracies, candidates = [], []
    for c in (1e4, 3e3, 1e3, 3e2, 1e2, 3e1, 1e1, 3.0, 1.0, 3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4):
        w = logistic_regression(p[~held], y[~held], c, ZERO)
        candidates.append(w)
        accuracies.append(((p[held] @ w.T).argmax(1) == y[held]).double().mean().item())
    w = candidates[int(np.argmax(accuracies))]
    scale = calibration_scale(p[held] @ w.T, y[held]).item()
    marginal = [sum(p[:, s].tolist()) / len(p) for s in range(SOURCE_CLASSES)]
    for c in range(CLASSES):
        joint = []
        for s in range(SOURCE_CLASSES):
            scores = [math.exp(scale * w[k, s].item()) for k in range(CLASSES)]
            joint.append(scores[c] / sum(scores) * marginal[s])
        assert found[c].tolist() == pytest.approx([j / sum(joint) for j in joint], rel=1e-4)


@pytest.mark.parametrize("mixed", [False, True])
def test_term_and_its_gradient_by_hand(mixed, ready64):
    component, ctx, _ = ready64("co_tuning")
    source, batch, every = ctx.source, sample(ctx), whole(ctx)
    blend = swapped(batch) if mixed else None
    at = step(ctx, batch, mixed=blend)
    features = at.out.features.detach().requires_grad_()
    loss = component.penalties(at.__class__(0, ctx, batch, at.mixed, at.out._replace(features=features)))["co_tuning"]
    loss.backward()
    p = source(every.x).logits.softmax(1)
    relationship = torch.stack([p[every.y == c].mean(0) for c in range(CLASSES)])
    q = (features.detach() @ source.head.weight.T + source.head.bias).softmax(1)
    value, gradient = 0.0, torch.zeros_like(features)
    for b in range(6):
        target = relationship[batch.y[b]]
        if mixed:
            target = 0.3 * target + 0.7 * relationship[batch.y[5 - b]]
        value += 2.3 / 6 * sum(-target[s].item() * math.log(q[b, s].item()) for s in range(SOURCE_CLASSES))
        gradient[b] = 2.3 / 6 * (q[b] - target) @ source.head.weight
    assert loss.item() == pytest.approx(value, rel=1e-9)
    torch.testing.assert_close(features.grad, gradient, rtol=1e-8, atol=1e-12)


def test_calibration_scales_the_source_logits(ready):
    component, ctx, _ = ready("co_tuning", calibration=0.884)
    every = whole(ctx)
    p = (ctx.source(every.x).logits * 0.884).softmax(1)
    torch.testing.assert_close(component._relationship[1], p[every.y == 1].mean(0))
