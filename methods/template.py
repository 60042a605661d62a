"""Template: copy this file, rename the class, and replace each part. (One sentence: what the method adds to fine-tuning.)

Authors: Title. Venue Year.

    L = CE + weight/2 (1/B) sum_b ||f(x_b)||^2 / d

f(x_b): pooled features [B, d] of the student; B: batch size; ``weight``: the paper's symbol and default. Name every symbol, and say of
every sum what it runs over: a published weight is worth nothing without it.

Deviations from the authors' code: none; this one penalises large features and has no authors. Say here what their code does differently
from their paper, and what this file does differently from both.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from methods.base import Component, Net, Step
from methods.shared import ensure, wide


def mean_square(features: Tensor) -> Tensor:
    """Mean over the batch and over d of the squares of features [B, d], in float32 at least.

    The loss is a pure function: tests derive it by hand, and whatever is random comes in as an argument.
    """
    return wide(features).square().mean()


class Template(Component):
    """The penalty. weight: its factor (>= 0).

    Options are keyword-only, with a type and a literal default. They and the declarations below are read from this text when a sweep is
    planned, so they are written out here and never computed.
    """

    paper = "Authors, Venue Year"
    terms = ("template",)  # the names of the loss terms, as they are logged
    neutral: ClassVar = {"weight": 0.0}  # at these options training equals fine-tuning bit for bit
    fast: ClassVar = {}  # options for tests, where a default is missing or makes set-up long
    color = "#777777"  # in every figure
    marker = "o"
    version = 1  # raised whenever the same options give other results

    def __init__(self, *, weight: float = 0.01) -> None:
        ensure(weight >= 0, "weight must be >= 0")
        self.weight = weight
        self._seen = 0

    def check(self, net: Net) -> None:
        # Refuse here, before any compute, what is undefined for a network, with the reason and a way out.
        ensure(bool(net.stages), "this backbone names no stages: choose another one")

    def penalties(self, step: Step) -> dict[str, Tensor]:
        # Already weighted float32 scalars. A term of weight 0 is left out, so that it costs nothing and changes no rounding.
        return {"template": 0.5 * self.weight * mean_square(step.out.features)} if self.weight > 0 else {}

    def after_step(self, step: Step) -> None:
        # What a later step reads is state: it belongs into state_dict, or a resumed run goes on differently.
        self._seen += len(step.batch.y)

    def monitor(self, step: Step) -> dict[str, Tensor]:
        # For the log alone, at log points only. This one is listed in no table, so nothing is read from the device.
        return {}

    def state_dict(self) -> dict[str, int]:
        return {"seen": self._seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._seen = state["seen"]
