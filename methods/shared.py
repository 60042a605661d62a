"""Pure functions that several methods use. Randomness comes in as a generator or as a value already drawn."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Batch, Context, MethodError, Mixed, Net

NOISE_SIDE = 32
"""Side of the noise that FMix's masks are made of."""


def ensure(condition: bool, message: str) -> None:
    """Raise :class:`MethodError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise MethodError(message)


def fraction(value: float) -> float:
    """``value`` of an option ``off_last``, which lies in [0, 1]."""
    ensure(0 <= value <= 1, "off_last must lie in [0, 1]")
    return value


def wide(t: Tensor) -> Tensor:
    """``t`` in float32, or as it is when already float32 or float64: losses are never summed in half precision."""
    return t if t.dtype in (torch.float32, torch.float64) else t.float()


def to_device(t: Tensor, device: torch.device) -> Tensor:
    """``t``, made on the CPU, on ``device``; the host does not wait for the copy."""
    return t if device.type == "cpu" else t.pin_memory().to(device, non_blocking=True)


def one_hot(y: Tensor, num_classes: int) -> Tensor:
    """int64 [B] -> float32 [B, num_classes]."""
    return F.one_hot(y, num_classes).float()


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of logits [B, C] against distributions [B, C]: sum over classes, mean over the batch."""
    return -(target * F.log_softmax(wide(logits), dim=1)).sum(1).mean()


