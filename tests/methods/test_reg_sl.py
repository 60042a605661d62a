"""RegSL against loops: groups, both projections, BatchNorm's clamp, the penalty with its gradient, and self-labelling."""

import math

import pytest
import torch
from torch.nn import functional as F

from methods.base import Batch, MethodError, Output, Step
from methods.reg_sl import RegSL, clamp_scale, distance_penalty, group_of, penalty_gradients, shrink_
from methods.self_labels import SelfLabels, reweighted
from methods.shared import stage_groups
from tests.methods.real import CLASSES, random_net, sample, step, whole

RADII = {"lambda_ext": 0.05, "lambda_head": 0.1, "gamma": 2.0}


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(ready64, scale=0.1, **options):
    component, ctx, _ = ready64("reg_sl", **RADII, **options)
    with torch.no_grad():
        for k, p in enumerate(ctx.net.parameters()):
            p.add_(randn(*p.shape, seed=k), alpha=scale)
    return component, ctx


def test_groups_of_a_resnet_leave_the_stem_free():
    groups = group_of(random_net("resnet18"))
    assert {name.split(".")[0] for name in groups} == {"layer1", "layer2", "layer3", "layer4"}
    assert {groups[name] for name in groups if name.startswith("layer3.")} == {2}


def test_groups_cover_what_lies_between_and_behind_stages():
    groups = group_of(random_net("efficientnet_b0"))
    first = {name.split(".")[1]: k for name, k in groups.items() if name.startswith("blocks.")}
    assert first == {"1": 0, "2": 1, "3": 2, "4": 2, "5": 3, "6": 3}
    assert groups["conv_head.weight"] == 3
    assert "conv_stem.weight" not in groups


def test_stages_of_a_transformer_are_four_runs_of_blocks():
    net = random_net("vit_tiny_patch16_224", img_size=32)
    assert [group[-1] for group in stage_groups(net)] == ["blocks.2", "blocks.5", "blocks.8", "blocks.11"]
    groups = group_of(net)
    assert [groups[f"blocks.{k}.attn.qkv.weight"] for k in range(12)] == [k // 3 for k in range(12)]
    assert "patch_embed.proj.weight" not in groups


@pytest.mark.parametrize("norm", ["frob", "inf-op"])
def test_projection_by_hand_and_untouched_inside_the_ball(norm):
    centre, offset = randn(3, 2, 2, 2), randn(3, 2, 2, 2, seed=1)
    inside, outside = centre + 1e-3 * offset, centre + offset
    weights = [inside.clone(), outside.clone(), centre.clone()]
    shrink_(weights, [centre] * 3, torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64), norm)
    assert torch.equal(weights[0], inside)
    assert torch.equal(weights[2], centre)
    if norm == "frob":
        length = math.sqrt(sum(v * v for v in offset.flatten().tolist()))
        expected = centre + offset * 0.5 / length
    else:
        factors = [min(1.0, 0.5 / sum(abs(v) for v in offset[row].flatten().tolist())) for row in range(3)]
        expected = centre + offset * torch.tensor(factors, dtype=torch.float64).view(3, 1, 1, 1)
    torch.testing.assert_close(weights[1], expected, rtol=1e-10, atol=1e-12)


def test_batch_norms_scale_is_clamped_around_the_sources():
    weight, variance = torch.tensor([1.0, 2.0, -3.0, 1.0]).double(), torch.tensor([1.0, 0.5, 2.0, 1.0]).double()
    centre, radius = torch.tensor([1.0, 1.0, 1.0, 1.5]).double(), torch.tensor([0.1, 0.1, 0.2, 0.1]).double()
    found = clamp_scale(weight, variance, centre, radius)
    for c in range(4):
        spread = math.sqrt(variance[c].item() + 1e-6)
        scale = min(max(weight[c].item() / spread, (centre - radius)[c].item()), (centre + radius)[c].item())
        assert found[c].item() == pytest.approx(scale * spread, rel=1e-12)
    assert found[0] == weight[0]


