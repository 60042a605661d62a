"""A network that follows another one slowly and gets no gradient: SMILE's mean teacher, Bi-Tuning's key network."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from methods.base import Context, Net


class MomentumCopy:
    """A copy ``net`` of ``start``, whose classifier stands still. ``run``: its forward. Modes are the owner's to set."""

    def __init__(self, start: Net, ctx: Context) -> None:
        self.net = copy.deepcopy(start)
        for p in self.net.parameters():
            p.requires_grad_(False)
        self.run = ctx.frozen(self.net)

    @torch.no_grad()
    def follow(
        self, leader: Net, rate: float, statistics: bool = False, also: tuple[Sequence[Tensor], Sequence[Tensor]] = ((), ())
    ) -> None:
        """Move the backbone by ``rate`` of the way to the leader's, with its floating-point buffers if ``statistics``.

        also: further (followers, leaders), parameters that move along with them.
        """
        own: list[Tensor] = [*self.net.body_parameters(), *also[0]]
        other: list[Tensor] = [*leader.body_parameters(), *also[1]]
        if statistics:
            own += [b for b in self.net.body.buffers() if b.is_floating_point()]
            other += [b for b in leader.body.buffers() if b.is_floating_point()]
        torch._foreach_lerp_(own, other, rate)
        self.run.refresh()

    def state_dict(self) -> dict[str, Any]:
        return self.net.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.net.load_state_dict(state)
        self.run.refresh()
