"""AdaptFormer: leave the weights as they are and learn a small network beside each MLP.

Chen, Ge, Tong, Wang, Song, Wang, Luo: AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition. NeurIPS 2022.

    y = MLP(x) + s [U drop(relu(D x + a)) + b]

x: the input of the block's MLP; D: k x d, from U(-1/sqrt(d), 1/sqrt(d)); U: d x k, and a, b, zero at the start, so that the network starts
as the source; k: ``bottleneck``, 64; s: ``scale``, .1; drop: dropout with ``dropout``, .1. The MLPs are frozen, as everything else but the
classifier.

Deviations from the authors' code: there D sees the block's tokens before the LayerNorm in front of the MLP; here what the MLP sees, as
the paper, which we know from memory only, writes it.
Learning rates for it are larger than for fine-tuning: set them per method in ``overrides``.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Component, Context, MethodError, Net
from methods.shared import adapt, adapters_and_head, draw_uniform, ensure, redraw


class AdaptedMlp(nn.Module):
    """Takes the place of a block's MLP over tokens [B, n, dim]."""

    def __init__(self, base: nn.Module, bottleneck: int, scale: float, dropout: float) -> None:
        super().__init__()
        first = base.get_submodule("fc1")
        assert isinstance(first, nn.Linear)
        inner = first.weight
        self.base, self.scale, self.dropout = base, scale, dropout
        self.down = nn.Parameter(inner.new_zeros(bottleneck, inner.shape[1]))
        self.down_bias = nn.Parameter(inner.new_zeros(bottleneck))
        self.up = nn.Parameter(inner.new_zeros(inner.shape[1], bottleneck))
        self.up_bias = nn.Parameter(inner.new_zeros(inner.shape[1]))

    def reset(self, generator: torch.Generator) -> None:
        draw_uniform(self.down, 1 / math.sqrt(self.down.shape[1]), generator)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.dropout(F.linear(x, self.down, self.down_bias).relu(), self.dropout, self.training)
        return self.base(x) + self.scale * F.linear(hidden, self.up, self.up_bias)


class AdaptFormer(Component):
    """The adapters. bottleneck: k (>= 1). scale: s (> 0). dropout: in [0, 1)."""

    paper = "Chen et al., NeurIPS 2022"
    color = "#aa4499"
    marker = "^"
    adds_parameters = True

    def __init__(self, *, bottleneck: int = 64, scale: float = 0.1, dropout: float = 0.1) -> None:
        ensure(bottleneck >= 1, "bottleneck must be >= 1")
        ensure(scale > 0, "scale must be > 0")
        ensure(0 <= dropout < 1, "dropout must lie in [0, 1)")
        self.bottleneck, self.scale, self.dropout = bottleneck, scale, dropout
        self._adapters: list[AdaptedMlp] = []

    def check(self, net: Net) -> None:
        found = [m for name, m in net.body.named_modules() if _is_mlp(name, m)]
        ensure(bool(found), "adaptformer adapts the MLPs (linear 'fc1' and 'fc2') of a transformer's 'blocks', and this backbone has none")

    def surgery(self, net: Net) -> None:
        self._adapters = adapt(net, _is_mlp, lambda base: AdaptedMlp(base, self.bottleneck, self.scale, self.dropout))

    def undo_surgery(self, net: Net) -> None:
        raise MethodError("its bottlenecks beside the MLPs have an activation of their own, which no weight of an MLP can hold")

    def setup(self, ctx: Context) -> None:
        redraw(self._adapters, ctx)

    def trains(self, i: int, net: Net, total_steps: int) -> list[nn.Parameter]:
        return adapters_and_head(self._adapters, net)


def _is_mlp(name: str, module: nn.Module) -> bool:
    layers = (getattr(module, "fc1", None), getattr(module, "fc2", None))
    return "blocks." in name and name.endswith(".mlp") and all(isinstance(layer, nn.Linear) for layer in layers)
