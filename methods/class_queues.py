"""Queues of the last keys of each class, for contrastive terms."""

from collections.abc import Mapping

import torch
from torch import Tensor


def slots(y: Tensor, pointer: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where the keys of labels y [B] go in queues of ``size`` per class, and the moved pointers [C].

    Keys of one class take consecutive places, in batch order. Of more than ``size`` keys of a class the first ones get the place behind
    the last queue, C * size, which nobody reads.
    """
    seen = (y[:, None] == torch.arange(len(pointer), device=y.device)).cumsum(0)
    counts, rank = seen[-1], seen.gather(1, y[:, None]).squeeze(1) - 1
    place = y * size + (pointer[y] + rank) % size
    stale = rank < counts[y] - size
    return place.masked_fill(stale, len(pointer) * size), (pointer + counts) % size


class ClassQueues:
    """Queues of ``size`` keys per class, of several kinds.

    start: {kind: [C * size + 1, d]}, what the queues hold until it is replaced; the last row takes keys that nobody reads.
    state: these tensors now, ``pointer`` [C], and ``filled`` [C * size + 1], which places hold a key that was put there.
    """

    def __init__(self, start: Mapping[str, Tensor], num_classes: int) -> None:
        first = next(iter(start.values()))
        self.size = (len(first) - 1) // num_classes
        self._owner = torch.arange(len(first) - 1, device=first.device) // self.size
        pointer = torch.zeros(num_classes, dtype=torch.int64, device=first.device)
        self.state = {**start, "pointer": pointer, "filled": torch.zeros(len(first), dtype=torch.bool, device=first.device)}

    def similarities(self, query: Tensor, kind: str, filled_only: bool) -> Tensor:
        """Of queries [B, d] to all keys of a kind: [B, C * size]; -inf at places not yet filled if ``filled_only``."""
        found = query @ self.state[kind][:-1].T
        return found.masked_fill(~self.state["filled"][:-1], float("-inf")) if filled_only else found

    def own(self, y: Tensor) -> Tensor:
        """bool [B, C * size]: the places of the class of each label."""
        return self._owner == y[:, None]

    def enqueue(self, y: Tensor, **keys: Tensor) -> None:
        """Put in a key [B, d] of each kind, the oldest ones out. New tensors: a backward pass may still need what was read before."""
        place, pointer = slots(y, self.state["pointer"], self.size)
        added = {kind: self.state[kind].index_copy(0, place, key.to(self.state[kind].dtype)) for kind, key in keys.items()}
        self.state = {**self.state, **added, "filled": self.state["filled"].index_fill(0, place, True), "pointer": pointer}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.state = {name: t.to(self.state[name].device) for name, t in state.items()}
