"""DELTA against loops: the penalty and its gradient, the attention, the classifier and the channel importance behind it."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from methods.base import MethodError
from methods.channel_importance import fast_importance, naive_importance, split_at, train_head
from methods.delta import Delta, attention, map_distance
from tests.methods.real import CLASSES, noise, pair, random_net, sample, step, swapped, whole

BOTTLENECK = {"architecture": "resnet26", "channels": (4, 4, 8, 8), "stem_width": 4}


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("scale", ["delta", "fea_map", "smile"])
def test_map_distance_and_its_gradient_by_hand(scale, reduction):
    n, c, h, w = 3, 4, 2, 5
    student, source = randn(n, c, h, w).requires_grad_(), randn(n, c, h, w, seed=1)
    weight = randn(c, seed=2).softmax(0)
    factor = {"delta": 0.5 * c / (h * w), "fea_map": 0.5 * c, "smile": 1 / (h * w)}[scale] / (n if reduction == "mean" else 1)
    value, gradient = 0.0, torch.zeros(n, c, h, w, dtype=torch.float64)
    for b in range(n):
        for k in range(c):
            for i in range(h):
                for j in range(w):
                    d = float(student[b, k, i, j].detach() - source[b, k, i, j])
                    value += factor * float(weight[k]) * d * d
                    gradient[b, k, i, j] = 2 * factor * float(weight[k]) * d
    loss = map_distance(student, source, weight, scale, reduction)
    loss.backward()
    assert loss.item() == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(student.grad, gradient, rtol=1e-10, atol=1e-12)


def test_plain_fea_map_is_half_the_squared_norm():
    student, source = randn(2, 4, 3, 3), randn(2, 4, 3, 3, seed=1)
    loss = map_distance(student, source, torch.full((4,), 0.25, dtype=torch.float64), "fea_map", "sum")
    assert loss.item() == pytest.approx(0.5 * (student - source).norm().item() ** 2, rel=1e-12)


def test_attention_by_hand():
    importance = [0.3, -0.1, 0.0, 0.8]
    mean = sum(importance) / 4
    std = math.sqrt(sum((i - mean) ** 2 for i in importance) / 4)
    scores = [math.exp((i - mean) / std / 5) for i in importance]
    weights = attention(torch.tensor(importance, dtype=torch.float64), 5.0)
    assert weights.tolist() == pytest.approx([s / sum(scores) for s in scores], rel=1e-10)
    raw = [math.exp(i / 5) for i in importance]
    unstandardised = attention(torch.tensor(importance, dtype=torch.float64), 5.0, standardise=False)
    assert unstandardised.tolist() == pytest.approx([s / sum(raw) for s in raw], rel=1e-10)


def test_attention_of_equal_importances_is_uniform():
    assert attention(torch.full((4,), 0.1), 5.0).tolist() == pytest.approx([0.25] * 4)


def test_head_is_trained_as_stated():
    features, y = randn(50, 6), torch.arange(50) % CLASSES
    head = train_head(features, y, CLASSES, epochs=3, lr=0.01, rng=torch.Generator().manual_seed(4))
    rng = torch.Generator().manual_seed(4)
    bound = 1 / math.sqrt(6)
    w = torch.empty(CLASSES, 6).uniform_(-bound, bound, generator=rng).double()
    b = torch.empty(CLASSES).uniform_(-bound, bound, generator=rng).double()
    vw, vb = torch.zeros_like(w), torch.zeros_like(b)
    for epoch in range(3):
        order = torch.randperm(50, generator=rng)
        for rows in (order[:32], order[32:]):
            error = (features[rows] @ w.T + b).softmax(1) - F.one_hot(y[rows], CLASSES)
            vw = 0.9 * vw + error.T @ features[rows] / len(rows) + 1e-4 * w
            vb = 0.9 * vb + error.mean(0) + 1e-4 * b
            w, b = w - 0.01 * 0.1 ** (epoch / 6) * vw, b - 0.01 * 0.1 ** (epoch / 6) * vb
    torch.testing.assert_close(head.weight, w, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(head.bias, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("architecture", "cuts"),
    [("test_resnet", True), ("test_efficientnet", True), ("test_convnext", True), ("test_vit", False), ("resnet26", True)],
)
def test_fast_importance_is_the_naive_one(architecture, cuts, monkeypatch):
    monkeypatch.setattr("methods.channel_importance.CPU_BUDGET", 10_000)
    options = {"test_vit": {"img_size": 32}, "resnet26": BOTTLENECK}.get(architecture, {})
    component = Delta(layers="auto")
    _, source = pair(**{"architecture": architecture, **options}, component=component)
    batch = noise(4)
    head = torch.nn.Linear(source.head.in_features, CLASSES)
    for tap in component.taps(source)[-2:]:
        assert (split_at(source, tap, batch.x) is not None) == cuts
        fast = fast_importance(source, head, tap, batch.x, batch.y)
        torch.testing.assert_close(fast, naive_importance(source, head, tap, batch.x, batch.y), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_fast_importance_is_the_naive_one_on_resnet18():
    component = Delta()
    _, source = pair("resnet18", component=component)
    batch = noise(2, size=96)
    head = torch.nn.Linear(source.head.in_features, CLASSES)
    for tap in component.taps(source):
        fast = fast_importance(source, head, tap, batch.x, batch.y)
        torch.testing.assert_close(fast, naive_importance(source, head, tap, batch.x, batch.y), rtol=0, atol=1e-5)


def test_importance_of_a_filter_is_what_zeroing_its_weights_costs():
    component = Delta()
    _, source = pair(**BOTTLENECK, component=component)
    source.double()
    batch = noise(4, dtype=torch.float64)
    head = torch.nn.Linear(source.head.in_features, CLASSES).double()
    tap = component.taps(source)[1]
    filters = source.body.get_submodule(tap).weight
    whole = F.cross_entropy(head(source(batch.x).features), batch.y)
    expected = []
    for k in range(len(filters)):
        kept = filters[k].clone()
        filters[k] = 0
        expected.append(F.cross_entropy(head(source(batch.x).features), batch.y) - whole)
        filters[k] = kept
    torch.testing.assert_close(fast_importance(source, head, tap, batch.x, batch.y), torch.stack(expected), rtol=1e-8, atol=1e-10)


def test_layers_follow_the_network():
    bottleneck, basic = random_net(**BOTTLENECK), random_net()
    assert Delta().taps(bottleneck) == ("layer1.1.conv3", "layer2.1.conv3", "layer3.1.conv3", "layer4.1.conv3")
    assert Delta().taps(basic) == ("layer1", "layer2", "layer3", "layer4")
    assert Delta(layers="stages").taps(bottleneck) == ("layer1", "layer2", "layer3", "layer4")
    assert Delta(layers="final").taps(bottleneck) == ("final", "layer4.1.conv3")
    assert Delta(layers="final").taps(basic) == ("final",)
    with pytest.raises(MethodError, match="bottleneck"):
        Delta(layers="delta_repo").check(basic)


def test_penalty_sums_the_layers_on_the_mixed_images_and_spares_the_source(ready):
    component, ctx, _ = ready("delta", alpha=0.5, n_batches=2, batch_size=8)
    student, source = ctx.net, ctx.source
    before = {name: t.clone() for name, t in ready("fine_tuning").ctx.source.state_dict().items()}
    mixed = swapped(sample(ctx))
    at = step(ctx, sample(ctx), mixed=mixed)
    expected = 0.0
    head_rng = ctx.rng.torch("setup")
    every = whole(ctx)
    head = train_head(source(every.x).features, every.y, CLASSES, 10, 0.01, head_rng)
    for tap in component.taps(student):
        importance = [naive_importance(source, head, tap, b.x, b.y) for b in ctx.train_pass(8, augment=True, batches=2)]
        weight = attention(torch.stack(importance).mean(0), 5.0)
        expected += 0.5 * map_distance(at.out.maps[tap], source(mixed.x).maps[tap], weight, "delta", "sum").item()
    assert component.penalties(at)["delta"].item() == pytest.approx(expected, rel=1e-3)
    assert not any(module.training for module in source.modules())
    assert all(torch.equal(t, before[name]) for name, t in source.state_dict().items())


CHANGES = ({}, {"layers": "final"}, {"n_batches": 1}, {"batch_size": 2}, {"head_epochs": 1}, {"head_lr": 0.1})


def kept(folder):
    return set((folder / "setup").glob("delta_importance-*")) if folder.exists() else set()


def test_cache_key_names_everything_the_importance_depends_on(ready, monkeypatch, cache, tmp_path):
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path))
    for n, (options, seed) in enumerate(itertools.product(CHANGES, (0, 1)), start=1):
        for _ in range(2):  # the second time it is found
            ready("delta", seed=seed, **{"n_batches": 2, **options})
            assert len(kept(tmp_path)) == n


def test_uniform_attention_needs_no_pass_over_the_data(ready, monkeypatch, tmp_path):
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path))
    component, ctx, _ = ready("delta", attention="uniform")
    assert not kept(tmp_path)
    source, batch = ctx.source, sample(ctx)
    at = step(ctx, batch)
    expected = sum(
        0.005 * (at.out.maps[tap] - source(batch.x).maps[tap]).square().sum().item() / at.out.maps[tap].shape[2:].numel()
        for tap in ("layer1", "layer2", "layer3", "layer4")
    )
    assert component.penalties(at)["delta"].item() == pytest.approx(expected, rel=1e-5)
