"""Seeds, schedules, linearity and the parameter groups, each against a derivation of its own."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.config.run_config import Linearity, Training
from benchmark.training.linearity import draw_pairs, feature_terms, label_kl, label_l1, measure, summary
from benchmark.training.net import Layout, Net
from benchmark.training.optim import build_optimizer, lr_factor, set_lr
from benchmark.training.seeding import STREAMS, Streams
from datasets.arena import ArenaSplit
from datasets.base import DataError
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


def split_of(images: list[np.ndarray]) -> ArenaSplit:
    """A split of square images, each uint8 [side, side, 3]."""
    sides = np.array([len(image) for image in images], np.int32)
    ends = np.cumsum(3 * sides.astype(np.int64) ** 2)
    pixels = np.concatenate([image.reshape(-1) for image in images])
    keys = tuple(str(n) for n in range(len(images)))
    return ArenaSplit("train", pixels, ends - 3 * sides.astype(np.int64) ** 2, sides, sides, np.zeros(len(images), np.int64), keys)


def plain(level: int, side: int = 4) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def test_pairs_never_pair_an_image_with_itself() -> None:
    indices = np.array([1, 2, 4])
    pairs = draw_pairs(split_of([plain(level) for level in range(5)]), indices, 4, 1000, np.random.default_rng(0))
    assert {tuple(pair) for pair in pairs.tolist()} == {(i, j) for i in (1, 2, 4) for j in (1, 2, 4) if i != j}


def test_images_of_equal_pixels_never_pair() -> None:
    """Copies, and images that differ outside what the network sees of them."""
    framed = plain(9, side=6)
    framed[1:5, 1:5] = 0
    split = split_of([plain(0), plain(0), framed, plain(7)])
    pairs = draw_pairs(split, np.arange(4), 4, 500, np.random.default_rng(0))
    assert {tuple(pair) for pair in pairs.tolist()} == {(0, 3), (1, 3), (2, 3), (3, 0), (3, 1), (3, 2)}
    with pytest.raises(DataError, match="the 3 images of train to draw pairs from all show the same"):
        draw_pairs(split, np.arange(3), 4, 1, np.random.default_rng(0))


def test_one_close_pair_does_not_carry_the_gap() -> None:
    fa = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    fb = torch.tensor([[0.0, 1.0], [1.0, 1e-7]])
    y = torch.tensor([0, 1])

    class Bent(nn.Module):
        """The features are the image's first two values, moved by .1 where they are of a mixture."""

        def forward(self, images: torch.Tensor) -> Output:
            f = images.flatten(1)[:, :2]
            whole = torch.tensor([any(torch.equal(row, known) for known in torch.cat([fa, fb])) for row in f])
            f = torch.where(whole[:, None], f, f + 0.1)
            return Output(f, f, {})

    a, b = (Sample(images.reshape(2, 2, 1, 1), y, torch.arange(2)) for images in (fa, fb))
    rows = measure(Bent(), [(a, b)], Linearity(pairs=2, lambdas=3), "fp32")
    expected = 2 * math.hypot(0.1, 0.1) / (math.sqrt(2) + 1e-7)
    assert rows[1]["feature_gap_rel"] == pytest.approx(expected, rel=1e-5)


def test_gaps_equal_their_definitions_by_hand() -> None:
    torch.manual_seed(0)
    f, fa, fb = (torch.randn(4, 5, dtype=torch.float64) for _ in range(3))
    z, za, zb = (torch.randn(4, 3, dtype=torch.float64) for _ in range(3))
    ya, yb, lam = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 1, 0, 2]), 0.3
    gap, scale, distance = feature_terms(f, fa, fb, lam)
    l1, kl = label_l1(z, za, zb, lam), label_kl(z, ya, yb, lam)
    for b in range(4):
        numerator = math.sqrt(sum((f[b, k] - lam * fa[b, k] - 0.7 * fb[b, k]) ** 2 for k in range(5)))
        norm_a, norm_b = (math.sqrt(sum(v**2 for v in t[b].tolist())) for t in (fa, fb))
        assert gap[b] == pytest.approx(numerator)
        assert scale[b] == pytest.approx(lam * norm_a + 0.7 * norm_b)
        assert distance[b] == pytest.approx(math.dist(fa[b].tolist(), fb[b].tolist()))
        p, pa, pb = (np.exp(t[b].numpy()) / np.exp(t[b].numpy()).sum() for t in (z, za, zb))
        assert l1[b] == pytest.approx(np.abs(p - lam * pa - 0.7 * pb).sum())
        q = np.zeros(3)
        q[ya[b]] += lam
        q[yb[b]] += 0.7
        entropy = -sum(v * math.log(v) for v in q if v > 0)
        assert kl[b] == pytest.approx(-(q * np.log(p)).sum() - entropy)


def samples(x: torch.Tensor, y: torch.Tensor, sizes: list[int]) -> list[Sample]:
    parts = (t.split(sizes) for t in (x, y, torch.arange(len(y))))
    return [Sample(*part) for part in zip(*parts, strict=True)]


class Affine(nn.Module):
    """A network that is linear in feature space."""

    def forward(self, x: torch.Tensor) -> Output:
        features = x.flatten(1)[:, :6] * 2
        return Output(features[:, :3], features, {})


def test_a_linear_network_has_no_feature_gap_at_any_lambda() -> None:
    a, b = (samples(torch.randn(7, 3, 4, 4), torch.arange(7) % 3, [4, 3]) for _ in range(2))
    rows = measure(Affine(), zip(a, b, strict=True), Linearity(pairs=7, lambdas=5), "fp32")
    assert [row["lam"] for row in rows] == [0, 0.25, 0.5, 0.75, 1]
    assert all(row["feature_gap"] < 1e-6 and row["feature_gap_rel"] < 1e-6 for row in rows)
    assert rows[0]["label_l1"] < 1e-6 < rows[2]["label_l1"]
    assert summary(rows)["label_l1"] == pytest.approx(np.mean([row["label_l1"] for row in rows[1:4]]))


def test_a_forward_that_is_not_repeatable_is_found_out() -> None:
    class Noisy(Affine):
        def forward(self, x: torch.Tensor) -> Output:
            return super().forward(x + torch.randn_like(x))

    a, b = (samples(torch.randn(2, 3, 4, 4), torch.zeros(2).long(), [2]) for _ in range(2))
    with pytest.raises(RuntimeError, match="must vanish"):
        measure(Noisy(), zip(a, b, strict=True), Linearity(pairs=2, lambdas=3), "fp32")


def test_the_ends_cost_eight_pairs_and_their_label_gap_is_the_images_own() -> None:
    (xa, ya), (xb, yb) = ((torch.randn(40, 3, 4, 4), torch.randint(3, (40,))) for _ in range(2))

    class Counting(Affine):
        images = 0

        def forward(self, x: torch.Tensor) -> Output:
            self.images += len(x)
            return super().forward(x)

    net = Counting()
    pairs = zip(samples(xa, ya, [20] * 2), samples(xb, yb, [20] * 2), strict=True)
    rows = measure(net, pairs, Linearity(pairs=40, lambdas=5), "fp32")
    assert net.images == 40 * (2 + 3) + 4 * 8
    for row, x, y in ((rows[-1], xa, ya), (rows[0], xb, yb)):
        own = torch.nn.functional.cross_entropy(Affine()(x).logits, y)
        assert row["label_kl"] == pytest.approx(float(own), rel=1e-5)


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
