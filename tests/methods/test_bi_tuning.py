"""Bi-Tuning against loops over samples and queue entries: both terms with gradients, the queues, the momentum network."""

import math

import pytest
import torch

from methods.bi_tuning import contrast
from methods.class_queues import slots
from tests.methods.real import CLASSES, sample, step


def two_views(ctx):
    batch = sample(ctx)
    return batch._replace(extra_views=(batch.x.flip(3),))


def unit(vector):
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length for v in vector]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def term_by_hand(own, queue, positives, temperature):
    """own: similarity to the own key; queue: similarities; positives: their indices."""
    scores = [math.exp(s / temperature) for s in [own, *queue]]
    log_q = [math.log(s / sum(scores)) for s in scores]
    chosen = [0, *[i + 1 for i in positives]]
    share = 1 / len(chosen)
    return sum(share * (math.log(share) - log_q[i]) for i in chosen)


def test_contrast_and_its_gradient_by_hand():
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)
    queue = torch.randn(3, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    positive = torch.arange(8)[None] // 4 == torch.tensor([0, 1, 1])[:, None]
    t = 0.5
    loss = contrast(own, queue, positive, t)
    loss.backward()
    expected = sum(term_by_hand(own[b].item(), queue[b].tolist(), positive[b].nonzero().flatten().tolist(), t) for b in range(3)) / 3
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    for b in range(3):
        q = (torch.cat([own[b : b + 1], queue[b]]).detach() / t).softmax(0)
        u = torch.cat([torch.ones(1), positive[b].double()]) / 5
        torch.testing.assert_close(torch.cat([own.grad[b : b + 1], queue.grad[b]]), (q - u) / t / 3, rtol=1e-10, atol=1e-12)


def test_masked_entries_count_neither_as_keys_nor_as_positives():
    own, queue = torch.tensor([0.3], dtype=torch.float64), torch.tensor([[0.1, -math.inf, 0.7, -math.inf]], dtype=torch.float64)
    queue.requires_grad_()
    positive = torch.tensor([[True, True, False, False]])
    loss = contrast(own, queue, positive, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(term_by_hand(0.3, [0.1, 0.7], [0], 1.0), rel=1e-12)
    assert queue.grad[0, [1, 3]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_slots_are_those_of_one_key_at_a_time(size):
    generator, pointer = torch.Generator().manual_seed(size), torch.zeros(CLASSES, dtype=torch.int64)
    queue, by_hand, hand_pointer = torch.full((CLASSES * size + 1,), -1), [-1] * CLASSES * size, [0] * CLASSES
    for round_ in range(4):
        y = torch.randint(CLASSES, (7,), generator=generator)
        place, pointer = slots(y, pointer, size)
        queue = queue.index_copy(0, place, torch.arange(7) + 7 * round_)
        for b, c in enumerate(y.tolist()):
            by_hand[c * size + hand_pointer[c]] = b + 7 * round_
            hand_pointer[c] = (hand_pointer[c] + 1) % size
        assert queue[:-1].tolist() == by_hand
        assert pointer.tolist() == hand_pointer


@pytest.mark.parametrize("update", ["before", "between", "after"])
def test_both_terms_by_hand(update, ready64):
    component, ctx, _ = ready64("bi_tuning", queue_size=2, dim=4, queue_update=update, weight=0.5)
    batch = two_views(ctx)
    queues = {name: component._queue.state[name][:-1].tolist() for name in ("h", "z")}
    at = step(ctx, batch)
    head, projector = ctx.net.head, component._projector
    with torch.no_grad():
        keys = component._key["net"].train()(batch.extra_views[0]).features
        key_z = [unit(row) for row in component._key["projector"](keys).tolist()]
        z = [unit(row) for row in projector(at.out.features).tolist()]
    key_h, h = ([unit([*row, 1.0]) for row in f.tolist()] for f in (keys, at.out.features))
    w = [unit([*row, bias]) for row, bias in zip(head.weight.tolist(), head.bias.tolist(), strict=True)]
    filled = {name: list(rows) for name, rows in queues.items()}
    for b, c in enumerate(batch.y.tolist()):
        for name, rows in (("h", key_h), ("z", key_z)):
            filled[name][c * 2 + b // 3] = rows[b]
    seen_by_instance, seen_by_classifier = {"before": (filled, filled), "between": (queues, filled), "after": (queues, queues)}[update]
    expected = {"bi_tuning_classifier": 0.0, "bi_tuning_instance": 0.0}
    for b, c in enumerate(batch.y.tolist()):
        positives = [c * 2, c * 2 + 1]
        to_w, to_z = [dot(w[c], row) for row in seen_by_classifier["h"]], [dot(z[b], row) for row in seen_by_instance["z"]]
        expected["bi_tuning_classifier"] += 0.5 / 6 * term_by_hand(dot(w[c], h[b]), to_w, positives, 0.07)
        expected["bi_tuning_instance"] += 0.5 / 6 * term_by_hand(dot(z[b], key_z[b]), to_z, positives, 0.07)
    terms = component.penalties(at)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("detach", [True, False])
def test_classifier_gets_a_gradient_from_the_contrast_only_when_asked(detach, ready):
    component, ctx, _ = ready("bi_tuning", detach_classifier=detach)
    terms = component.penalties(step(ctx, two_views(ctx)))
    sum(terms.values()).backward()
    assert (ctx.net.head.weight.grad is None) == detach
    assert component._projector.weight.grad.abs().sum() > 0
    assert ctx.net.body.conv1[0].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in component._key.parameters())


def test_key_network_follows_before_the_keys_with_its_own_statistics(ready):
    component, ctx, _ = ready("bi_tuning", momentum=0.9)
    start = [p.detach().clone() for p in ctx.net.body_parameters()]
    with torch.no_grad():
        for p in ctx.net.body_parameters():
            p.add_(0.1)
    student_mean = ctx.net.body.bn1.running_mean.clone()
    at = step(ctx, two_views(ctx))
    component.penalties(at)
    key = component._key["net"]
    for k, p0 in zip(key.body_parameters(), start, strict=True):
        torch.testing.assert_close(k, p0 + 0.01, rtol=1e-5, atol=1e-6)
    assert not torch.equal(key.body.bn1.running_mean, student_mean)
    assert not torch.equal(key.body.bn1.running_mean, ctx.net.body.bn1.running_mean)


def test_head_starts_small_and_queues_are_unit_vectors_from_the_noise_stream(ready):
    component, ctx, _ = ready("bi_tuning")
    assert ctx.net.head.weight.std().item() == pytest.approx(0.01, rel=0.2)
    assert ctx.net.head.bias.abs().sum() == 0
    for name in ("h", "z"):
        torch.testing.assert_close(component._queue.state[name].norm(dim=1), torch.ones(CLASSES * 40 + 1))
    again = ready("bi_tuning").component
    assert torch.equal(component._queue.state["h"], again._queue.state["h"])


def test_unfilled_entries_can_be_left_out(ready):
    component, ctx, _ = ready("bi_tuning", mask_unfilled=True, queue_update="after")
    batch = two_views(ctx)
    first = component.penalties(step(ctx, batch))
    assert [v.item() for v in first.values()] == pytest.approx([0.0, 0.0], abs=1e-6)
    second = component.penalties(step(ctx, batch))
    assert all(v.item() > 0 for v in second.values())
    filled = component._queue.state["filled"][:-1].view(CLASSES, 40)
    assert filled.sum(1).tolist() == [4, 4, 4]
