"""Bi-Tuning: two contrastive terms against class-wise queues of keys, one for the classifier and one for the instance.

Zhong, Ma, Wang, Kou, Long: Bi-tuning of Pre-trained Representations. arXiv 2011.06182, 2020.

    L = CE + lambda (CCE + CCL)
    CCE = (1/B) sum_b KL(u_b || softmax([w_{y_b} . h_b, w_{y_b} . H] / T))
    CCL = (1/B) sum_b KL(u_b || softmax([z_b . z'_b, z_b . Z] / T))

h_b: pooled features of sample b with a 1 appended, scaled to unit length; w_c: weight and bias of class c in the classifier,
likewise; z_b: unit projection (linear, 128-d) of the features; z'_b: that of a second augmented view by the key network, a momentum
copy of backbone and projector (m .999, updated before the keys are computed, in train mode, so its BatchNorm follows its own
batches). H, Z: queues of the last K = 40 keys of each class. u_b: uniform over the sample's own entry and its class's K keys. T
.07; lambda (``weight``) 1.

Deviations from the authors' code: there is none; the numbers are TLLib's, and so are the choices that the paper, as we remember it,
makes otherwise: w gets no gradient from CCE (``detach_classifier``), CCL sees the queue before this batch's keys enter and CCE
after (``queue_update="between"``). TLLib's queues start as random unit vectors, which count as keys until replaced;
``mask_unfilled`` leaves them out. The classifier starts from N(0, .01) without bias (``head_init``). TLLib trains the projector at
the backbone's rate, a tenth of the classifier's; here its rate is ``projector_lr`` times the backbone's. The key network's
classifier stands still.
"""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Component, Context, MethodError, Net, Step
from methods.class_queues import ClassQueues
from methods.momentum_copy import MomentumCopy
from methods.shared import batch_norms, ensure, init_linear, wide


def contrast(own: Tensor, queue: Tensor, positive: Tensor, temperature: float) -> Tensor:
    """Mean over the batch of KL(uniform over own entry and positives || softmax(similarities / T)), of one contrast or several.

    own: [..., B], similarity to the sample's own key. queue: [..., B, n], to the queue; -inf leaves an entry out. positive: bool [B, n].
    """
    log_q = F.log_softmax(torch.cat([own[..., None], queue], dim=-1) / temperature, dim=-1)
    positive = F.pad(positive & (queue > float("-inf")), (1, 0), value=True)
    count = positive.sum(-1, dtype=log_q.dtype)
    return (-count.log() - log_q.masked_fill(~positive, 0.0).sum(-1) / count).mean(-1)


