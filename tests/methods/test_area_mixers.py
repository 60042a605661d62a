"""ResizeMix, FMix, RegMixup and SnapMix: shares of pixels, masks and label weights, counted pixel by pixel."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.base import Batch
from methods.regmixup import RegMixup
from methods.shared import fmix, fourier_mask, resizemix, soft_cross_entropy
from methods.snapmix import mass, snap
from methods.testing import Trial, trained


def coded(n: int = 4, size: int = 20) -> Batch:
    """Images whose every pixel says which image it is from."""
    return Batch(torch.arange(n).float().view(n, 1, 1, 1).expand(n, 3, size, size).clone(), torch.arange(n) % 3, torch.arange(n))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["resizemix", "fmix"])
def test_lam_is_the_share_of_pixels_that_are_left(kind: str, seed: int) -> None:
    batch, rng = coded(), np.random.default_rng(seed)
    mixed = resizemix(batch, 3, rng, (0.1, 0.8)) if kind == "resizemix" else fmix(batch, 3, rng, 1.0, 3.0)
    assert mixed.perm is not None
    for b in range(4):
        partner = int(mixed.perm[b])
        pixels = mixed.x[b, 0].flatten().tolist()
        pasted = sum(value == partner for value in pixels) if partner != b else round((1 - mixed.lam) * 400)
        assert sum(value in (b, partner) for value in pixels) == 400
        assert 1 - mixed.lam == pytest.approx(pasted / 400, abs=1e-12)
        expected = [0.0, 0.0, 0.0]
        expected[b % 3] += mixed.lam
        expected[partner % 3] += 1 - mixed.lam
        assert mixed.target[b].tolist() == pytest.approx(expected)


def test_resizemix_shows_the_whole_partner_shrunk() -> None:
    batch = coded(2, 8)
    picture = torch.arange(64.0).view(8, 8)
    batch = batch._replace(x=batch.x * 0 + picture)
    for seed in range(20):
        mixed = resizemix(batch, 3, np.random.default_rng(seed), (0.5, 0.5))
        rows, columns = np.nonzero((mixed.x[0, 0] != picture).numpy())
        if mixed.lam == 0.75:
            small = picture[::2, ::2]
            assert any(torch.equal(mixed.x[0, 0, r : r + 4, c : c + 4], small) for r in range(5) for c in range(5))
            return
        assert len(rows) == len(columns)
    pytest.fail("no box lay inside the image")


def test_an_fmix_mask_is_the_top_share_of_low_pass_noise() -> None:
    """Each frequency of the inverse transform summed by hand, on a grid of the mask's own size."""
    side, normal = 8, np.random.default_rng(0).standard_normal((2, 8, 5))
    image = np.zeros((side, side))
    for u in range(side):
        for v in range(side):
            if v <= side // 2:
                z = complex(normal[0, u, v], normal[1, u, v])
            else:
                z = complex(normal[0, -u % side, side - v], -normal[1, -u % side, side - v])
            if v in (0, side // 2):  # a real image keeps the Hermitian part of these columns alone
                other = complex(normal[0, -u % side, v], -normal[1, -u % side, v])
                z = (z + other) / 2
            fu, fv = (min(k, side - k) / side for k in (u, v))
            scale = max(math.hypot(fu, fv), 1 / side) ** 3
            for r in range(side):
                for c in range(side):
                    image[r, c] += (z / scale * np.exp(2j * math.pi * (u * r + v * c) / side)).real
    mask = fourier_mask(normal, side, side, 0.3, 3.0)
    top = sorted(image.flatten(), reverse=True)[round(0.3 * 64) - 1]
    assert mask.sum() == round(0.3 * 64)
    assert np.array_equal(mask, image >= top - 1e-9)


def test_regmixups_loss_is_the_mean_of_the_clean_and_the_mixed_one() -> None:
    batch = coded()
    mixed = RegMixup().mix(batch, 3, np.random.default_rng(0))
    logits = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_p = logits.log_softmax(1)
    total = 0.0
    for b in range(4):
        y, partner = int(batch.y[b]), int(batch.y[mixed.perm[b]])
        total += -log_p[b, y].item() / 4
        total += -(mixed.lam * log_p[4 + b, y] + (1 - mixed.lam) * log_p[4 + b, partner]).item() / 4
    assert soft_cross_entropy(logits, mixed.target.double()).item() == pytest.approx(total / 2, rel=1e-7)
    assert torch.equal(mixed.x[:4], batch.x)
    torch.testing.assert_close(mixed.x[4:], mixed.lam * batch.x + (1 - mixed.lam) * batch.x[mixed.perm])


OWN, PARTNER = (2, 12, 5, 15), (0, 5, 0, 8)


def shares(activation: Tensor, box: tuple[int, int, int, int]) -> list[float]:
    found = []
    for image in activation.tolist():
        low = min(map(min, image))
        every = sum(value - low for row in image for value in row)
        found.append(sum(image[r][c] - low for r in range(box[0], box[1]) for c in range(box[2], box[3])) / every)
    return found


def test_snapmix_weighs_labels_by_the_maps_mass_in_the_boxes() -> None:
    batch, perm = coded(), torch.tensor([3, 2, 1, 0])
    activation = torch.rand(4, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mixed = snap(batch, 3, activation, perm, OWN, PARTNER)
    inside, given = shares(activation, OWN), shares(activation, PARTNER)
    for b in range(4):
        partner = int(perm[b])
        own, other = 1 - inside[b], given[partner]
        expected = [0.0, 0.0, 0.0]
        if batch.y[b] == batch.y[partner]:
            expected[int(batch.y[b])] = 2 * (own + other)
        else:
            expected[int(batch.y[b])] += own
            expected[int(batch.y[partner])] += other
        assert mixed.target[b].tolist() == pytest.approx(expected, rel=1e-9)
        assert mixed.x[b, 0].isclose(torch.tensor(float(partner))).sum() == 100
    assert mixed.lam == 0.75
    assert any(abs(t - 1) > 1e-3 for t in mixed.target.sum(1).tolist())


def test_a_flat_or_broken_map_weighs_by_areas_as_cutmix() -> None:
    batch, perm = coded(3), torch.tensor([1, 2, 0])
    for value in (1.0, math.nan):
        activation = torch.full((3, 20, 20), value, dtype=torch.float64)
        mixed = snap(batch, 3, activation, perm, OWN, PARTNER)
        for b in range(3):
            assert mixed.target[b, b % 3].item() == pytest.approx(0.75)
            assert mixed.target[b, int(batch.y[perm[b]])].item() == pytest.approx(0.25)
    assert mass(activation, OWN, 0.5).tolist() == [0.5] * 3


def test_snapmix_reads_the_present_network_and_leaves_it_as_it_is(images: Path, backbone: str) -> None:
    run = trained(Trial("snapmix", {}, images, backbone).run, 1)
    batch = Batch(*run.stream.batch(1))
    statistics = [b.clone() for b in run.net.buffers()]
    first = run.pipeline.mix(batch, 3, run.ctx, 1)
    assert all(map(torch.equal, statistics, run.net.buffers()))
    assert run.net.training
    with torch.no_grad():
        run.net.head.weight.copy_(run.net.head.weight.flip(1))
    assert not torch.equal(first.target, run.pipeline.mix(batch, 3, run.ctx, 1).target)
