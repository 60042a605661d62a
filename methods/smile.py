"""SMILE: self-distilled mixup for efficient transfer learning.

Li, Xiong, Zhang, Hu, Xu, Dou: SMILE: Self-Distilled Mixup for Efficient Transfer Learning. arXiv 2103.13941.

    x~ = lam x + (1 - lam) x',   lam ~ Beta(alpha, alpha)
    L  = lam CE(y) + (1 - lam) CE(y')                                   cross-entropy on the mixed image
       + a ||lam F_T(x) + (1 - lam) F_T(x') - F_S(x~)||_F / (h w)       ``smile_feature``
       + b [lam CE(q(x~), p_T(x)) + (1 - lam) CE(q(x~), p_T(x'))]       ``smile_source``

(x', y'): the partner of (x, y) under a random permutation of the batch; one lam per batch, the same in the three terms.
F_S, F_T: output map [B, c, h, w] of the student's and the teacher's backbone; the Frobenius norm is un-squared and runs over the
whole batch tensor. q: softmax of an auxiliary copy of the source classifier, trained on the student's pooled features; p_T: softmax
of the teacher's source classifier on the unmixed image; every CE is summed over classes and averaged over the batch. a: ``feature_weight``
.01; b: ``source_weight`` .1. The teacher starts as the source network; every 10 steps, before the optimizer moves, its backbone
parameters become .999 of themselves plus .001 of the student's. It stays in eval mode with the source's BatchNorm statistics.

Deviations from the authors' code: lam is not folded to max(lam, 1 - lam); the law of the mixed batch is the same and the draws stay
paired with the other methods (``fold=True``, variant ``smile_code``, folds). The published form of the feature term, which we
know from memory only, is a squared norm per sample: ``feature_norm="sq_mean"`` is the mean over the batch of ||.||^2 / (h w).
Ours: ``mixer="cutmix"`` pastes a box in every batch and blends features and labels by its area, as do ``"resizemix"`` (whose law has no
alpha) and ``"fmix"``; ``target_mix=False`` keeps the mixed image but gives it the label of its heavier sample, our reading of the
ablation; ``teacher="student"`` is the student itself at this step's weights.

``smile_paddle`` is the authors' second code (PaddlePaddle's Research repository, 2022): lam is folded, mixing and both terms are off for
the last ninth of the steps, and the two classifiers carry 1e-4/2 ||.||^2 beside the weight decay of 1e-4. Its learning rate falls at step
6,666 of 9,000 (``training.milestone: 0.7407``), and it reports the best of 18 evaluations; here the last iterate.
"""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from methods.base import Batch, Component, Context, Mixed, Net, Output, Step
from methods.momentum_copy import MomentumCopy
from methods.shared import batch_norms, ensure, feature_distance, fraction, mixed_by, one_hot, soft_cross_entropy, wide