def test_constraint_after_a_step_holds_layer_by_layer(ready64):
    component, ctx = moved(ready64)
    before = {name: p.detach().clone() for name, p in ctx.net.body.named_parameters()}
    component.after_step(step(ctx, sample(ctx)))
    source, groups = dict(ctx.source.body.named_parameters()), group_of(ctx.net)
    statistics = {name: m.running_var for name, m in ctx.net.body.named_modules() if hasattr(m, "running_var")}
    originals = {name: m.running_var for name, m in ctx.source.body.named_modules() if hasattr(m, "running_var")}
    head = {"fc.weight", "fc.bias"}
    for name, p in ctx.net.body.named_parameters():
        module = name.rpartition(".")[0]
        if name == "fc.weight":
            assert p.norm().item() == pytest.approx(0.1)
        elif name in head or name not in groups or name.endswith("bias"):
            assert torch.equal(p, before[name])
        elif p.ndim == 4:
            radius = 0.05 * 2.0 ** (0, 0, 1, 2)[groups[name]]
            assert (p - source[name]).norm().item() == pytest.approx(min(radius, (before[name] - source[name]).norm().item()))
        else:
            scales = [w / (v + 1e-6).sqrt() for w, v in ((p, statistics[module]), (source[name], originals[module]))]
            assert (scales[0] - scales[1]).abs().max().item() <= 0.05 * 2.0 ** (0, 0, 1, 2)[groups[name]] + 1e-12


@pytest.mark.parametrize("norm", ["frob", "inf-op"])
def test_distance_penalty_and_its_gradient_by_hand(norm):
    weights = [randn(2, 3), randn(4, seed=1)]
    centres, factors = [randn(2, 3, seed=2), randn(4, seed=3)], [0.3, 0.7]
    loss = distance_penalty(weights, centres, torch.tensor(factors, dtype=torch.float64), norm)
    gradients = penalty_gradients(weights, centres, factors, norm)
    value = 0.0
    for w, c, factor, found in zip(weights, centres, factors, gradients, strict=True):
        d = (w - c).reshape(len(w), -1)
        if norm == "frob":
            value += factor * sum(v * v for v in d.flatten().tolist())
            gradient = 2 * factor * d
        else:
            sums = [sum(abs(v) for v in row) for row in d.tolist()]
            value += factor * max(sums)
            gradient = torch.zeros_like(d)
            gradient[sums.index(max(sums))] = factor * d[sums.index(max(sums))].sign()
        torch.testing.assert_close(found, gradient.view_as(w), rtol=1e-10, atol=1e-12)
    assert loss.item() == pytest.approx(value, rel=1e-12)


def test_penalty_mode_spares_biases_and_the_stem_and_projects_nothing(ready64):
    component, ctx = moved(ready64, mode="penalty")
    at = step(ctx, sample(ctx))
    for p in ctx.net.parameters():
        p.grad = torch.zeros_like(p)
    assert not component.penalties(at)
    component.before_step(at)
    groups, source = group_of(ctx.net), dict(ctx.source.body.named_parameters())
    for name, p in ctx.net.body.named_parameters():
        if name == "fc.weight":
            torch.testing.assert_close(p.grad, 0.2 * p.detach(), rtol=1e-9, atol=1e-12)
        elif name in groups and not name.endswith("bias"):
            factor = 2 * 0.05 * 2.0 ** (0, 0, 1, 2)[groups[name]]
            torch.testing.assert_close(p.grad, factor * (p.detach() - source[name]), rtol=1e-9, atol=1e-12)
        else:
            assert p.grad.abs().sum() == 0
    before = [p.detach().clone() for p in ctx.net.parameters()]
    component.after_step(at)
    assert all(torch.equal(p, b) for p, b in zip(ctx.net.parameters(), before, strict=True))


