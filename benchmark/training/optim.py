"""Parameter groups, the optimizer, and learning-rate schedules in closed form."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmark.config import Training


def lr_factor(schedule: str, step: int, total_steps: int) -> float:
    """Learning-rate factor at ``step`` (from 0) of ``total_steps``.

    ``step``: 1 while step < 2/3 of the total, in exact integers, then .1 (SMILE's authors' rule). ``cosine``: from 1 to 0.
    ``exp``: from 1 to .01. ``constant``: 1.
    """
    progress = step / total_steps
    if schedule == "step":
        return 1.0 if 3 * step < 2 * total_steps else 0.1
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "exp":
        return 0.01**progress
    return 1.0


def build_optimizer(
    config: Training,
    backbone: Sequence[nn.Parameter],
    head: Sequence[nn.Parameter],
    extra: Sequence[tuple[nn.Module, float]],
    weight_decay: Callable[[str], float],
) -> torch.optim.Optimizer:
    """SGD with coupled weight decay over the groups ``backbone``, ``head`` and one ``extra`` per module.

    Each group keeps its base rate in ``base_lr``; :func:`set_lr` scales it.
    """
    groups = [
        {"name": "backbone", "params": list(backbone), "base_lr": config.lr},
        {"name": "head", "params": list(head), "base_lr": config.lr * config.head_lr_factor},
    ]
    groups += [{"name": "extra", "params": list(module.parameters()), "base_lr": config.lr * factor} for module, factor in extra]
    for group in groups:
        group["params"] = [p for p in group["params"] if p.requires_grad]
        group["weight_decay"] = weight_decay(group["name"])
        group["lr"] = group["base_lr"]
    groups = [group for group in groups if group["params"]]
    fused = all(p.is_cuda for group in groups for p in group["params"])
    return torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.nesterov, foreach=not fused, fused=fused)


def set_lr(optimizer: torch.optim.Optimizer, factor: float, head_factor: float = 1.0) -> None:
    """Scale every group's base rate by ``factor``, the head's also by ``head_factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor * (head_factor if group["name"] == "head" else 1.0)