class BiTuning(Component):
    """Both contrastive terms, the momentum network and the queues.

    weight: lambda (>= 0). queue_size: K, keys per class. temperature: T. momentum: m, in [0, 1]. dim: of the projection.
    detach_classifier, queue_update, mask_unfilled, head_init, projector_lr: see above; ``"before"`` and ``"after"`` enqueue before
    or after both terms.
    """

    version = 2
    paper = "Zhong et al., arXiv 2011.06182"
    color = "#777777"
    marker = "h"
    terms = ("bi_tuning_classifier", "bi_tuning_instance")
    views = 2
    hard_labels = True
    neutral: ClassVar = {"weight": 0.0, "head_init": "default"}
    forwards = 2

    def __init__(
        self,
        *,
        weight: float = 1.0,
        queue_size: int = 40,
        temperature: float = 0.07,
        momentum: float = 0.999,
        dim: int = 128,
        detach_classifier: bool = True,
        queue_update: Literal["between", "before", "after"] = "between",
        mask_unfilled: bool = False,
        head_init: Literal["normal", "default"] = "normal",
        projector_lr: float = 1.0,
    ) -> None:
        ensure(weight >= 0 and projector_lr >= 0, "weight and projector_lr must be >= 0")
        ensure(min(queue_size, dim) >= 1, "queue_size and dim must be >= 1")
        ensure(temperature > 0, "temperature must be > 0")
        ensure(0 <= momentum <= 1, "momentum must lie in [0, 1]")
        self.weight, self.queue_size, self.temperature, self.momentum, self.dim = weight, queue_size, temperature, momentum, dim
        self.detach_classifier, self.queue_update, self.mask_unfilled = detach_classifier, queue_update, mask_unfilled
        self.head_init, self.projector_lr = head_init, projector_lr
        self._projector: nn.Linear | None = None
        self._key: nn.ModuleDict | None = None
        self._follower: MomentumCopy | None = None
        self._queue: ClassQueues | None = None

    def check(self, net: Net) -> None:
        if not isinstance(net.head, nn.Linear):
            raise MethodError(f"bi_tuning compares features with a linear classifier, this backbone's is a {type(net.head).__name__}")

    def setup(self, ctx: Context) -> None:
        rng, head = ctx.rng.torch("init", 0), ctx.net.head
        assert isinstance(head, nn.Linear)
        if self.head_init == "normal":
            with torch.no_grad():
                head.weight.copy_(torch.empty(head.weight.shape).normal_(0, 0.01, generator=rng))
                head.bias.zero_()
        if self.weight == 0:
            return
        features = head.in_features
        self._projector = nn.Linear(features, self.dim).to(head.weight)
        init_linear(self._projector, rng)
        self._follower = MomentumCopy(ctx.net, ctx)
        for norm in batch_norms(self._follower.net):
            if norm.momentum is not None:
                norm.num_batches_tracked = None  # a kernel per layer and step to count what nobody reads
        projector = copy.deepcopy(self._projector).requires_grad_(False)
        self._key = nn.ModuleDict({"net": cast(nn.Module, self._follower.net), "projector": projector})
        noise, places = ctx.rng.torch("noise"), ctx.num_classes * self.queue_size + 1
        kinds = {"h": features + 1, "z": self.dim}
        start = {kind: F.normalize(torch.randn(places, size, generator=noise), dim=1).to(head.weight) for kind, size in kinds.items()}
        self._queue = ClassQueues(start, ctx.num_classes)

    def extra_modules(self) -> list[tuple[nn.Module, float]]:
        return [] if self._projector is None else [(self._projector, self.projector_lr)]

    def penalties(self, step: Step) -> dict[str, Tensor]:
        if self._projector is None:
            return {}
        y, net, queue = step.batch.y, step.ctx.net, self._queue
        h, z = unit_features(wide(step.out.features)), F.normalize(wide(self._projector(step.out.features)), dim=1)
        key_h, key_z = self._keys(step)
        assert isinstance(net.head, nn.Linear)
        assert queue is not None
        w = unit_rows(net.head, self.detach_classifier)[y]
        with torch.autocast(y.device.type, enabled=False):
            if self.queue_update == "before":
                queue.enqueue(y, h=key_h, z=key_z)
            to_z = queue.similarities(z, "z", self.mask_unfilled)
            if self.queue_update == "between":
                queue.enqueue(y, h=key_h, z=key_z)
            to_h = queue.similarities(w, "h", self.mask_unfilled)
            if self.queue_update == "after":
                queue.enqueue(y, h=key_h, z=key_z)
            own = torch.stack([(w * h).sum(1), (z * key_z).sum(1)])
            # Both in one: half the kernels of one after the other.
            classifier, instance = self.weight * contrast(own, torch.stack([to_h, to_z]), queue.own(y), self.temperature)
        return {"bi_tuning_classifier": classifier, "bi_tuning_instance": instance}

    def state_dict(self) -> dict[str, Any]:
        return {} if self._key is None or self._queue is None else {"key": self._key.state_dict(), "queue": self._queue.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self._key is not None and self._follower is not None and self._queue is not None:
            self._key.load_state_dict(state["key"])
            self._follower.run.refresh()
            self._queue.load(state["queue"])

    @torch.no_grad()
    def _keys(self, step: Step) -> tuple[Tensor, Tensor]:
        """Move the key network toward the student; its unit features [B, F+1] and projections [B, dim] of the second view."""
        assert self._key is not None
        assert self._follower is not None
        assert self._projector is not None
        projector = self._key["projector"]
        for own, other in zip(self._follower.net.modules(), step.ctx.net.modules(), strict=True):
            own.training = other.training  # a component may keep part of the student in eval mode
        also = ([*projector.parameters()], [*self._projector.parameters()])
        self._follower.follow(step.ctx.net, 1.0 - self.momentum, also=also)
        features = self._follower.run(step.batch.extra_views[0]).features
        return unit_features(wide(features)), F.normalize(wide(projector(features)), dim=1)


def unit_features(features: Tensor) -> Tensor:
    """Features [B, F] with a 1 appended, scaled to unit length: [B, F+1]."""
    return F.normalize(F.pad(features, (0, 1), value=1.0), dim=1)


def unit_rows(head: nn.Linear, detach: bool) -> Tensor:
    """Weight and bias of each class of a linear layer, scaled to unit length: [C, F+1]."""
    rows = F.normalize(torch.cat([head.weight, head.bias[:, None]], dim=1), dim=1)
    return rows.detach() if detach else rows
