"""Parts of methods and of evaluation against the forms in which they are usually written: the same numbers, as tests hold, in less time.

ResNet-18 at 96 px, float32, one CPU thread, parts in turn.
"""

import pkgutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmark.perf import steps
from benchmark.perf.measure import CLASSES, Measured, interleaved, own_cache, ratio, show, threads
from benchmark.training.frozen import Runner
from benchmark.training.loop import Fit
from benchmark.training.net import Net
from methods.base import Batch, Edit, Step

ROUNDS = 7
# What is timed is named by its place, as a sweep names a method from outside: the benchmark itself knows no method.
PULL, MEAN_TEACHER = "methods.l2_sp:L2SP", "methods.smile:Smile"
SPECTRUM, IMPORTANCE = "methods.bss:smallest_squared_singular_values", "methods.channel_importance:fast_importance"
PULL_WEIGHT, TEACHER_RATE = 0.01, 0.001
FEATURES = (48, 2048)
NAIVE_FORWARDS = 8


class Pair(NamedTuple):
    """Ours and the usual form of one thing. wanted: the least that usual / ours should be. share: part of the usual work that is timed."""

    what: str
    ours: Callable[[], object]
    usual: Callable[[], object]
    wanted: float | None = None
    share: float = 1.0
    rounds: int = ROUNDS


def measure(setting: steps.Setting = steps.CPU, rounds: int = ROUNDS) -> list[Measured]:
    """Time all pairs on the network of ``setting``."""
    with tempfile.TemporaryDirectory() as folder, own_cache(Path(folder) / "cache"), threads(1):
        pull, teacher = (steps.started(run) for run in steps.configured(Path(folder), setting, (PULL, MEAN_TEACHER)))
        pairs = [_pull(pull), _teacher(teacher), _spectrum(), _importance(pull), _folded(pull), _evaluation(pull)]
        return [_row(pair, min(rounds, pair.rounds)) for pair in pairs]


def _row(pair: Pair, rounds: int) -> Measured:
    times = interleaved({"ours": pair.ours, "usual": pair.usual}, rounds)
    return Measured(pair.what, ratio(times["usual"], times["ours"]) / pair.share, at_least=pair.wanted)


def _pull(fit: Fit) -> Pair:
    """The pull toward the source weights on the gradient, against a sum over parameters in the loss and its backward pass."""
    step = _step_taken(fit)
    pairs = list(zip(fit.net.body_parameters(), fit.ctx.source.body_parameters(), strict=True))

    def usual() -> None:
        total = torch.as_tensor(sum((p - p0).square().sum() for p, p0 in pairs))
        (0.5 * PULL_WEIGHT * total).backward()

    return Pair("pull toward the source: gradient term over loss term", lambda: fit.pipeline.before_step(step), usual)


def _teacher(fit: Fit) -> Pair:
    """One update of a mean teacher, against a loop over its state dict."""
    step, copy = _step_taken(fit), {name: t.detach().clone() for name, t in fit.net.body.state_dict().items()}

    @torch.no_grad()
    def usual() -> None:
        for name, value in fit.net.body.state_dict().items():
            if value.is_floating_point():
                copy[name].copy_((1 - TEACHER_RATE) * copy[name] + TEACHER_RATE * value)

    return Pair("mean teacher: one _foreach over a loop of its state dict", lambda: fit.pipeline.before_step(step), usual)


def _spectrum() -> Pair:
    features = torch.randn(FEATURES, generator=torch.Generator().manual_seed(0), requires_grad=True)
    ours = pkgutil.resolve_name(SPECTRUM)
    usual = lambda: torch.linalg.svdvals(features)[-1].square().backward()
    return Pair("smallest singular value: Gram matrix over decomposition", lambda: ours(features, 1).backward(), usual)


def _importance(fit: Fit) -> Pair:
    """Importance of every channel of four stages, against one whole forward per channel (a few are timed)."""
    net, batch, taps = cast(Net, fit.ctx.source), fit.stream.batch(0), fit.ctx.source.stages[-4:]
    net.tap(taps)
    assert isinstance(net.head, nn.Linear)
    head, fast = nn.Linear(net.head.in_features, CLASSES), pkgutil.resolve_name(IMPORTANCE)
    channels = sum(net(batch.x).maps[tap].shape[1] for tap in taps)

    @torch.no_grad()
    def usual() -> None:
        for n in range(NAIVE_FORWARDS):
            head(net(batch.x, _without(taps[n % len(taps)], n)).features)

    ours = lambda: [fast(net, head, tap, batch.x, batch.y) for tap in taps]
    return Pair("channel importance: from the tapped layer over whole forwards", ours, usual, 5, NAIVE_FORWARDS / channels, rounds=1)


def _without(tap: str, channel: int) -> Edit:
    def blank(t: Tensor) -> Tensor:
        return t * torch.arange(t.shape[1]).ne(channel).to(t.dtype)[:, None, None]

    return Edit(tap, blank)


def _folded(fit: Fit) -> Pair:
    x = fit.stream.batch(0).x
    ours, usual = (Runner(fit.ctx.source, fold=fold, compile=False) for fold in (True, False))
    return Pair("frozen forward: BatchNorm folded over not", lambda: ours(x), lambda: usual(x))


def _evaluation(fit: Fit) -> Pair:
    x = torch.cat([fit.stream.batch(n).x for n in range(2)]).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def ours() -> None:
        fit.ctx.source(x)

    def usual() -> None:
        for part in x.split(8):
            fit.ctx.source(part.requires_grad_())

    return Pair("evaluation: large batches in inference mode over batches of 8 with autograd", ours, usual)


def _step_taken(fit: Fit) -> Step:
    """Step 0 after its backward pass."""
    batch = Batch(*fit.stream.batch(0))
    mixed = fit.pipeline.mix(batch, fit.ctx.num_classes, fit.ctx, 0)
    step = Step(0, fit.ctx, batch, mixed, fit.net(mixed.x))
    torch.stack(list(fit.pipeline.losses(step).values())).sum().backward()
    return step


def report(console: Console) -> list[Measured]:
    """Measure and print the ratios."""
    return show(console, "usual form over ours, CPU seconds", measure())
