"""Co-Tuning: supervise the source classifier with what the target labels say about source classes.

You, Kou, Long, Wang: Co-Tuning for Transfer Learning. NeurIPS 2020.

    L = CE + lambda (1/B) sum_b -sum_s p(s | y_b) log q_s(x_b)

q: softmax of the source classifier, trained, on the student's features; p(s | y): relationship of source class s to target class
y, found once before training; B: batch size; lambda (``weight``): 2.3. With mixed labels t, p(s | t) = sum_y t_y p(s | y).

``relationship="direct"``: p(s | y) is the mean over the images of class y of the source network's softmax (eval mode, no
augmentation, on the very images that the run trains on). ``"learned"``: multinomial logistic regression from those probabilities to
y without intercept, its penalty chosen among 17 by held-out accuracy and its temperature by held-out likelihood, gives p(y | s);
Bayes' rule with the marginal of s gives p(s | y).

Deviations from the authors' code: their default is the learned relationship (variant ``co_tuning_learned``), with a separate
validation set and source logits scaled by .884, a calibration of ResNet-50 (``calibration``, 1 here). Our default is TLLib's direct one.
For the learned one a fifth of each class of the training images (none of a class with one image) is held out and used again for the
marginal, and every regression runs until it converges (theirs stops at scikit-learn's tolerance of 1e-4, or after 100 iterations); of
equally accurate ones the least penalised is taken, as theirs. Classes without an image, which give NaN in TLLib, get p(s | y) = 0.
"""

import copy
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Component, Context, Step
from methods.shared import ensure, one_hot, soft_cross_entropy, wide

INVERSE_PENALTIES = (1e4, 3e3, 1e3, 3e2, 1e2, 3e1, 1e1, 3.0, 1.0, 3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
HELD_OUT = 0.2


def direct_relationship(probabilities: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """Mean source probabilities [n, S] of each target class: [C, S]; rows sum to 1, or to 0 for a class without images."""
    members = one_hot(y, num_classes).to(probabilities)
    return members.T @ probabilities / members.sum(0).clamp_min(1)[:, None]


def learned_relationship(probabilities: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """p(s | y) [C, S] through a calibrated multinomial regression and Bayes' rule with the marginal of s; float64 inside."""
    p, held = probabilities.double(), held_out(y, num_classes)
    candidate = coefficients = p.new_zeros(num_classes, p.shape[1])
    best = -1.0
    for c in reversed(INVERSE_PENALTIES):
        candidate = logistic_regression(p[~held], y[~held], c, start=candidate)
        accuracy = ((p[held] @ candidate.T).argmax(1) == y[held]).double().mean().item()
        if accuracy >= best:
            best, coefficients = accuracy, candidate
    scale = calibration_scale(p[held] @ coefficients.T, y[held])
    joint = torch.softmax(coefficients.T * scale, dim=1).T * p.mean(0)
    return (joint / joint.sum(1, keepdim=True)).to(probabilities.dtype)


def held_out(y: Tensor, num_classes: int) -> Tensor:
    """bool [n]: the last fifth (rounded, at least one of two or more) of each class's images, in the order given."""
    members = F.one_hot(y, num_classes)
    counts = members.sum(0)
    taken = (counts * HELD_OUT).round().clamp_min(1) * (counts > 1)
    rank = (members.cumsum(0) * members).sum(1)
    return rank > (counts - taken)[y]


def logistic_regression(x: Tensor, y: Tensor, c: float, start: Tensor) -> Tensor:
    """Coefficients W [C, S] minimising c sum_i CE(W x_i, y_i) + ||W||^2 / 2, sought from ``start``."""
    w = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([w], max_iter=200, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        # Divided by c n, which moves no minimum: step sizes stay near 1 for every c.
        value = F.cross_entropy(x @ w.T, y) + w.square().sum() / (2 * c * len(y))
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return w.detach()


def calibration_scale(logits: Tensor, y: Tensor) -> Tensor:
    """The factor on logits [n, C] with the least cross-entropy against y [n], a scalar; sought from 1."""
    scale = logits.new_ones((), requires_grad=True)
    optimizer = torch.optim.LBFGS([scale], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(logits * scale, y)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return scale.detach()


class CoTuning(Component):
    """The source-label term. weight: lambda (>= 0). relationship: how p(s | y) is found. calibration: factor on the source logits."""

    paper = "You et al., NeurIPS 2020"
    color = "#332288"
    marker = "<"
    variant_looks: ClassVar = {"co_tuning_learned": ("#332288", "d")}
    terms = ("co_tuning",)
    needs_source_head = True
    neutral: ClassVar = {"weight": 0.0}

    def __init__(
        self,
        *,
        weight: float = 2.3,
        relationship: Literal["direct", "learned"] = "direct",
        calibration: float = 1.0,
    ) -> None:
        ensure(weight >= 0, "weight must be >= 0")
        ensure(calibration > 0, "calibration must be > 0")
        self.weight, self.relationship, self.calibration = weight, relationship, calibration
        self._source_head: nn.Module | None = None
        self._relationship = torch.empty(0)

    def setup(self, ctx: Context) -> None:
        if self.weight == 0:
            return
        ensure(not isinstance(ctx.source.head, nn.Identity), "this backbone has no source classifier to relate labels to")
        self._source_head = copy.deepcopy(ctx.source.head).requires_grad_(True)
        options = {"relationship": self.relationship, "calibration": self.calibration}
        found = ctx.cached("co_tuning_relationship", options, lambda: {"p": self._relate(ctx)})
        self._relationship = found["p"].to(ctx.device)

    def extra_modules(self) -> list[tuple[nn.Module, float]]:
        return [] if self._source_head is None else [(self._source_head, 1.0)]

    def penalties(self, step: Step) -> dict[str, Tensor]:
        if self._source_head is None:
            return {}
        with torch.autocast(step.mixed.target.device.type, enabled=False):
            target = step.mixed.target @ self._relationship
        return {"co_tuning": self.weight * soft_cross_entropy(self._source_head(step.out.features), target)}

    def _relate(self, ctx: Context) -> Tensor:
        with torch.no_grad():
            pairs = [((wide(ctx.source(batch.x).logits) * self.calibration).softmax(1), batch.y) for batch in ctx.train_pass(64)]
        probabilities, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        relate = {"direct": direct_relationship, "learned": learned_relationship}[self.relationship]
        return relate(probabilities, y, ctx.num_classes)