def test_reweighting_and_its_gradient_by_hand():
    losses = torch.tensor([0.1, 2.0, 0.7], dtype=torch.float64, requires_grad=True)
    value = reweighted(losses, 0.5)
    value.backward()
    scores = [math.exp(-v / 0.5) for v in (0.1, 2.0, 0.7)]
    weights = [s / sum(scores) for s in scores]
    assert value.item() == pytest.approx(sum(w * v for w, v in zip(weights, (0.1, 2.0, 0.7), strict=True)), rel=1e-12)
    assert losses.grad.tolist() == pytest.approx(weights)


def test_self_labelling_by_epoch(ready64):
    """36 images in batches of 6: six steps an epoch."""
    component, ctx = moved(ready64, self_label=True, threshold=0.5)
    batch, every = sample(ctx), whole(ctx)
    out = step(ctx, batch).out
    logits = torch.tensor([[0.0, 5.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.1, 0.0], [5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [5.0, 0.0, 0.0]]).double()
    plain = F.cross_entropy(logits, batch.y)

    def term(i):
        return component.penalties(step(ctx, batch, i, out=out._replace(logits=logits)))["self_label"].item()

    assert term(0) == pytest.approx(0.0, abs=1e-12)
    assert term(23) == pytest.approx(0.0, abs=1e-12)
    losses = F.cross_entropy(logits, batch.y, reduction="none")
    assert term(24) == pytest.approx((reweighted(losses, 2.0) - plain).item())
    assert term(48) == pytest.approx((reweighted(losses, 2.0 * math.exp(-0.4)) - plain).item())
    assert component._labels.labels[batch.index].tolist() == batch.y.tolist()
    corrected = torch.tensor([1, 1, 2, 0, 1, 0])
    expected = reweighted(F.cross_entropy(logits, corrected, reduction="none"), 2.0 * math.exp(-0.5)) - plain
    assert term(54) == pytest.approx(expected.item())
    assert component._labels.labels[batch.index].tolist() == corrected.tolist()
    others = torch.isin(every.index, batch.index, invert=True)
    assert torch.equal(component._labels.labels[every.index[others]], every.y[others])


def test_an_epoch_is_a_pass_without_its_last_incomplete_batch(ready64):
    """36 images in batches of 5: seven steps an epoch, so the fifth begins at step 28, of which 28 * 5 // 36 would say the fourth."""
    component, ctx = moved(ready64, self_label=True, threshold=0.5)
    whole_batch = sample(ctx)
    batch = whole_batch._replace(x=whole_batch.x[:5], y=whole_batch.y[:5], index=whole_batch.index[:5])
    logits = torch.tensor([[0.0, 5.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.1, 0.0], [5.0, 0.0, 0.0], [0.0, 5.0, 0.0]]).double()
    out = step(ctx, batch).out._replace(logits=logits)
    plain, losses = F.cross_entropy(logits, batch.y), F.cross_entropy(logits, batch.y, reduction="none")
    found = [component.penalties(step(ctx, batch, i, out=out))["self_label"].item() for i in (27, 28)]
    assert found == pytest.approx([0.0, (reweighted(losses, 2.0) - plain).item()], abs=1e-12)
    assert abs(found[1]) > 1e-3


@pytest.mark.parametrize(("images", "batch", "begins"), [(95, 48, 4), (36, 5, 28), (100, 33, 12), (64, 16, 16)])
def test_the_fifth_epoch_begins_after_four_passes(images, batch, begins):
    """Of 95 images a pass is one batch of 48: counted in images, the fifth epoch would begin at step 8."""
    labels = SelfLabels(5, 10, 0.5)
    labels._num_images, labels.labels = images, torch.arange(images) % CLASSES
    logits, y = randn(batch, CLASSES), torch.arange(batch) % CLASSES
    out = Output(logits, logits, {})
    steps = (Step(i, None, Batch(logits, y, torch.arange(batch)), None, out) for i in range(begins + 1))
    changes = [labels.correction(step).item() for step in steps]
    assert changes[:begins] == pytest.approx([0.0] * begins, abs=1e-12)
    assert abs(changes[begins]) > 1e-3


def test_radii_must_be_given():
    with pytest.raises(MethodError, match="lambda_head, gamma"):
        RegSL(lambda_ext=0.1).check(random_net())
