"""SMILE against loops: both terms with gradients, the mean teacher, and the options that set the variants apart."""

import math

import pytest
import torch
from torch import nn

from methods.base import MethodError, Mixed
from methods.shared import feature_distance, mixup, one_hot
from methods.smile import Smile
from tests.methods.real import CLASSES, SOURCE_CLASSES, noise, rng, sample, step, swapped


def perturb(net, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*net.body_parameters(), *(b for b in net.body.buffers() if b.is_floating_point())]:
            tensor.add_(torch.rand(tensor.shape, generator=generator), alpha=0.1)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(3, 4, 2, 5), (3, 4)])
@pytest.mark.parametrize("norm", ["frob", "sq_mean"])
def test_feature_distance_and_its_gradient_by_hand(norm, shape):
    student, teacher = randn(*shape).requires_grad_(), randn(*shape, seed=1)
    area = math.prod(shape[2:])
    differences = [float(s - t) for s, t in zip(student.detach().flatten(), teacher.flatten(), strict=True)]
    squared = sum(d * d for d in differences)
    if norm == "frob":
        value, gradient = math.sqrt(squared) / area, [d / math.sqrt(squared) / area for d in differences]
    else:
        value, gradient = squared / (3 * area), [2 * d / (3 * area) for d in differences]
    loss = feature_distance(student, teacher, norm)
    loss.backward()
    assert loss.item() == pytest.approx(value, rel=1e-12)
    assert student.grad.flatten().tolist() == pytest.approx(gradient, rel=1e-9, abs=1e-12)


def test_feature_distance_at_zero_has_zero_gradient():
    student = randn(2, 3, 2, 2).requires_grad_()
    feature_distance(student, student.detach().clone(), "frob").backward()
    assert student.grad.abs().max() == 0


def test_source_term_and_its_gradient_by_hand(ready64):
    component, ctx, _ = ready64("smile", feature_weight=0.0, source_weight=0.1)
    source, batch = ctx.source, sample(ctx)
    mixed = swapped(batch)
    at = step(ctx, batch, mixed=mixed)
    features = at.out.features.detach().requires_grad_()
    (head, factor), lam = component.extra_modules()[0], mixed.lam
    loss = component.penalties(at.__class__(0, ctx, batch, mixed, at.out._replace(features=features)))["smile_source"]
    loss.backward()
    weight, teacher = source.head.weight, source(batch.x).logits.softmax(1)
    logits = features.detach() @ weight.T + source.head.bias
    value, gradient, n = 0.0, torch.zeros_like(features), len(batch.y)
    for b in range(n):
        partner, q = n - 1 - b, logits[b].softmax(0)
        for s in range(SOURCE_CLASSES):
            value -= 0.1 / n * (lam * teacher[b, s] + (1 - lam) * teacher[partner, s]).item() * math.log(q[s].item())
        for who, share in ((b, lam), (partner, 1 - lam)):
            gradient[b] += 0.1 / n * share * ((q - teacher[who]) @ weight)
    assert factor == 1.0
    assert loss.item() == pytest.approx(value, rel=1e-10)
    torch.testing.assert_close(features.grad, gradient, rtol=1e-8, atol=1e-12)
    assert head.weight.grad.abs().sum() > 0
    assert source.head.weight.grad is None


@pytest.mark.parametrize("feature", ["map", "pooled"])
def test_feature_term_blends_the_teachers_clean_features(feature, ready):
    component, ctx, _ = ready("smile", feature_weight=0.5, source_weight=0.0, feature=feature)
    perturb(ctx.net)
    mixed = swapped(sample(ctx))
    at = step(ctx, sample(ctx), mixed=mixed)
    clean = ctx.source(sample(ctx).x)
    student, teacher = (at.out.maps["final"], clean.maps["final"]) if feature == "map" else (at.out.features, clean.features)
    difference = student - (0.3 * teacher + 0.7 * teacher.flip(0))
    terms = component.penalties(at)
    assert set(terms) == {"smile_feature"}
    assert terms["smile_feature"].item() == pytest.approx(0.5 * difference.norm().item() / student.shape[2:].numel(), rel=1e-5)


def test_mean_teacher_follows_every_tenth_step_before_the_optimizer(ready):
    component, ctx, _ = ready("smile", ema_decay=0.9)
    expected = [p.clone().double() for p in ctx.source.body_parameters()]
    frozen = {name: b.clone() for name, b in ctx.source.named_buffers()}
    at = step(ctx, sample(ctx, 2))
    for i in range(21):
        if i % 10 == 0:
            expected = [0.9 * t + 0.1 * p.detach().double() for t, p in zip(expected, ctx.net.body_parameters(), strict=True)]
        component.before_step(at.__class__(i, ctx, at.batch, at.mixed, at.out))
        perturb(ctx.net, seed=i)
    teacher = component._teacher.net
    for t, e in zip(teacher.body_parameters(), expected, strict=True):
        torch.testing.assert_close(t.double(), e, rtol=1e-5, atol=1e-6)
    assert torch.equal(teacher.head.weight, ctx.source.head.weight)
    assert all(torch.equal(b, frozen[name]) for name, b in teacher.named_buffers())
    assert not any(module.training for module in teacher.modules())


