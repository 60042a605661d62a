"""StochNorm: normalise each channel by batch or by moving statistics, at random.

Kou, You, Long, Wang: Stochastic Normalization. NeurIPS 2020.

    z = (1 - s) z_0 + s z_1,   s ~ Bernoulli(p), per channel, layer and forward pass

z_0: the BatchNorm output with the moving statistics as they stood before this pass; z_1: with the batch's; both share the affine
parameters. The moving statistics are updated once per pass. p .5; at test time plain BatchNorm. Only the normalisation is replaced: timm's
``BatchNormAct2d`` keeps its drop and activation, and p = 1 is the original network bit for bit.

Deviations from the authors' code: there (and in TLLib) the moving statistics are overwritten before the backward pass of z_0, whose
gradient then belongs to other statistics than its value; here they are copied first. TLLib's model conversion passes p in another
argument's place, so that p is always .5; there the mask comes from NumPy's global generator, here from the run's ``noise`` stream.
``num_batches_tracked`` stays in the state dict.
"""

import copy
from typing import Any, ClassVar, cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from methods.base import Component, Net
from methods.shared import ensure, statistics, to_device

_forward, _backward = torch.ops.aten._batch_norm_impl_index, torch.ops.aten._batch_norm_impl_index_backward
"""``F.batch_norm`` with what its gradient needs, and that gradient: the same choice of kernels as for other layers."""


def stochastic_normalization(x: Tensor, bn: nn.BatchNorm2d, from_batch: Tensor) -> Tensor:
    """x: [B, c, h, w]; from_batch: bool [c], the channels normalised by batch statistics. Updates the moving statistics of ``bn``."""
    mean, var = statistics(bn)
    assert bn.momentum is not None
    before = torch.stack((mean, var))
    with torch.no_grad():
        moving = _forward(x, bn.weight, bn.bias, before[0], before[1], False, bn.momentum, bn.eps, True)
        batch = _forward(x, bn.weight, bn.bias, mean, var, True, bn.momentum, bn.eps, True)
    return _Normalised.apply(x, bn.weight, bn.bias, from_batch, before, bn.eps, moving, batch)


class _Normalised(torch.autograd.Function):
    """Of two normalisations of x [B, c, h, w], made without gradient, each channel's own.

    The gradient is what autograd would find, in a third of the kernels: autograd blanks the other channels for each of the two, and adds
    what both give for x, weight and bias. before: [2, c], moving mean and variance. moving, batch: what ``_forward`` gave.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, from_batch: Tensor, before: Tensor, eps: float, moving: Any, batch: Any
    ) -> Tensor:
        ctx.save_for_backward(x, weight, from_batch, before, *moving[1:4], *batch[1:4])
        ctx.kernels, ctx.eps = (moving[4], batch[4]), eps
        return torch.where(from_batch[:, None, None], batch[0], moving[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, from_batch, (mean, var), *saved = ctx.saved_tensors
        wanted, (of_moving, of_batch) = list(ctx.needs_input_grad[:3]), ctx.kernels
        m = _backward(of_moving, x, grad, weight, mean, var, *saved[:2], False, ctx.eps, wanted, saved[2])
        b = _backward(of_batch, x, grad, weight, mean, var, *saved[3:5], True, ctx.eps, wanted, saved[5])
        return (
            torch.where(from_batch[:, None, None], b[0], m[0]) if wanted[0] else None,
            torch.where(from_batch, b[1], m[1]) if wanted[1] else None,
            b[2] if wanted[2] else None,  # the sum of grad, in both
            *[None] * 5,
        )


class StochNorm2d(nn.BatchNorm2d):
    """Takes the place of a BatchNorm2d: the same parameters and statistics under the same names, and what followed inside it."""

    num_batches_tracked: Tensor
    from_batch: Tensor

    def __init__(self, bn: nn.BatchNorm2d) -> None:
        super().__init__(bn.num_features, bn.eps, bn.momentum, device="meta")
        self.weight, self.bias = bn.weight, bn.bias
        self.running_mean, self.running_var = bn.running_mean, bn.running_var
        self.num_batches_tracked = cast(Tensor, bn.num_batches_tracked)
        self.drop, self.act = getattr(bn, "drop", nn.Identity()), getattr(bn, "act", nn.Identity())
        self.register_buffer("from_batch", torch.ones(bn.num_features, dtype=torch.bool, device=bn.weight.device), persistent=False)
        self.train(bn.training)

    def __deepcopy__(self, memo: dict[int, Any]) -> "StochNorm2d":
        """A copy normalises by the same draws: it reads the very mask that is filled for the original."""
        memo[id(self.from_batch)] = self.from_batch
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.momentum is not None:
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            x = stochastic_normalization(x, self, self.from_batch)
        else:
            x = super().forward(x)  # without momentum, statistics are being taken anew: as plain BatchNorm, which evaluation is
        return self.act(self.drop(x))


class StochNorm(Component):
    """Replaces every BatchNorm layer of the student. p: probability of batch statistics, in [0, 1]."""

    paper = "Kou et al., NeurIPS 2020"
    color = "#44aa99"
    marker = ">"
    neutral: ClassVar = {"p": 1.0}

    def __init__(self, *, p: float = 0.5) -> None:
        ensure(0 <= p <= 1, "p must lie in [0, 1]")
        self.p = p
        self._layers: list[StochNorm2d] = []

    def check(self, net: Net) -> None:
        found = list(_batch_norms(net.body))
        ensure(bool(found), "stoch_norm replaces BatchNorm2d layers, and this backbone has none; choose a network with BatchNorm")
        plain = all(bn.affine and bn.track_running_stats and bn.momentum is not None for _, _, bn in found)
        ensure(plain, "stoch_norm needs BatchNorm layers with affine parameters, running statistics and a fixed momentum")

    def surgery(self, net: Net) -> None:
        for parent, name, bn in list(_batch_norms(net.body)):
            layer = StochNorm2d(bn)
            setattr(parent, name, layer)
            self._layers.append(layer)

    def before_forward(self, i: int, net: Net, rng: torch.Generator) -> None:
        sizes = [layer.num_features for layer in self._layers]
        draws = torch.rand(sum(sizes), generator=rng) < self.p
        masks = to_device(draws, self._layers[0].from_batch.device).split(sizes)
        torch._foreach_copy_([layer.from_batch for layer in self._layers], list(masks))


def _batch_norms(body: nn.Module) -> list[tuple[nn.Module, str, nn.BatchNorm2d]]:
    """(parent, attribute, layer) for every BatchNorm2d, timm's fused with an activation included."""
    return [
        (parent, name, child)
        for parent in body.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.BatchNorm2d) and type(child) in (nn.BatchNorm2d, BatchNormAct2d)
    ]
