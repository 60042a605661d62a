"""Parameter groups, the optimizer, and learning-rate schedules in closed form."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from benchmark.config.run_config import Training

BETA2 = 0.999
LARGEST_DENOMINATOR = 1_000_000
"""A milestone is the fraction nearest to its decimal number with at most this denominator, so that .6 of 10,000 steps is exactly 6,000."""


def lr_factor(schedule: str, step: int, total_steps: int, milestone: float | None = None, exp_end: float | None = None) -> float:
    """Learning-rate factor at ``step`` (from 0) of ``total_steps``.

    ``step``: 1 while step < milestone * total, in exact integers, then .1; without a milestone it is 2/3 (SMILE's authors' rule).
    ``cosine``: from 1 to 0. ``exp``: from 1 to ``exp_end`` (.01). ``constant``: 1.
    """
    progress = step / total_steps
    if schedule == "step":
        part = Fraction(2, 3) if milestone is None else Fraction(milestone).limit_denominator(LARGEST_DENOMINATOR)
        return 1.0 if step < part * total_steps else 0.1
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "exp":
        return (0.01 if exp_end is None else exp_end) ** progress
    return 1.0


def build_optimizer(
    config: Training,
    backbone: Sequence[nn.Parameter],
    head: Sequence[nn.Parameter],
    extra: Sequence[tuple[nn.Module, float]],
    claimed_decay: Callable[[str], float | None],
    lr_factors: Mapping[nn.Parameter, float] | None = None,
    no_decay: Collection[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """The optimizer over the groups ``backbone``, ``head`` and one ``extra`` per module.

    claimed_decay: the L2 coefficient that a component sets for a group; None leaves it the run's own. lr_factors: on the rates of
    parameters of the backbone. no_decay: parameters without decay. ``backbone`` and ``head`` become one group per factor and decay.
    Each group keeps its base rate in ``base_lr``; :func:`set_lr` scales it.

    ``sgd``: momentum; every decay is coupled, g += d w. ``adamw``: betas (momentum, .999), eps 1e-8. The run's own decay is decoupled,
    w -= lr d w beside Adam's step (Loshchilov and Hutter, ICLR 2019, as PyTorch scales it). A claimed decay is part of its method's
    loss, as L2-SP's ``beta/2 ||v||^2`` is, next to terms that act on the gradient, as its pull ``alpha (w - w0)`` does: it is added to the
    gradient too. Decoupled, it would escape the division by the root of the second moment that the pull goes through, and the point
    where the two balance, ``alpha w0 / (alpha + wd_backbone)``, would move with the size of the gradients. So under ``adamw`` a method
    whose claim equals the run's own decay still differs from fine-tuning, which it does not under ``sgd``.
    """
    groups = _split("backbone", backbone, config.lr, lr_factors or {}, no_decay)
    groups += _split("head", head, config.lr * config.head_lr_factor, {}, no_decay)
    groups += [
        {"name": "extra", "params": [p for p in module.parameters() if p.requires_grad], "base_lr": config.lr * factor, "decays": True}
        for module, factor in extra
    ]
    for group in groups:
        claim = claimed_decay(group["name"])
        group["weight_decay"] = (config.weight_decay if claim is None else claim) if group.pop("decays") else 0.0
        group["lr"] = group["base_lr"]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        sgd = torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.nesterov, fused=True)
        if config.momentum:
            sgd.register_step_pre_hook(_start_momentum)
        return sgd
    for group in groups:
        group["decoupled_weight_decay"] = claimed_decay(group["name"]) is None
    return torch.optim.Adam(groups, betas=(config.momentum, BETA2), fused=True)  # AdamW itself decouples all groups when a state is loaded


def _start_momentum(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Momentum 0 for parameters that take their first step beside others that took theirs: the fused step wants it for all or for none."""
    for group in optimizer.param_groups:
        fresh = [p for p in group["params"] if p.grad is not None and optimizer.state[p].get("momentum_buffer") is None]
        if len(fresh) < sum(p.grad is not None for p in group["params"]):
            for p in fresh:
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)


def _split(
    name: str, params: Sequence[nn.Parameter], lr: float, factors: Mapping[nn.Parameter, float], no_decay: Collection[nn.Parameter]
) -> list[dict[str, Any]]:
    """``params`` as groups of equal rate and decay, in the order of their first parameters."""
    parts: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for p in params:
        if p.requires_grad:
            parts.setdefault((factors.get(p, 1.0), p not in no_decay), []).append(p)
    return [{"name": name, "params": part, "base_lr": lr * factor, "decays": decays} for (factor, decays), part in parts.items()]


def set_lr(optimizer: torch.optim.Optimizer, factor: float, head_factor: float = 1.0) -> None:
    """Scale every group's base rate by ``factor``, the head's also by ``head_factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor * (head_factor if group["name"] == "head" else 1.0)
