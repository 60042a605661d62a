"""LwF: learning without forgetting, distillation of the source classifier's outputs.

Li, Hoiem: Learning without Forgetting. ECCV 2016.

    L = CE + lambda KL(p*_T(x) || p_T(x)),   p_T = softmax(z_T / T)

z: source-class logits [B, S] of the source classifier on the student's features; z*: those of the frozen source network on the same
images; KL: summed over source classes, averaged over the batch, not multiplied by T^2; lambda (``weight``) 1; T 2. The student's source
classifier is trained too. ``lwf_tllib``: lambda 4, T 3, source classifier frozen, as in TLLib.

Deviations from the authors' code: theirs sums a cross-entropy over the batch (the same gradient up to the batch size); TLLib records the
targets once under random augmentation and then pairs them with other crops; here they are computed on the very images the student
sees, mixed or not. The authors first warm up the new classifier: for ``warm_up`` steps (0 by default) only classifiers train here.
"""

import copy
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Component, Context, Step
from methods.shared import ensure, wide


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(softmax(teacher / T) || softmax(student / T)) for logits [B, S]: summed over classes, averaged over the batch."""
    log_q = F.log_softmax(wide(student) / temperature, dim=1)
    log_p = F.log_softmax(wide(teacher) / temperature, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


class LwF(Component):
    """The distillation term.

    weight: lambda (>= 0). temperature: T (> 0). t2_scaling: multiply by T^2, which keeps the gradient's size as T grows.
    train_source_head: train the student's source classifier. warm_up: steps in which the backbone stands still (its BatchNorm
    statistics move).
    """

    paper = "Li and Hoiem, ECCV 2016"
    color = "#aa4499"
    marker = "d"
    variant_looks: ClassVar = {"lwf_tllib": ("#aa4499", "s")}
    terms = ("lwf",)
    needs_source_head = True
    compares_networks = True
    neutral: ClassVar = {"weight": 0.0}
    forwards = 2

    def __init__(
        self,
        *,
        weight: float = 1.0,
        temperature: float = 2.0,
        t2_scaling: bool = False,
        train_source_head: bool = True,
        warm_up: int = 0,
    ) -> None:
        ensure(weight >= 0 and warm_up >= 0, "weight and warm_up must be >= 0")
        ensure(temperature > 0, "temperature must be > 0")
        self.weight, self.temperature, self.t2_scaling = weight, temperature, t2_scaling
        self.train_source_head, self.warm_up = train_source_head, warm_up
        self._source_head: nn.Module | None = None

    def setup(self, ctx: Context) -> None:
        if self.weight > 0:
            ensure(not isinstance(ctx.source.head, nn.Identity), "this backbone has no source classifier to distil")
            self._source_head = copy.deepcopy(ctx.source.head).requires_grad_(self.train_source_head)

    def extra_modules(self) -> list[tuple[nn.Module, float]]:
        return [(self._source_head, 1.0)] if self._source_head is not None and self.train_source_head else []

    def penalties(self, step: Step) -> dict[str, Tensor]:
        if self._source_head is None:
            return {}
        student, teacher = self._source_head(step.out.features), step.source("mixed").logits
        scale = self.temperature**2 if self.t2_scaling else 1.0
        return {"lwf": self.weight * scale * distillation(student, teacher, self.temperature)}

    def before_step(self, step: Step) -> None:
        if step.i < self.warm_up:
            for p in step.ctx.net.body_parameters():
                p.grad = None
