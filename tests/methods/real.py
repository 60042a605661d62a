"""Methods put together as a run puts them together, for tests of single hooks: production's networks, set-up, images and streams."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmark.training.backbones import Source, student_of
from benchmark.training.loop import Fit
from benchmark.training.net import Net
from benchmark.training.run import assemble
from benchmark.training.seeding import Streams
from methods.base import Batch, Component, Context, Mixed, Output, Step
from methods.shared import one_hot
from methods.testing import CLASSES, SOURCE_CLASSES, tiny_run

__all__ = ["CLASSES", "SOURCE_CLASSES", "Ready", "noise", "pair", "put_together", "random_net", "rng", "sample", "step", "swapped"]


class Ready(NamedTuple):
    """A run of one method before its first step, set-up done, the student in training mode."""

    component: Any
    ctx: Context
    fit: Fit


Make = Callable[..., Ready]


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


def random_backbone(folder: Path, dtype: torch.dtype) -> str:
    """:func:`random_net` as a checkpoint: the backbone's name in a sweep."""
    file = folder / f"{str(dtype).removeprefix('torch.')}.safetensors"
    if not file.exists():
        net = random_net().body
        save_file({k: (v.to(dtype) if v.is_floating_point() else v).contiguous() for k, v in net.state_dict().items()}, file)
    return f"test_resnet@{file}"


def put_together(images: Path, backbone: str, method: str, training: dict[str, Any] | None = None, seed: int = 0, **options: Any) -> Ready:
    """The run of ``method`` with ``options``, as production assembles it."""
    entry = {"name": "method under test", "use": method, **options}
    fit, _, _ = assemble(tiny_run(images, backbone, entry, training={"log_every": 1, **(training or {})}, seeds=[seed]))
    fit.pipeline.enter(0, fit.ctx)
    return Ready(fit.pipeline._named[0][1], fit.ctx, fit)


def pair(architecture: str = "test_resnet", component: Component | None = None, **options: Any) -> tuple[Net, Net]:
    """A student with a new head and its frozen source network, tapped as ``component`` asks."""
    net = random_net(architecture, **options).eval().requires_grad_(False)
    source = Source(net, SOURCE_CLASSES, (0.5,) * 3, (0.5,) * 3, "random")
    student = student_of(source, CLASSES, Streams("tiny", 1.0, 0))
    for each in (student, net):
        each.tap(component.taps(each) if component else ())
    return student.train(), net


def noise(n: int = 6, size: int = 32, seed: int = 0, dtype: torch.dtype = torch.float32) -> Batch:
    """A batch without a run: normal noise, classes in turn."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, size, size, generator=generator).to(dtype)
    return Batch(x, torch.arange(n) % CLASSES, torch.arange(n))


def whole(ctx: Context) -> Batch:
    """All training images of the run, in order."""
    return Batch(*(torch.cat(parts) for parts in zip(*(batch[:3] for batch in ctx.train_pass(16)), strict=True)))


def sample(ctx: Context, n: int = 6) -> Batch:
    """The first training images of each class of the run, ``n`` in all, classes in turn."""
    every = whole(ctx)
    rows = torch.stack([(every.y == c).nonzero().flatten()[: -(-n // CLASSES)] for c in range(CLASSES)], 1).flatten()[:n]
    return Batch(every.x[rows], every.y[rows], every.index[rows])


def step(ctx: Context, batch: Batch, i: int = 0, mixed: Mixed | None = None, out: Output | None = None) -> Step:
    """Step ``i`` on ``batch``, after the student's forward; without ``mixed`` on the images as they are."""
    mixed = Mixed(batch.x, one_hot(batch.y, CLASSES).to(batch.x.dtype)) if mixed is None else mixed
    return Step(i, ctx, batch, mixed, ctx.net(mixed.x) if out is None else out)


def swapped(batch: Batch, lam: float = 0.3) -> Mixed:
    """The batch mixed with itself in reversed order."""
    perm = torch.arange(len(batch.y) - 1, -1, -1)
    mixed = Mixed(batch.x, one_hot(batch.y, CLASSES).to(batch.x.dtype), perm, lam)
    return mixed._replace(x=mixed.blend(batch.x), target=mixed.blend(mixed.target))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def widened(convert: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """``convert``, whose images are float64."""
    return lambda self, raw: convert(self, raw).double()
