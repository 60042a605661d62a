"""Manifold mixup: where it mixes, and that the mixed map is the convex combination of the partners' maps."""

import pytest
import torch

from methods.base import MethodError
from methods.manifold_mixup import ManifoldMixup
from methods.shared import mixup
from tests.methods.real import CLASSES, noise, pair, random_net, rng


def test_layers_are_the_input_and_the_first_two_stages_equally_often():
    component = ManifoldMixup()
    assert component.taps(random_net("resnet18")) == ("layer1", "layer2")
    batch, generator = noise(4, size=8), rng()
    where = [m.edit.tap if m.edit else "input" for m in (component.mix(batch, CLASSES, generator) for _ in range(600))]
    assert {name: 160 <= where.count(name) <= 240 for name in set(where)} == dict.fromkeys(("input", "layer1", "layer2"), True)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_hidden_map_is_mixed_as_the_labels_are(architecture):
    component = ManifoldMixup(layers=(2,))
    student, _ = pair(architecture, component, **({"img_size": 32} if architecture == "test_vit" else {}))
    student.eval()
    batch = noise()
    mixed = component.mix(batch, CLASSES, rng(1))
    tap = mixed.edit.tap
    plain, edited = student(batch.x).maps[tap], student(mixed.x, mixed.edit).maps[tap]
    assert torch.equal(mixed.x, batch.x)
    for b in range(6):
        partner = int(mixed.perm[b])
        torch.testing.assert_close(edited[b], mixed.lam * plain[b] + (1 - mixed.lam) * plain[partner], rtol=1e-5, atol=1e-6)
        assert mixed.target[b].sum().item() == pytest.approx(1.0)
    assert not torch.allclose(student(mixed.x, mixed.edit).logits, student(batch.x).logits)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_lambda_is_not_rounded_to_half_precision(seed):
    """A map in bfloat16 is mixed with the label's lambda and rounded once, at the end."""
    component = ManifoldMixup(layers=(1,))
    pair(component=component)
    mixed = component.mix(noise(), CLASSES, rng(seed))
    t = torch.randn(6, 4, 3, 3).bfloat16()
    lam = torch.tensor(mixed.lam)
    assert lam.bfloat16() != lam, "a lambda that half precision has not"
    expected = (lam * t.float() + (1 - lam) * t.float()[mixed.perm]).bfloat16()
    assert torch.equal(mixed.edit.fn(t), expected)
    half = lam.bfloat16()
    assert not torch.equal((half * t + (1 - half) * t[mixed.perm]), expected)


def test_at_the_input_it_is_mixup():
    component = ManifoldMixup(layers=(0,), alpha=2.0)
    a, b = component.mix(noise(), CLASSES, rng(4)), mixup(noise(), CLASSES, rng(4), 2.0)
    assert a.edit is None
    assert all(torch.equal(left, right) for left, right in zip(a[:3], b[:3], strict=True))


def test_gradient_reaches_both_partners():
    component = ManifoldMixup(layers=(1,))
    student, _ = pair(component=component)
    student.eval()
    batch = noise()
    mixed = component.mix(batch, CLASSES, rng(1))
    x = batch.x.clone().requires_grad_()
    student(x, mixed.edit).logits[0].sum().backward()
    reached = {b for b in range(6) if x.grad[b].abs().sum() > 0}
    assert reached == {0, int(mixed.perm[0])}


@pytest.mark.parametrize("layers", [(), (5,), (-1,)])
def test_undefined_layers_are_refused(layers):
    with pytest.raises(MethodError, match="layers"):
        ManifoldMixup(layers=layers)