class Smile(Component):
    """Mixer, feature term, source-label term and mean teacher.

    feature_weight, source_weight: a and b (0 leaves the term out). alpha, fold: as for mixup. mixer: what mixes the images.
    target_mix: whether labels are mixed as the images are. feature: the backbone's output map or pooled features. feature_norm: see
    :func:`methods.shared.feature_distance`. teacher: ``"ema"``, ``"fixed"`` (the source network) or ``"student"``. ema_decay: weight of the
    old teacher, in [0, 1]. ema_every: steps between updates. teacher_bn: the teacher's BatchNorm uses the source's statistics,
    running statistics that follow the student as the weights do, or those of the batch. off_last: fraction of the steps, at the end,
    without mixing and without the two terms. head_decay: weight decay of both classifiers (None: the run's own).
    """

    paper = "Li et al., arXiv 2103.13941"
    color = "#d55e00"
    marker = "p"
    pairs_parameters = True
    # fmt: off
    variant_looks: ClassVar = {
        "smile_paddle": ("#332288", "*"), "smile_code": ("#882255", "^"), "smile_sq_mean": ("#332288", "s"),
        "smile_resizemix": ("#d55e00", "s"), "smile_fmix": ("#d55e00", "^"), "smile_cutmix": ("#d55e00", "X"),
        "smile_no_feature": ("#0072b2", "<"), "smile_no_source": ("#009e73", ">"), "smile_no_target_mix": ("#cc79a7", "d"),
        "smile_fixed_teacher": ("#56b4e9", "h"),
    }
    # fmt: on
    terms = ("smile_feature", "smile_source")
    mixer = True
    needs_source_head = True
    neutral: ClassVar = {"alpha": 0.0, "feature_weight": 0.0, "source_weight": 0.0}
    legacy: ClassVar = {"off_last": 0.0, "head_decay": None}
    every = ("ema_every",)
    forwards = 2

    def __init__(
        self,
        *,
        feature_weight: float = 0.01,
        source_weight: float = 0.1,
        alpha: float = 0.2,
        fold: bool = False,
        mixer: Literal["mixup", "cutmix", "resizemix", "fmix"] = "mixup",
        target_mix: bool = True,
        feature: Literal["map", "pooled"] = "map",
        feature_norm: Literal["frob", "sq_mean"] = "frob",
        teacher: Literal["ema", "fixed", "student"] = "ema",
        ema_decay: float = 0.999,
        ema_every: int = 10,
        teacher_bn: Literal["source", "ema", "batch"] = "source",
        off_last: float = 0.0,
        head_decay: float | None = None,
    ) -> None:
        ensure(min(feature_weight, source_weight, alpha) >= 0, "feature_weight, source_weight and alpha must be >= 0")
        ensure(0 <= ema_decay <= 1, "ema_decay must lie in [0, 1]")
        ensure(ema_every >= 1, "ema_every must be >= 1")
        ensure(head_decay is None or head_decay >= 0, "head_decay must be >= 0")
        ensure(not (fold and mixer != "mixup"), "fold would change which region is pasted: it goes with mixer='mixup' only")
        ensure(teacher != "fixed" or teacher_bn == "source", "a fixed teacher has the source's statistics: use teacher_bn='source'")
        self.feature_weight, self.source_weight = feature_weight, source_weight
        self.alpha, self.fold, self.how, self.target_mix = alpha, fold, mixer, target_mix
        self.off_last, self.head_decay = fraction(off_last), head_decay
        self.feature, self.feature_norm = feature, feature_norm
        self.teacher_kind, self.ema_decay, self.ema_every, self.teacher_bn = teacher, ema_decay, ema_every, teacher_bn
        self.needs_source_head = source_weight > 0
        self._teacher: MomentumCopy | None = None
        self._source_head: nn.Module | None = None

    def taps(self, net: Net) -> tuple[str, ...]:
        return ("final",) if self.feature_weight > 0 and self.feature == "map" else ()

    def weight_decay(self, group: str) -> float | None:
        return self.head_decay if group in ("head", "extra") else None

    def setup(self, ctx: Context) -> None:
        if self.source_weight > 0:
            ensure(not isinstance(ctx.source.head, nn.Identity), "this backbone has no source classifier: set source_weight=0")
            self._source_head = copy.deepcopy(ctx.source.head).requires_grad_(True)
        if self.teacher_kind != "fixed" and self.feature_weight + self.source_weight > 0:
            self._teacher = MomentumCopy(ctx.source, ctx)
            for norm in batch_norms(self._teacher.net):
                norm.training = self.teacher_bn == "batch"

    def extra_modules(self) -> list[tuple[nn.Module, float]]:
        return [] if self._source_head is None else [(self._source_head, 1.0)]

    def mix(self, batch: Batch, num_classes: int, rng: np.random.Generator) -> Mixed:
        mixed = mixed_by(self.how, batch, num_classes, rng, self.alpha, self.fold)
        if self.target_mix or mixed.perm is None:
            return mixed
        return mixed._replace(target=one_hot(batch.y if mixed.lam >= 0.5 else batch.y[mixed.perm], num_classes))

    def penalties(self, step: Step) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        total = step.ctx.total_steps
        if self.feature_weight + self.source_weight == 0 or step.i >= total - round(self.off_last * total):
            return terms
        teacher = self._teach(step)
        if self.feature_weight > 0:
            own, other = (out.features if self.feature == "pooled" else out.maps["final"] for out in (step.out, teacher))
            distance = feature_distance(own, step.mixed.blend(wide(other)), self.feature_norm)
            terms["smile_feature"] = self.feature_weight * distance
        if self._source_head is not None:
            target = step.mixed.blend(wide(teacher.logits).softmax(1))
            terms["smile_source"] = self.source_weight * soft_cross_entropy(self._source_head(step.out.features), target)
        return terms

    def before_step(self, step: Step) -> None:
        if self.teacher_kind == "ema" and self._teacher is not None and step.i % self.ema_every == 0:
            self._teacher.follow(step.ctx.net, 1.0 - self.ema_decay, self.teacher_bn == "ema")

    def state_dict(self) -> dict[str, Any]:
        return {} if self._teacher is None else {"teacher": self._teacher.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self._teacher is not None:
            self._teacher.load_state_dict(state["teacher"])

    def _teach(self, step: Step) -> Output:
        if self._teacher is None:
            return step.source("clean")
        if self.teacher_kind == "student":
            self._teacher.follow(step.ctx.net, 1.0, self.teacher_bn == "ema")
        return self._teacher.run(step.batch.x)
