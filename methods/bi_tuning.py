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

from methods.base import Component, Context, Frozen, MethodError, Net, Step
from methods.shared import ensure, init_linear, wide


def contrast(own: Tensor, queue: Tensor, positive: Tensor, temperature: float) -> Tensor:
    """Mean over the batch of KL(uniform over own entry and positives || softmax(similarities / T)).

    own: [B], similarity to the sample's own key. queue: [B, n], to the queue; -inf leaves an entry out. positive: bool [B, n].
    """
    log_q = F.log_softmax(torch.cat([own[:, None], queue], dim=1) / temperature, dim=1)
    positive = F.pad(positive, (1, 0), value=True) & log_q.isfinite()
    count = positive.sum(1).to(log_q.dtype)
    return (-count.log() - log_q.masked_fill(~positive, 0.0).sum(1) / count).mean()


def slots(y: Tensor, pointer: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where the keys of labels y [B] go in queues of ``size`` per class, and the moved pointers [C].

    Keys of one class take consecutive places, in batch order. Of more than ``size`` keys of a class the first ones get the place behind
    the last queue, C * size, which nobody reads.
    """
    members = F.one_hot(y, len(pointer))
    counts = members.sum(0)
    rank = (members.cumsum(0) * members).sum(1) - 1
    place = y * size + (pointer[y] + rank) % size
    stale = rank < counts[y] - size
    return place.masked_fill(stale, len(pointer) * size), (pointer + counts) % size


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
        self._run_key: Frozen | None = None
        self._queue: dict[str, Tensor] = {}

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
        self._key = nn.ModuleDict({"net": cast(nn.Module, copy.deepcopy(ctx.net)), "projector": copy.deepcopy(self._projector)})
        self._key.requires_grad_(False)
        for module in self._key.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
                module.num_batches_tracked = None  # a kernel per layer and step to count what nobody reads
        self._run_key = ctx.frozen(cast(Net, self._key["net"]))
        noise, places = ctx.rng.torch("noise"), ctx.num_classes * self.queue_size + 1
        random = {
            name: F.normalize(torch.randn(places, size, generator=noise), dim=1) for name, size in (("h", features + 1), ("z", self.dim))
        }
        self._queue = {name: keys.to(head.weight) for name, keys in random.items()}
        self._queue["pointer"] = torch.zeros(ctx.num_classes, dtype=torch.int64, device=ctx.device)
        self._queue["filled"] = torch.zeros(places, dtype=torch.bool, device=ctx.device)

    def extra_modules(self) -> list[tuple[nn.Module, float]]:
        return [] if self._projector is None else [(self._projector, self.projector_lr)]

    def penalties(self, step: Step) -> dict[str, Tensor]:
        if self._projector is None:
            return {}
        y, net = step.batch.y, step.ctx.net
        h, z = unit_features(wide(step.out.features)), F.normalize(wide(self._projector(step.out.features)), dim=1)
        key_h, key_z = self._keys(step)
        assert isinstance(net.head, nn.Linear)
        w = unit_rows(net.head, self.detach_classifier)[y]
        with torch.autocast(y.device.type, enabled=False):
            if self.queue_update == "before":
                self._enqueue(key_h, key_z, y)
            instance = contrast((z * key_z).sum(1), *self._similarities(z, "z", y), self.temperature)
            if self.queue_update == "between":
                self._enqueue(key_h, key_z, y)
            classifier = contrast((w * h).sum(1), *self._similarities(w, "h", y), self.temperature)
            if self.queue_update == "after":
                self._enqueue(key_h, key_z, y)
        return {"bi_tuning_classifier": self.weight * classifier, "bi_tuning_instance": self.weight * instance}

    def state_dict(self) -> dict[str, Any]:
        return {} if self._key is None else {"key": self._key.state_dict(), "queue": self._queue}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self._key is not None and self._run_key is not None:
            self._key.load_state_dict(state["key"])
            self._run_key.refresh()
            self._queue = {name: t.to(self._queue[name].device) for name, t in state["queue"].items()}

    @torch.no_grad()
    def _keys(self, step: Step) -> tuple[Tensor, Tensor]:
        """Move the key network toward the student; its unit features [B, F+1] and projections [B, dim] of the second view."""
        assert self._key is not None
        assert self._run_key is not None
        assert self._projector is not None
        net, projector = cast(Net, self._key["net"]), self._key["projector"]
        for own, other in zip(net.modules(), step.ctx.net.modules(), strict=True):
            own.training = other.training  # a component may keep part of the student in eval mode
        followers: list[Tensor] = [*net.body_parameters(), *projector.parameters()]
        leaders: list[Tensor] = [*step.ctx.net.body_parameters(), *self._projector.parameters()]
        torch._foreach_lerp_(followers, leaders, 1.0 - self.momentum)
        self._run_key.refresh()
        features = self._run_key(step.batch.extra_views[0]).features
        return unit_features(wide(features)), F.normalize(wide(projector(features)), dim=1)

    def _similarities(self, query: Tensor, name: str, y: Tensor) -> tuple[Tensor, Tensor]:
        similarity = query @ self._queue[name][:-1].T
        if self.mask_unfilled:
            similarity = similarity.masked_fill(~self._queue["filled"][:-1], float("-inf"))
        owner = torch.arange(similarity.shape[1], device=y.device) // self.queue_size
        return similarity, owner == y[:, None]

    def _enqueue(self, key_h: Tensor, key_z: Tensor, y: Tensor) -> None:
        place, pointer = slots(y, self._queue["pointer"], self.queue_size)
        # New tensors: the old queue is still needed by the backward pass of the term that has read it.
        self._queue = {
            "h": self._queue["h"].index_copy(0, place, key_h.to(self._queue["h"].dtype)),
            "z": self._queue["z"].index_copy(0, place, key_z.to(self._queue["z"].dtype)),
            "filled": self._queue["filled"].index_fill(0, place, True),
            "pointer": pointer,
        }


def unit_features(features: Tensor) -> Tensor:
    """Features [B, F] with a 1 appended, scaled to unit length: [B, F+1]."""
    return F.normalize(F.pad(features, (0, 1), value=1.0), dim=1)


def unit_rows(head: nn.Linear, detach: bool) -> Tensor:
    """Weight and bias of each class of a linear layer, scaled to unit length: [C, F+1]."""
    rows = F.normalize(torch.cat([head.weight, head.bias[:, None]], dim=1), dim=1)
    return rows.detach() if detach else rows
