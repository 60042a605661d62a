"""SPD and FTP, element by element in float64."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from methods.base import Component
from methods.ftp import Ftp, row_norms
from methods.spd import Spd, inner_products
from methods.testing import Trial, trained


class Bare:
    """As much of a context and a step as a projection reads: parameters, their source, a scratch."""

    def __init__(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        rng = torch.Generator().manual_seed(0)
        self.start = [torch.randn(shape, dtype=torch.float64, generator=rng) for shape in shapes]
        self.params = [nn.Parameter(p.clone()) for p in self.start]
        self.net = self.ctx = self
        self.source = type("Source", (), {"body_parameters": lambda _: self.start})()
        self.scratch: dict[str, object] = {}

    def body_parameters(self) -> list[nn.Parameter]:
        return self.params

    def step(self, component: Component, gradients: list[Tensor], lr: float) -> None:
        for p, g in zip(self.params, gradients, strict=True):
            p.grad = g.clone()
        self.scratch = {}
        component.before_step(self)
        with torch.no_grad():
            for p in self.params:
                p -= lr * p.grad
        component.after_step(self)


def draws(shapes: tuple[tuple[int, ...], ...], n: int) -> list[list[Tensor]]:
    rng = torch.Generator().manual_seed(1)
    return [[torch.randn(shape, dtype=torch.float64, generator=rng) for shape in shapes] for _ in range(n)]


SHAPES = ((2, 3), (4,), (3, 2, 2))


@pytest.mark.parametrize("count", [1, 3])
def test_inner_products_of_one_pair_and_of_several(count: int) -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = ([torch.randn(4, 3, n + 1, generator=rng, dtype=torch.float64) for n in range(count)] for _ in range(2))
    expected = torch.stack([torch.dot(x.flatten(), y.flatten()) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(inner_products(a, b), expected)


def test_spd_pulls_back_where_gradient_and_way_agree() -> None:
    world, component = Bare(SHAPES), Spd(weight=0.7)
    component.setup(world)
    values = [p.clone() for p in world.start]
    pulled = 0
    for gradients in draws(SHAPES, 6):
        world.step(component, gradients, 0.3)
        for n, (w0, g) in enumerate(zip(world.start, gradients, strict=True)):
            away = [(values[n].flatten()[k] - w0.flatten()[k]).item() for k in range(w0.numel())]
            condition = -sum(a * b for a, b in zip(away, g.flatten().tolist(), strict=True))
            new = values[n] - 0.3 * g
            if condition < 0:
                far, near = sum((new - w0).flatten() ** 2).sqrt().item(), sum(a * a for a in away) ** 0.5
                new = new - 0.7 * min(max((far - near) / far, 0.0), 1.0) * (new - w0)
                pulled += far > near
            values[n] = new
            torch.testing.assert_close(world.params[n].detach(), new, rtol=1e-10, atol=1e-12)
    assert pulled > 0


def test_ftp_projects_each_row_to_a_radius_that_follows_adam() -> None:
    world, component = Bare(SHAPES), Ftp(lr=0.2, k=0.5)
    component.setup(world)
    c, m, v = [1e-8] * 3, [0.0] * 3, [0.0] * 3
    previous: list[Tensor] = []
    values = [p.clone() for p in world.start]
    for t, gradients in enumerate(draws(SHAPES, 5)):
        before = [value.clone() for value in values]
        world.step(component, gradients, 0.3)
        for n, (w0, g) in enumerate(zip(world.start, gradients, strict=True)):
            rows = lambda x: [x] if x.ndim == 1 else list(x)
            if previous:
                slope = sum((a * b).sum().item() / b.abs().sum().item() for a, b in zip(rows(g), rows(previous[n]), strict=True))
                slope = 0.5 * slope if slope > 0 else slope
                m[n], v[n] = 0.9 * m[n] + 0.1 * slope, 0.999 * v[n] + 0.001 * slope**2
                c[n] -= 0.2 * m[n] / (1 - 0.9**t) / ((v[n] / (1 - 0.999**t)) ** 0.5 + 1e-8)
            u = values[n] - 0.3 * g - w0
            norms = [row.abs().sum().item() for row in rows(u)]
            c[n] = max(min(c[n], max(norms)), 1e-8)
            new = [w + min(max(c[n] / size, 0.0), 1.0) * row for w, row, size in zip(rows(w0), rows(u), norms, strict=True)]
            values[n] = torch.stack(new).view(w0.shape)
            torch.testing.assert_close(world.params[n].detach(), values[n], rtol=1e-9, atol=1e-11)
            if t == 0:
                torch.testing.assert_close(values[n], w0, rtol=0, atol=1e-7)
        previous = [value - 0.3 * g - w0 for value, g, w0 in zip(before, gradients, world.start, strict=True)]
    assert row_norms(torch.ones(4)).tolist() == [4.0]


@pytest.mark.parametrize("name", ["spd", "ftp"])
def test_the_backbone_stays_nearer_to_its_source_than_by_fine_tuning(name: str, images: Path, backbone: str) -> None:
    def far(method: str) -> float:
        run = trained(Trial(method, {}, images, backbone).run, 5)
        pairs = zip(run.net.body_parameters(), run.ctx.source.body_parameters(), strict=True)
        return sum((p - p0).square().sum().item() for p, p0 in pairs)

    assert far(name) < far("fine_tuning")
