"""A small network with its context and steps, for tests of single components."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor

from benchmark.training.net import Net
from benchmark.training.seeding import Streams
from methods.base import Batch, Component, Context, Mixed, Output, Step
from methods.shared import one_hot

SOURCE_CLASSES = 7
CLASSES = 3


def random_net(architecture: str = "test_resnet", classes: int = SOURCE_CLASSES, seed: int = 0, **options: Any) -> Net:
    """A randomly initialised net whose BatchNorm statistics and affine parameters are random too."""
    torch.manual_seed(seed)
    net = Net(timm.create_model(architecture, num_classes=classes, **options))
    with torch.no_grad():
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            if "running_var" in name:
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(torch.randn_like(tensor), alpha=0.1)
    return net


def pair(architecture: str = "test_resnet", component: Component | None = None, **options: Any) -> tuple[Net, Net]:
    """A student with a new head and its frozen source network, tapped as ``component`` asks."""
    source = random_net(architecture, **options).eval().requires_grad_(False)
    student = random_net(architecture, **options)
    student.body.reset_classifier(CLASSES)
    for net in (student, source):
        net.tap(component.taps(net) if component else ())
    return student.train(), source


def images(n: int = 6, size: int = 32, seed: int = 0, dtype: torch.dtype = torch.float32) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, size, size, generator=rng).to(dtype)
    return Batch(x, torch.arange(n) % CLASSES, torch.arange(n))


def context(student: Net, source: Net, batch: Batch | None = None, total_steps: int = 10, lr: float | None = 0.1, seed: int = 0) -> Context:
    """A context whose training set is ``batch``; ``cached`` computes every time."""
    batch = images() if batch is None else batch

    def train_pass(batch_size: int, augment: bool = False, batches: int | None = None) -> Iterator[Batch]:
        rows = torch.arange(len(batch.y)).split(batch_size)
        for i in rows[: len(rows) if batches is None else batches]:
            yield Batch(batch.x[i], batch.y[i], batch.index[i])

    def cached(name: str, options: Mapping[str, Any], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        return compute()

    optimizer = None if lr is None else torch.optim.SGD(student.parameters(), lr=lr, momentum=0.9)
    return Context(
        net=student,
        source=source,
        train_pass=train_pass,
        num_classes=CLASSES,
        num_source_classes=SOURCE_CLASSES,
        total_steps=total_steps,
        device=batch.x.device,
        rng=Streams("tiny", 1.0, seed),
        cached=cached,
        optimizer=optimizer,
    )


def step(ctx: Context, batch: Batch, i: int = 0, mixed: Mixed | None = None, out: Output | None = None) -> Step:
    """Step ``i`` on ``batch``, unmixed unless told otherwise, after the student's forward."""
    mixed = Mixed(batch.x, one_hot(batch.y, CLASSES).to(batch.x.dtype)) if mixed is None else mixed
    return Step(i, ctx, batch, mixed, ctx.net(mixed.x) if out is None else out)


def swapped(batch: Batch, lam: float = 0.3) -> Mixed:
    """The batch mixed with itself in reversed order."""
    perm = torch.arange(len(batch.y) - 1, -1, -1)
    mixed = Mixed(batch.x, one_hot(batch.y, CLASSES).to(batch.x.dtype), perm, lam)
    return mixed._replace(x=mixed.blend(batch.x), target=mixed.blend(mixed.target))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)
