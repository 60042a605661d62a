"""The pure functions that methods share, against loops and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from methods.base import Batch, MethodError
from methods.shared import cut_box, cutmix, draw_lam, init_linear, mixup, one_hot, soft_cross_entropy, squared_distance, wide
from tests.methods.real import CLASSES, noise, rng


def test_soft_cross_entropy_and_its_gradient_by_hand():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.rand(4, 5, generator=generator, dtype=torch.float64)
    target /= target.sum(1, keepdim=True)
    expected, gradient = 0.0, torch.zeros_like(target)
    for b in range(4):
        total = sum(math.exp(logits[b, c].item()) for c in range(5))
        for c in range(5):
            p = math.exp(logits[b, c].item()) / total
            expected -= float(target[b, c]) * math.log(p) / 4
            gradient[b, c] = (p - float(target[b, c])) / 4
    loss = soft_cross_entropy(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(logits.grad, gradient, rtol=1e-10, atol=1e-12)


def test_losses_are_never_summed_in_half_precision():
    assert wide(torch.ones(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert wide(torch.ones(1, dtype=torch.float64)).dtype == torch.float64
    logits = torch.randn(3, 4).bfloat16()
    assert soft_cross_entropy(logits, one_hot(torch.tensor([0, 1, 2]), 4)).dtype == torch.float32


def test_init_linear_has_torchs_bounds_and_depends_on_the_generator_alone():
    layers = [nn.Linear(400, 50) for _ in range(3)]
    for layer, seed in zip(layers, (1, 1, 2), strict=True):
        init_linear(layer, torch.Generator().manual_seed(seed))
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert not torch.equal(layers[0].weight, layers[2].weight)
    assert float(layers[0].weight.detach().abs().max()) == pytest.approx(1 / 20, rel=1e-3)
    assert stats.kstest(layers[0].weight.detach().flatten().numpy() * 20, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert 0 < float(layers[0].bias.detach().abs().max()) <= 1 / 20


def test_init_linear_refuses_another_layer():
    with pytest.raises(MethodError, match="Identity"):
        init_linear(nn.Identity(), torch.Generator())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_lambda_is_the_quantile_of_the_first_uniform(alpha):
    u = rng(3).random()
    assert draw_lam(rng(3), alpha) == pytest.approx(stats.beta(alpha, alpha).ppf(u), rel=1e-9)


def test_lambda_follows_the_beta_law_and_folding_mirrors_it():
    generator, folded = rng(0), rng(0)
    draws = np.array([draw_lam(generator, 0.2) for _ in range(2000)])
    mirrored = np.array([draw_lam(folded, 0.2, fold=True) for _ in range(2000)])
    assert stats.kstest(draws, stats.beta(0.2, 0.2).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(mirrored, np.maximum(draws, 1 - draws))


def test_alpha_zero_mixes_nothing_bit_for_bit():
    batch = noise()
    batch = batch._replace(x=batch.x.contiguous(memory_format=torch.channels_last))
    mixed = mixup(batch, CLASSES, rng(), alpha=0.0)
    assert mixed.lam == 1.0
    assert torch.equal(mixed.x, batch.x)
    assert torch.equal(mixed.target, one_hot(batch.y, CLASSES))
    assert mixed.x.is_contiguous(memory_format=torch.channels_last)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 7), alpha=st.sampled_from([0.1, 0.2, 1.0, 2.0]))
@settings(max_examples=40, deadline=None)
def test_mixup_is_the_convex_combination_of_pairs(seed, n, alpha):
    batch = noise(n, size=4)
    before = batch.x.clone()
    mixed = mixup(batch, CLASSES, rng(seed), alpha)
    assert sorted(mixed.perm.tolist()) == list(range(n))
    for b in range(n):
        partner = int(mixed.perm[b])
        torch.testing.assert_close(mixed.x[b], mixed.lam * batch.x[b] + (1 - mixed.lam) * batch.x[partner])
        expected = [0.0] * CLASSES
        expected[int(batch.y[b])] += mixed.lam
        expected[int(batch.y[partner])] += 1 - mixed.lam
        assert mixed.target[b].tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(batch.x, before)


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 9), width=st.integers(1, 9), alpha=st.sampled_from([0.2, 1.0]))
@settings(max_examples=60, deadline=None)
def test_cutmix_area_is_lambda_exactly(seed, height, width, alpha):
    n = 4
    x = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 3, height, width).clone()
    batch = Batch(x, torch.arange(n) % CLASSES, torch.arange(n))
    mixed = cutmix(batch, CLASSES, rng(seed), alpha, prob=1.0)
    for b in range(n):
        partner = int(mixed.perm[b])
        pixels = mixed.x[b, 0]
        assert set(pixels.unique().tolist()) <= {float(b), float(partner)}
        if partner != b:
            assert int((pixels == b).sum()) == round(mixed.lam * height * width)
    torch.testing.assert_close(mixed.target.sum(1), torch.ones(n))
    assert torch.equal(batch.x, x)


def test_cutmix_box_is_the_authors():
    def authors(size, lam, cx, cy):
        w, h = size
        cut_w, cut_h = int(w * np.sqrt(1 - lam)), int(h * np.sqrt(1 - lam))
        return (
            np.clip(cx - cut_w // 2, 0, w),
            np.clip(cy - cut_h // 2, 0, h),
            np.clip(cx + cut_w // 2, 0, w),
            np.clip(cy + cut_h // 2, 0, h),
        )

    for lam in (0.0, 0.13, 0.5, 0.9, 1.0):
        for row, column in ((0, 0), (5, 7), (31, 47)):
            left, top, right, bottom = authors((48, 32), lam, column, row)
            assert cut_box(32, 48, lam, row, column) == (top, bottom, left, right)


def test_cutmix_leaves_a_batch_alone_with_probability_one_minus_prob():
    batch = noise(4, size=8)
    unmixed = [cutmix(batch, CLASSES, rng(seed), 1.0, prob=0.5).perm is None for seed in range(400)]
    assert 160 <= sum(unmixed) <= 240
    mixed = cutmix(batch, CLASSES, rng(), 1.0, prob=0.0)
    assert mixed.x is batch.x
    assert (mixed.perm, mixed.lam) == (None, 1.0)


def test_equal_draws_pair_lambda_and_partners_across_mixers():
    batch = noise(6, size=8)
    a, b = mixup(batch, CLASSES, rng(5), 0.2), cutmix(batch, CLASSES, rng(5), 0.2, prob=1.0)
    assert torch.equal(a.perm, b.perm)


def test_squared_distance_by_hand():
    a, b = [torch.randn(2, 3).double(), torch.randn(4).double()], [torch.randn(2, 3).double(), torch.randn(4).double()]
    expected = sum((float(x) - float(y)) ** 2 for s, t in zip(a, b, strict=True) for x, y in zip(s.flatten(), t.flatten(), strict=True))
    assert squared_distance(a, b).item() == pytest.approx(expected, rel=1e-12)
