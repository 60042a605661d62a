"""Hint: keep the pooled features close to those of the pre-trained network.

Romero, Ballas, Kahou, Chassang, Gatta, Bengio: FitNets: Hints for Thin Deep Nets. ICLR 2015.

    L = CE + weight (1/B) sum_b ||F_S(x_b) - F_T(x_b)||^2 / d

F_S, F_T: pooled features [B, d] of the student and of the frozen source network on the same images; B: batch size.

Deviations from the authors' code: pooled features instead of a hidden layer behind a regressor, and one stage of training.
"""

from typing import ClassVar

from torch import Tensor

from methods.base import Component, MethodError, Step


def feature_distance(student: Tensor, source: Tensor) -> Tensor:
    """Squared distance of features [B, d]: mean over the batch and over d, in float32."""
    return (student.float() - source.float()).square().mean()


class Hint(Component):
    """The feature penalty. weight: its factor (>= 0)."""

    paper = "Romero et al., ICLR 2015"
    terms = ("hint",)
    neutral: ClassVar = {"weight": 0.0}
    compares_networks = True
    forwards = 2

    def __init__(self, *, weight: float = 1.0) -> None:
        if weight < 0:
            raise MethodError("weight must be >= 0")
        self.weight = weight

    def penalties(self, step: Step) -> dict[str, Tensor]:
        if self.weight == 0:
            return {}
        return {"hint": self.weight * feature_distance(step.out.features, step.source("mixed").features)}