def test_teacher_statistics_by_option(ready):
    outputs, statistics = {}, {}
    for kind in ("source", "ema", "batch"):
        component, ctx, _ = ready("smile", teacher_bn=kind, ema_decay=0.5, ema_every=1)
        perturb(ctx.net)
        at = step(ctx, sample(ctx))
        component.before_step(at)
        outputs[kind] = component._teach(at).features
        statistics[kind] = component._teacher.net.body.bn1.running_mean.clone()
    student, source = ctx.net.body.bn1.running_mean, ctx.source.body.bn1.running_mean
    assert torch.equal(statistics["source"], source)
    torch.testing.assert_close(statistics["ema"], 0.5 * source + 0.5 * student)
    assert len({tuple(o.flatten().tolist()) for o in outputs.values()}) == 3


def test_student_as_its_own_teacher_uses_this_steps_weights_without_touching_it(ready):
    component, ctx, _ = ready("smile", teacher="student")
    for seed in range(2):
        perturb(ctx.net, seed)
        at = step(ctx, sample(ctx))
        before = {name: t.clone() for name, t in ctx.net.state_dict().items()}
        teacher = component._teach(at)
        weights = zip(component._teacher.net.body_parameters(), ctx.net.body_parameters(), strict=True)
        assert all(torch.equal(t, p) for t, p in weights)
        assert not teacher.features.requires_grad
        assert all(torch.equal(t, before[name]) for name, t in ctx.net.state_dict().items())


def test_fixed_teacher_is_the_source_network_shared_with_other_terms(ready):
    component, ctx, _ = ready("smile", teacher="fixed")
    at = step(ctx, sample(ctx))
    component.penalties(at)
    assert component._teacher is None
    assert at.scratch["source_clean"] is at.source("clean")


def test_mixes_as_mixup_does_and_code_variant_folds():
    batch = noise()
    plain, expected = Smile().mix(batch, CLASSES, rng(1)), mixup(batch, CLASSES, rng(1), 0.2)
    assert all(torch.equal(a, b) for a, b in zip(plain[:3], expected[:3], strict=True))
    lams = [(Smile().mix(batch, CLASSES, rng(s)).lam, Smile(fold=True).mix(batch, CLASSES, rng(s)).lam) for s in range(20)]
    assert all(folded == max(lam, 1 - lam) for lam, folded in lams)


def test_without_target_mix_the_label_is_the_heavier_samples():
    batch, component = noise(), Smile(target_mix=False)
    sides = set()
    for seed in range(20):
        mixed = component.mix(batch, CLASSES, rng(seed))
        y = batch.y if mixed.lam >= 0.5 else batch.y[mixed.perm]
        assert torch.equal(mixed.target, one_hot(y, CLASSES))
        torch.testing.assert_close(mixed.x, mixed.lam * batch.x + (1 - mixed.lam) * batch.x[mixed.perm])
        sides.add(mixed.lam >= 0.5)
    assert sides == {True, False}


def test_cutmix_variant_blends_features_by_the_pasted_area(ready):
    component, ctx, _ = ready("smile", mixer="cutmix", alpha=1.0, source_weight=0.0)
    mixed = component.mix(sample(ctx), CLASSES, rng(2))
    pasted = (mixed.x != sample(ctx).x).any(1).float().mean((1, 2))
    away = mixed.perm != torch.arange(6)
    torch.testing.assert_close(pasted[away], torch.full((int(away.sum()),), 1 - mixed.lam))
    at = step(ctx, sample(ctx), mixed=mixed)
    teacher = ctx.source(sample(ctx).x).maps["final"]
    blended = mixed.lam * teacher + (1 - mixed.lam) * teacher[mixed.perm]
    expected = 0.01 * (at.out.maps["final"] - blended).norm().item() / blended.shape[2:].numel()
    assert component.penalties(at)["smile_feature"].item() == pytest.approx(expected, rel=1e-5)


def test_terms_without_weight_cost_nothing(ready):
    component, ctx, _ = ready("smile", feature_weight=0.0, source_weight=0.0)
    assert (component.extra_modules(), component.taps(ctx.net), component.state_dict()) == ([], (), {})
    assert component.penalties(step(ctx, sample(ctx), mixed=Mixed(sample(ctx).x, one_hot(sample(ctx).y, CLASSES)))) == {}


def test_a_network_without_source_classifier_is_refused_only_when_it_is_needed(ready):
    ctx = ready("smile").ctx
    ctx.source.body.reset_classifier(0)
    assert isinstance(ctx.source.head, nn.Identity)
    with pytest.raises(MethodError, match="source_weight=0"):
        Smile().setup(ctx)
    Smile(source_weight=0.0).setup(ctx)
    assert (Smile().needs_source_head, Smile(source_weight=0.0).needs_source_head) == (True, False)


@pytest.mark.parametrize(
    "options",
    [{"ema_decay": 1.5}, {"ema_every": 0}, {"alpha": -1.0}, {"fold": True, "mixer": "cutmix"}, {"teacher": "fixed", "teacher_bn": "ema"}],
)
def test_undefined_options_are_refused(options):
    with pytest.raises(MethodError):
        Smile(**options)