def statistics(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Running mean and variance of a BatchNorm layer that keeps them, the tensors themselves."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    return bn.running_mean, bn.running_var


def init_linear(layer: nn.Module, generator: torch.Generator) -> None:
    """Redraw a linear layer in place as torch does by default: weight and bias from U(-1/sqrt(d), 1/sqrt(d)), d inputs.

    ``generator`` lives on the CPU, so that every device gets the same numbers.
    """
    if not isinstance(layer, nn.Linear):
        raise MethodError(f"the classifier is a {type(layer).__name__}; only a linear layer can be redrawn")
    bound = 1 / math.sqrt(layer.in_features)
    for p in layer.parameters():
        draw_uniform(p, bound, generator)


def draw_lam(rng: np.random.Generator, alpha: float, fold: bool = False) -> float:
    """One lambda from Beta(alpha, alpha) by inversion of one uniform: equal draws give comparable lambdas at any alpha.

    alpha = 0 is the neutral end of the family: lambda = 1, nothing is mixed. ``fold`` takes max(lambda, 1 - lambda).
    """
    u = rng.random()
    lam = float(betaincinv(alpha, alpha, u)) if alpha > 0 else 1.0
    return max(lam, 1.0 - lam) if fold else lam


def draw_perm(rng: np.random.Generator, batch: Batch) -> Tensor:
    """A random partner for every sample of the batch: int64 [B] on the batch's device."""
    return to_device(torch.from_numpy(rng.permutation(len(batch.y))), batch.y.device)


def mixup(batch: Batch, num_classes: int, rng: np.random.Generator, alpha: float, fold: bool = False) -> Mixed:
    """Convex combination of two images and of their labels, one lambda per batch."""
    lam, perm = draw_lam(rng, alpha, fold), draw_perm(rng, batch)
    mixed = Mixed(batch.x, one_hot(batch.y, num_classes), perm, lam)
    return mixed._replace(x=mixed.blend(mixed.x), target=mixed.blend(mixed.target))


def cutmix(batch: Batch, num_classes: int, rng: np.random.Generator, alpha: float, prob: float) -> Mixed:
    """With probability ``prob``, a box of the partner image is pasted in; lam is the area that is left of the original."""
    lam, perm = draw_lam(rng, alpha), draw_perm(rng, batch)
    target = one_hot(batch.y, num_classes)
    height, width = batch.x.shape[2:]
    apply, row, column = rng.random() < prob, int(rng.integers(height)), int(rng.integers(width))
    if not apply:
        return Mixed(batch.x, target)
    top, bottom, left, right = cut_box(height, width, lam, row, column)
    x = batch.x.clone()
    x[:, :, top:bottom, left:right] = batch.x[perm, :, top:bottom, left:right]
    mixed = Mixed(x, target, perm, 1.0 - (bottom - top) * (right - left) / (height * width))
    return mixed._replace(target=mixed.blend(target))


def resizemix(batch: Batch, num_classes: int, rng: np.random.Generator, scope: tuple[float, float]) -> Mixed:
    """The whole partner image, shrunk to a side t ~ U(scope) of its own, is pasted at a uniform place; lam is the area that is left."""
    t, perm = rng.uniform(*scope), draw_perm(rng, batch)
    height, width = batch.x.shape[2:]
    row, column = int(rng.integers(height)), int(rng.integers(width))
    top, bottom, left, right = box(height, width, t, row, column)
    target = one_hot(batch.y, num_classes)
    if bottom == top or right == left:
        return Mixed(batch.x, target)
    x = batch.x.clone()
    x[:, :, top:bottom, left:right] = F.interpolate(batch.x[perm], (bottom - top, right - left), mode="nearest")
    mixed = Mixed(x, target, perm, 1.0 - (bottom - top) * (right - left) / (height * width))
    return mixed._replace(target=mixed.blend(target))


def fmix(batch: Batch, num_classes: int, rng: np.random.Generator, alpha: float, decay: float) -> Mixed:
    """The partner shows where low-pass noise is largest, on the share 1 - l of the pixels, l ~ Beta(alpha, alpha); lam is what is left."""
    lam, perm = draw_lam(rng, alpha), draw_perm(rng, batch)
    height, width = batch.x.shape[2:]
    mask = fourier_mask(rng.standard_normal((2, NOISE_SIDE, NOISE_SIDE // 2 + 1)), height, width, 1.0 - lam, decay)
    pasted = to_device(torch.from_numpy(mask), batch.x.device)
    mixed = Mixed(torch.where(pasted, batch.x[perm], batch.x), one_hot(batch.y, num_classes), perm, 1.0 - float(mask.mean()))
    return mixed._replace(target=mixed.blend(mixed.target))


def mixed_by(how: str, batch: Batch, num_classes: int, rng: np.random.Generator, alpha: float, fold: bool = False) -> Mixed:
    """Mixed by the mixer named ``how``, every batch, at its published settings but for ``alpha`` (ResizeMix has none)."""
    match how:
        case "mixup":
            return mixup(batch, num_classes, rng, alpha, fold)
        case "cutmix":
            return cutmix(batch, num_classes, rng, alpha, prob=1.0)
        case "resizemix":
            return resizemix(batch, num_classes, rng, scope=(0.1, 0.8))
        case _:
            return fmix(batch, num_classes, rng, alpha, decay=3.0)


def fourier_mask(normal: np.ndarray, height: int, width: int, share: float, decay: float) -> np.ndarray:
    """bool [height, width]: the top ``share`` of the pixels of low-pass noise, rounded to whole pixels.

    normal: standard normal [2, s, s/2 + 1], real and imaginary part of the spectrum of a real s x s image; each frequency is divided by
    max(its size, 1/s)^decay. The image is upsampled bilinearly.
    """
    side = normal.shape[1]
    size = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    noise = np.fft.irfft2((normal[0] + 1j * normal[1]) / np.maximum(size, 1 / side) ** decay, s=(side, side))
    image = F.interpolate(torch.from_numpy(noise)[None, None], (height, width), mode="bilinear").flatten().numpy()
    mask = np.zeros(height * width, dtype=bool)
    mask[np.argsort(-image, kind="stable")[: round(share * height * width)]] = True
    return mask.reshape(height, width)


def cut_box(height: int, width: int, lam: float, row: int, column: int) -> tuple[int, int, int, int]:
    """CutMix's box (top, bottom, left, right), of area 1 - lam before it is clipped: see :func:`box`."""
    return box(height, width, math.sqrt(1.0 - lam), row, column)


def box(height: int, width: int, side: float, row: int, column: int) -> tuple[int, int, int, int]:
    """The box (top, bottom, left, right) of relative side ``side`` around a centre, clipped at the border.

    A side of odd length c loses a pixel, as it spans centre - c//2 .. centre + c//2 (the rule of CutMix's authors).
    """
    half_h, half_w = int(height * side) // 2, int(width * side) // 2
    return max(row - half_h, 0), min(row + half_h, height), max(column - half_w, 0), min(column + half_w, width)


def stage_groups(net: Net) -> tuple[tuple[str, ...], ...]:
    """Four groups of module names inside ``net.body``, shallow to deep; the last name of a group is where its map is read.

    The last four stages, one each; the blocks of a network of constant resolution (a transformer) in four equal runs.
    """
    stages = net.stages
    if len(stages) > 4 and len({info["reduction"] for info in net.body.feature_info}) == 1:
        cuts = [k * len(stages) // 4 for k in range(5)]
        return tuple(stages[start:stop] for start, stop in itertools.pairwise(cuts))
    return tuple((stage,) for stage in stages[-4:])


def stage_numbers(net: Net) -> dict[str, int]:
    """The stage of each parameter in ``net.body`` by name: 0 for the first of ``net.stages`` and what lies before it, and so on; what
    follows a stage belongs to it, and the classifier has the number after the last."""
    numbers, stage, head = {}, 0, set(net.head_parameters())
    for name, p in net.body.named_parameters():
        stage = next((n for n, module in enumerate(net.stages) if name.startswith(f"{module}.")), stage)
        numbers[name] = len(net.stages) if p in head else stage
    return numbers


Adapter = TypeVar("Adapter", bound=nn.Module)


def adapt(net: Net, wanted: Callable[[str, nn.Module], bool], wrap: Callable[[nn.Module], Adapter]) -> list[Adapter]:
    """Put ``wrap(module)`` in the place of every module of the backbone, by its name, that is ``wanted``; what was put there."""
    found = [(name, module) for name, module in net.body.named_modules() if wanted(name, module)]
    adapters = [wrap(module) for _, module in found]
    for (name, _), adapter in zip(found, adapters, strict=True):
        net.body.set_submodule(name, adapter)
    return adapters


class Redrawn(Protocol):
    """A module whose start is random."""

    def reset(self, generator: torch.Generator) -> None: ...


def redraw(adapters: Sequence[Redrawn], ctx: Context) -> None:
    """Give every adapter its start, from stream ``setup``."""
    generator = ctx.rng.torch("setup")
    for adapter in adapters:
        adapter.reset(generator)


def adapters_and_head(adapters: Sequence[nn.Module], net: Net) -> list[nn.Parameter]:
    """The parameters of the classifier and of the adapters themselves, without those of the modules that they wrap."""
    return [*(p for adapter in adapters for p in adapter.parameters(recurse=False)), *net.head_parameters()]


@torch.no_grad()
def draw_uniform(p: Tensor, bound: float, generator: torch.Generator) -> None:
    """Fill ``p`` from U(-bound, bound); ``generator`` lives on the CPU, so that every device gets the same numbers."""
    p.copy_(to_device(torch.empty(p.shape).uniform_(-bound, bound, generator=generator), p.device))


def batch_norms(net: Net) -> list[nn.modules.batchnorm._BatchNorm]:
    """The BatchNorm layers of the backbone that keep running statistics."""
    found = (m for m in net.body.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return [norm for norm in found if norm.track_running_stats]


@torch.no_grad()
def renew_statistics(ctx: Context) -> None:
    """Take BatchNorm's running statistics anew by one augmented pass over the run's training images, in batches of 64.

    They are the plain mean over the batches (Izmailov et al., UAI 2018); a last batch of one image is left out. Layers that do not run on
    batch statistics keep theirs. All modes are left as found.
    """
    norms = [norm for norm in batch_norms(ctx.net) if norm.training]
    if not norms:
        return
    modules = list(ctx.net.modules())
    modes, momenta = [module.training for module in modules], [norm.momentum for norm in norms]
    ctx.net.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None
    for batch in ctx.train_pass(64, augment=True):
        if len(batch.y) > 1:
            ctx.net(batch.x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in zip(modules, modes, strict=True):
        module.training = mode


def together(tensors: Sequence[Tensor]) -> list[slice]:
    """Which of ``tensors`` several operations in a row should take together.

    On a CPU one after the other, so that each stays in its caches from the first operation to the last; on a device all of them, so that
    each operation is one launch.
    """
    return [slice(n, n + 1) for n in range(len(tensors))] if tensors[0].device.type == "cpu" else [slice(0, len(tensors))]


def squared_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Sum of squared differences between two equally long, non-empty lists of tensors, as one scalar."""
    norms = torch._foreach_norm(torch._foreach_sub(list(a), list(b)))
    return torch.stack(norms).square().sum()


def feature_distance(student: Tensor, teacher: Tensor, norm: str) -> Tensor:
    """Distance between two batches of maps [B, c, h, w], or of pooled features [B, F] (then h = w = 1).

    ``"frob"``: ||student - teacher||_F over the whole batch / (h w). ``"sq_mean"``: mean over the batch of ||.||^2 / (h w).
    """
    difference = wide(student) - wide(teacher)
    area = difference.shape[2:].numel()
    if norm == "frob":
        return torch.linalg.vector_norm(difference) / area
    return difference.square().sum() / (len(difference) * area)
