"""LoRA: leave the weights as they are and learn a low-rank change of the attention's queries and values.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen: LoRA: Low-Rank Adaptation of Large Language Models. ICLR 2022.

    y = W x + c + (alpha / r) B A drop(x),   on the query rows and on the value rows of ``qkv``, each with an A and a B of its own

W, c: the pre-trained layer, frozen; A: r x d, from U(-1/sqrt(d), 1/sqrt(d)) (Kaiming's with a = sqrt(5)); B: d x r, zero at the start, so
that the network starts as the source; r: ``rank``, 8; ``alpha``: 8; drop: dropout with ``dropout``, 0. The classifier is trained in
full. In eval mode the layer runs merged, as W + (alpha / r) B A.

Deviations from the authors' code: none (as in the PEFT library). Learning rates for it are larger than for fine-tuning: set them per
method in ``overrides``.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Component, Context, Net
from methods.shared import adapt, adapters_and_head, draw_uniform, ensure, redraw


class LoraQkv(nn.Module):
    """Takes the place of a linear layer whose rows are queries, keys and values."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        dim = base.out_features // 3
        self.base, self.scale, self.dropout = base, alpha / rank, dropout
        self.query_a, self.value_a = (nn.Parameter(base.weight.new_zeros(rank, base.in_features)) for _ in range(2))
        self.query_b, self.value_b = (nn.Parameter(base.weight.new_zeros(dim, rank)) for _ in range(2))

    def reset(self, generator: torch.Generator) -> None:
        for a in (self.query_a, self.value_a):
            draw_uniform(a, 1 / math.sqrt(a.shape[1]), generator)

    def merged(self) -> Tensor:
        """The weight W + (alpha / r) B A."""
        query, value = self.query_b @ self.query_a, self.value_b @ self.value_a
        return self.base.weight + self.scale * torch.cat([query, torch.zeros_like(query), value])

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """The plain layer with the change in its weight."""
        self.base.weight.copy_(self.merged())
        return self.base

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.linear(x, self.merged(), self.base.bias)
        seen = F.dropout(x, self.dropout) if self.dropout > 0 else x
        query, value = (F.linear(F.linear(seen, a), b) for a, b in ((self.query_a, self.query_b), (self.value_a, self.value_b)))
        return self.base(x) + self.scale * torch.cat([query, torch.zeros_like(query), value], dim=-1)


class Lora(Component):
    """The change. rank: r (>= 1). alpha: of the factor alpha / r (> 0). dropout: in [0, 1)."""

    paper = "Hu et al., ICLR 2022"
    color = "#aa4499"
    marker = "o"
    adds_parameters = True

    def __init__(self, *, rank: int = 8, alpha: float = 8.0, dropout: float = 0.0) -> None:
        ensure(rank >= 1, "rank must be >= 1")
        ensure(alpha > 0, "alpha must be > 0")
        ensure(0 <= dropout < 1, "dropout must lie in [0, 1)")
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self._adapters: list[LoraQkv] = []

    def check(self, net: Net) -> None:
        found = [m for name, m in net.body.named_modules() if _is_qkv(name, m)]
        ensure(bool(found), "lora changes attention layers with one linear layer 'qkv', and this backbone has none")

    def surgery(self, net: Net) -> None:
        self._adapters = adapt(net, _is_qkv, lambda base: LoraQkv(cast(nn.Linear, base), self.rank, self.alpha, self.dropout))

    def undo_surgery(self, net: Net) -> None:
        adapt(net, lambda _, module: isinstance(module, LoraQkv), lambda module: cast(LoraQkv, module).folded())

    def setup(self, ctx: Context) -> None:
        redraw(self._adapters, ctx)

    def trains(self, i: int, net: Net, total_steps: int) -> list[nn.Parameter]:
        return adapters_and_head(self._adapters, net)


def _is_qkv(name: str, module: nn.Module) -> bool:
    return name.endswith("attn.qkv") and isinstance(module, nn.Linear) and module.out_features % 3 == 0
