"""Gradual unfreezing: train the classifier first, then one more stage from the top at a time.

Howard and Ruder: Universal Language Model Fine-tuning for Text Classification. ACL 2018.

    stage s of S trains from step round(k u T / S) on,   k = S - s,   s = S - 1 .. 0;   the classifier from step 0 on

S: stages of the backbone as timm's ``feature_info`` names them, shallow to deep (stage 0 holds the stem; what follows the last stage
belongs to it); T: total steps; u: ``until``, 1/2: the part of the run over which the stages are spread at equal distance.

Deviations from the authors' code: there one more layer per epoch, for a language model; the part of the run is ours. BatchNorm of a stage
that does not train runs in eval mode, so that its statistics stay the source's until then. A stage's momentum starts at zero.
"""

from typing import ClassVar

from torch import nn

from methods.base import Component, Net
from methods.shared import batch_norms, ensure, stage_numbers


def unfrozen_at(until: float, total_steps: int, stages: int) -> tuple[int, ...]:
    """The step at which each stage begins to train, stage 0 first."""
    return tuple(round((stages - stage) * until * total_steps / stages) for stage in range(stages))


class GradualUnfreezing(Component):
    """The order of training. until: u, in [0, 1] (0: everything trains from the first step on)."""

    paper = "Howard and Ruder, ACL 2018"
    color = "#6b4c1e"
    marker = "P"
    neutral: ClassVar = {"until": 0.0}

    def __init__(self, *, until: float = 0.5) -> None:
        ensure(0 <= until <= 1, "until must lie in [0, 1]")
        self.until = until
        self._stages = 0

    def check(self, net: Net) -> None:
        ensure(bool(net.stages), "this backbone names no stages to unfreeze one by one")
        self._stages = len(net.stages)

    def phases(self, total_steps: int) -> tuple[int, ...]:
        return unfrozen_at(self.until, total_steps, self._stages)

    def trains(self, i: int, net: Net, total_steps: int) -> list[nn.Parameter]:
        begins = (*unfrozen_at(self.until, total_steps, self._stages), 0)
        return [net.body.get_parameter(name) for name, stage in stage_numbers(net).items() if i >= begins[stage]]

    def train_mode(self, net: Net) -> None:
        for norm in batch_norms(net):
            if norm.affine and not norm.weight.requires_grad:
                norm.eval()
