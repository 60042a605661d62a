"""Seeds, schedules, linearity and the parameter groups, each against a derivation of its own."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.config.run_config import Linearity, Training
from benchmark.training.linearity import draw_pairs, feature_gaps, label_kl, label_l1, measure, summary
from benchmark.training.net import Layout, Net
from benchmark.training.optim import build_optimizer, lr_factor, set_lr
from benchmark.training.seeding import STREAMS, Streams
from datasets.stream import Sample
from methods.base import Edit, MethodError, Output


def test_a_seed_depends_on_its_coordinates_alone() -> None:
    seeds = {
        (stream, step, name, fraction, seed): Streams(name, fraction, seed).seed(stream, step)
        for stream in STREAMS
        if stream != "subset"
        for step in (None, 0, 1)
        for name in ("a", "b")
        for fraction in (0.15, 0.3)
        for seed in (0, 1)
    }
    assert len(set(seeds.values())) == len(seeds)
    assert Streams("a", 0.15, 0).seed("mix", 1) == seeds["mix", 1, "a", 0.15, 0]


def test_subsets_share_their_seed_over_fractions_and_differ_over_seeds() -> None:
    assert Streams("a", 0.15, 0).seed("subset") == Streams("a", 1.0, 0).seed("subset")
    assert Streams("a", 0.15, 0).seed("subset") != Streams("a", 0.15, 1).seed("subset")


def test_an_unknown_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="valid: subset, order"):
        Streams("a", 1.0, 0).seed("nonsense")


def test_the_step_schedule_is_exact_and_the_others_are_closed_forms() -> None:
    assert [lr_factor("step", i, 10) for i in range(10)] == [1.0] * 7 + [0.1] * 3
    assert [lr_factor("step", i, 9) for i in range(9)] == [1.0] * 6 + [0.1] * 3
    assert lr_factor("cosine", 5, 10) == pytest.approx(0.5)
    assert lr_factor("exp", 5, 10) == pytest.approx(0.1)
    assert lr_factor("constant", 9, 10) == 1.0


def test_groups_keep_their_decay_rate_and_factor() -> None:
    body, head, extra = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    body.weight.requires_grad_(False)
    decay = {"backbone": 0.1, "head": 0.2, "extra": 0.3}.__getitem__
    config = Training(lr=0.5, head_lr_factor=10.0)
    optimizer = build_optimizer(config, list(body.parameters()), list(head.parameters()), [(extra, 0.1)], decay)
    set_lr(optimizer, 0.1, head_factor=0.5)
    found = {group["name"]: (len(group["params"]), group["weight_decay"], pytest.approx(group["lr"])) for group in optimizer.param_groups}
    assert found == {"backbone": (1, 0.1, 0.05), "head": (2, 0.2, 0.25), "extra": (2, 0.3, 0.005)}


def test_pairs_never_pair_an_image_with_itself() -> None:
    pairs = draw_pairs(3, 1000, np.random.default_rng(0))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert {tuple(pair) for pair in pairs.tolist()} == {(i, j) for i in range(3) for j in range(3) if i != j}


def test_gaps_equal_their_definitions_by_hand() -> None:
    torch.manual_seed(0)
    f, fa, fb = (torch.randn(4, 5, dtype=torch.float64) for _ in range(3))
    z, za, zb = (torch.randn(4, 3, dtype=torch.float64) for _ in range(3))
    ya, yb, lam = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 1, 0, 2]), 0.3
    gap, rel = feature_gaps(f, fa, fb, lam)
    l1, kl = label_l1(z, za, zb, lam), label_kl(z, ya, yb, lam)
    for b in range(4):
        numerator = math.sqrt(sum((f[b, k] - lam * fa[b, k] - 0.7 * fb[b, k]) ** 2 for k in range(5)))
        norm_a, norm_b = (math.sqrt(sum(v**2 for v in t[b].tolist())) for t in (fa, fb))
        assert gap[b] == pytest.approx(numerator / (lam * norm_a + 0.7 * norm_b))
        assert rel[b] == pytest.approx(numerator / math.dist(fa[b].tolist(), fb[b].tolist()))
        p, pa, pb = (np.exp(t[b].numpy()) / np.exp(t[b].numpy()).sum() for t in (z, za, zb))
        assert l1[b] == pytest.approx(np.abs(p - lam * pa - 0.7 * pb).sum())
        q = np.zeros(3)
        q[ya[b]] += lam
        q[yb[b]] += 0.7
        entropy = -sum(v * math.log(v) for v in q if v > 0)
        assert kl[b] == pytest.approx(-(q * np.log(p)).sum() - entropy)


class Affine(nn.Module):
    """A network that is linear in feature space."""

    def forward(self, x: torch.Tensor) -> Output:
        features = x.flatten(1)[:, :6] * 2
        return Output(features[:, :3], features, {})


def test_a_linear_network_has_no_feature_gap_at_any_lambda() -> None:
    data = torch.randn(10, 3, 4, 4)

    def batches(chosen: np.ndarray) -> list[Sample]:
        return [Sample(data[part], torch.arange(10)[part] % 3, torch.from_numpy(part)) for part in np.split(chosen, [4])]

    rows = measure(Affine(), batches, draw_pairs(10, 7, np.random.default_rng(1)), Linearity(pairs=7, lambdas=5), "fp32")
    assert [row["lam"] for row in rows] == [0, 0.25, 0.5, 0.75, 1]
    assert all(row["feature_gap"] < 1e-6 and row["feature_gap_rel"] < 1e-6 for row in rows)
    assert rows[0]["label_l1"] < 1e-6 < rows[2]["label_l1"]
    assert summary(rows)["label_l1"] == pytest.approx(np.mean([row["label_l1"] for row in rows[1:4]]))


def test_a_forward_that_is_not_repeatable_is_found_out() -> None:
    class Noisy(Affine):
        def forward(self, x: torch.Tensor) -> Output:
            return super().forward(x + torch.randn_like(x))

    batches = lambda chosen: [Sample(torch.randn(len(chosen), 3, 4, 4), torch.zeros(len(chosen)).long(), torch.from_numpy(chosen))]
    with pytest.raises(RuntimeError, match="must vanish"):
        measure(Noisy(), batches, draw_pairs(5, 4, np.random.default_rng(0)), Linearity(pairs=4, lambdas=3), "fp32")


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def test_the_net_equals_timms_own_forward_and_taps_every_stage(architecture: str) -> None:
    import timm

    body = timm.create_model(architecture, num_classes=5).eval()
    side = body.pretrained_cfg["input_size"][-1]
    x = torch.randn(2, 3, side, side)
    net = Net(body)
    net.tap(net.stages)
    out = net(x)
    torch.testing.assert_close(out.logits, body(x))
    assert set(out.maps) == {*net.stages, "final"}
    assert all(m.ndim == 4 and len(m) == 2 for m in out.maps.values())
    blank = net(x, Edit(net.stages[0], torch.zeros_like))
    assert not torch.equal(blank.logits, out.logits)
    with pytest.raises(MethodError, match="no module 'nowhere'"):
        net.tap(("nowhere",))


def test_tokens_become_a_map_without_their_prefix() -> None:
    tokens = torch.arange(2 * 10 * 3).reshape(2, 10, 3)
    laid = Layout(prefix_tokens=1).to_map(tokens)
    assert laid.shape == (2, 3, 3, 3)
    assert torch.equal(laid[:, :, 1, 2], tokens[:, 1 + 5])


def test_a_network_with_channels_last_is_read_and_edited_by_channel() -> None:
    import timm

    body = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=64, window_size=2, embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), num_classes=5
    ).eval()
    net = Net(body)
    net.tap(net.stages)
    x = torch.randn(2, 3, 64, 64)
    out = net(x)
    torch.testing.assert_close(out.logits, body(x))
    assert {name: out.maps[name].shape[1] for name in net.stages} == {info["module"]: info["num_chs"] for info in body.feature_info}
    torch.testing.assert_close(out.maps["final"].mean((2, 3)), out.features)
    edited = net(x, Edit("final", lambda m: m * torch.arange(m.shape[1])[:, None, None]))
    torch.testing.assert_close(edited.features, out.features * torch.arange(out.features.shape[1]))
