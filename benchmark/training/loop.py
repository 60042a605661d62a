"""The training loop that all methods share.

trains -> mix -> before_forward -> forward -> penalties -> backward -> second_pass -> before_step -> optimizer step -> after_step
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmark.config.run_config import Training
from benchmark.training.checkpoint import Checkpoints, Snapshots
from benchmark.training.evaluate import autocast
from benchmark.training.optim import lr_factor, set_lr
from benchmark.training.pipeline import Pipeline
from benchmark.training.session import Interrupted, Session
from datasets.stream import Preprocess, TrainStream
from methods.base import Batch, Context, Mixed, Net, Step


class Diverged(RuntimeError):
    """A loss term is no longer finite."""


@dataclass
class Fit:
    """What training consists of, and how far it is. ``curves``: one row per log point.

    elapsed: seconds in the loop over all claims, without those in which checkpoints and snapshots are written. spared: seconds of set-up
    passes whose results an earlier run has left.
    """

    config: Training
    preprocess: Preprocess
    ctx: Context
    pipeline: Pipeline
    stream: TrainStream
    optimizer: torch.optim.Optimizer
    precision: str
    forward: Callable[..., Any]
    step: int = 0
    elapsed: float = 0.0
    spared: float = 0.0
    resumes: int = 0
    curves: list[dict[str, float]] = field(default_factory=list)

    @property
    def net(self) -> Net:
        return self.ctx.net

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "elapsed": self.elapsed,
            "resumes": self.resumes,
            "curves": self.curves,
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pipeline": self.pipeline.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.elapsed, self.curves = state["step"], state["elapsed"], state["curves"]
        self.resumes = state["resumes"] + 1
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.pipeline.load_state_dict(state["pipeline"])


def train(fit: Fit, session: Session, checkpoints: Checkpoints, snapshots: Snapshots) -> None:
    """Train ``fit`` to its last step, saving when due and when asked to stop (then raising ``Interrupted``)."""
    total, device = fit.config.steps, fit.ctx.device
    offset, first, since = fit.elapsed, fit.step, time.monotonic()
    while fit.step < total:
        train_step(fit, fit.step)
        fit.step += 1
        now = time.monotonic()
        fit.elapsed, since = fit.elapsed + now - since, now
        rate = (fit.step - first) * fit.stream.batch_size / max(fit.elapsed - offset, 1e-9)
        session.progress(fit.step, total, "train", rate)
        stop = session.stop_requested()
        save = stop or fit.step == total or checkpoints.due()
        if save or snapshots.due(fit.step):
            if device.type == "cuda":
                torch.cuda.synchronize(device)  # what the device has still to do is training, not saving
            fit.elapsed += time.monotonic() - since
            if snapshots.due(fit.step):
                snapshots.save(fit.net, fit.step, session.check)
            if save:
                session.check()
                checkpoints.save(fit.state_dict())
            since = time.monotonic()  # the clock stood still while files were written
        if stop and fit.step < total:
            raise Interrupted(f"stopped at step {fit.step} of {total}")
    fit.pipeline.finish(fit.ctx)  # not in the checkpoint: killed in here, a run resumes at its last step and comes back


def train_step(fit: Fit, i: int) -> None:
    """Step ``i`` (from 0): it depends on ``i`` and the state alone."""
    ctx, pipeline, config = fit.ctx, fit.pipeline, fit.config
    batch, mixed = shown(fit, i)
    head_factor = pipeline.head_lr_factor(i, config.steps)
    set_lr(fit.optimizer, lr_factor(config.schedule, i, config.steps, config.milestone, config.exp_end), head_factor)
    pipeline.before_forward(i, ctx)
    step, terms = _gradient(fit, i, batch, mixed)
    again = pipeline.second_pass(step)
    if again is not None:
        with again, _buffers_kept(fit.net):
            _gradient(fit, i, batch, mixed)
    pipeline.before_step(step)
    if (i + 1) % config.log_every == 0 or i + 1 == config.steps:
        with torch.no_grad():
            _log(fit, step, {**terms, **pipeline.monitor(step)})
    fit.optimizer.step()
    pipeline.after_step(step)


def shown(fit: Fit, i: int) -> tuple[Batch, Mixed]:
    """The batch of step ``i``, and what the network is shown of it."""
    fit.pipeline.enter(i, fit.ctx)
    batch = Batch(*fit.stream.batch(i))
    return batch, fit.pipeline.mix(batch, fit.ctx.num_classes, fit.ctx, i)


def _gradient(fit: Fit, i: int, batch: Batch, mixed: Mixed) -> tuple[Step, dict[str, Tensor]]:
    """One forward and backward at the present weights. The noise (dropout) depends on ``i`` alone."""
    ctx = fit.ctx
    _seed(ctx.device, ctx.rng.seed("noise", i))
    with autocast(ctx.device, fit.precision):
        step = Step(i, ctx, batch, mixed, fit.forward(mixed.x, mixed.edit))
        terms = fit.pipeline.losses(step)
    loss = torch.stack(list(terms.values())).sum()
    fit.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    return step, {"total": loss, **terms}


@contextmanager
def _buffers_kept(net: Net) -> Iterator[None]:
    """Put the network's buffers back afterwards."""
    buffers = list(net.buffers())
    saved = [b.clone() for b in buffers]
    yield
    if buffers:
        torch._foreach_copy_(buffers, saved)


def _seed(device: torch.device, seed: int) -> None:
    """What ``torch.manual_seed`` does for the CPU and this device, without asking every other backend: a tenth of a millisecond."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _log(fit: Fit, step: Step, terms: dict[str, Tensor]) -> None:
    values = dict(zip(terms, torch.stack([t.float() for t in terms.values()]).tolist(), strict=True))
    lrs = {name: [group["lr"] for group in fit.optimizer.param_groups if group["name"] == name] for name in ("backbone", "head")}
    rates = {f"lr/{name}": max(each) for name, each in lrs.items() if each}
    row = {"step": step.i + 1, **rates, **{f"loss/{name}": value for name, value in values.items()}}
    fit.curves.append({**row, "images_per_second": (step.i + 1) * fit.stream.batch_size / fit.elapsed if fit.elapsed else 0.0})
    broken = [name for name, value in values.items() if name != "total" and not abs(value) < float("inf")]
    if broken or not abs(values["total"]) < float("inf"):
        raise Diverged(f"loss is not finite at step {step.i + 1}: {', '.join(broken) or 'total'}")
