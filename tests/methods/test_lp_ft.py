"""The classifier that LP-FT starts from solves its problem."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from methods.lp_ft import logistic_regression
from methods.testing import Trial, advance, trained


def slopes(features: Tensor, y: Tensor, weight: Tensor, bias: Tensor, C: float) -> tuple[Tensor, Tensor]:
    """The gradient of C sum CE + 1/2 ||W||^2, image by image."""
    gw, gb = weight.clone(), torch.zeros_like(bias)
    for f, label in zip(features, y, strict=True):
        logits = weight @ f + bias
        p = (logits - logits.max()).exp()
        p = p / p.sum()
        p[label] -= 1
        gw += C * torch.outer(p, f)
        gb += C * p
    return gw, gb


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_the_gradient_vanishes_at_the_solution(C: float) -> None:
    rng = torch.Generator().manual_seed(0)
    features, y = torch.randn(40, 5, generator=rng), torch.arange(40) % 3
    weight, bias = logistic_regression(features, y, 3, C, 200)
    gw, gb = slopes(features.double(), y, weight, bias, C)
    assert gw.abs().max() < 1e-3
    assert gb.abs().max() < 1e-3


def test_it_trains_from_that_classifier_on_the_sources_features(images: Path, backbone: str) -> None:
    run = trained(Trial("lp_ft", {"C": 2.0}, images, backbone).run, 0)
    batches = list(run.ctx.train_pass(64))
    features = torch.cat([run.ctx.source(b.x).features for b in batches]).detach()
    gw, gb = slopes(features.double(), torch.cat([b.y for b in batches]), *(p.detach().double() for p in run.net.head.parameters()), 2.0)
    assert max(gw.abs().max(), gb.abs().max()) < 1e-2
    advance(run, 1)
    assert all(p.grad is not None for p in run.net.parameters())


def test_bn_eval_keeps_the_statistics(images: Path, backbone: str) -> None:
    run = trained(Trial("lp_ft", {"bn_eval": True}, images, backbone).run, 3)
    assert all(map(torch.equal, run.net.body.buffers(), run.ctx.source.body.buffers()))
