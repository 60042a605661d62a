"""VPT (deep): leave the weights as they are and learn tokens that every block of a transformer sees beside the image's.

Jia, Tang, Chen, Cardie, Belongie, Hariharan, Lim: Visual Prompt Tuning. ECCV 2022.

    [c_l, _, X_l] = Block_l([c_{l-1}, P_{l-1}, X_{l-1}]),   P ~ U(-a, a) at the start,   a = sqrt(6 / (3 patch^2 + d))

c: class (and other prefix) tokens; X: tokens of the image; P_l: p learned tokens [p, d] of block l, in place of what the block before
made of its own; p: ``tokens``, 10. The blocks are frozen, as everything else but the classifier.

Deviations from the authors' code: what the last block makes of its tokens is dropped too, so that pooling is over the image's. Dropout on
the tokens is left out. Learning rates for it are larger than for fine-tuning: set them per method in ``overrides``.
"""

import math
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from methods.base import Component, Context, MethodError, Net
from methods.shared import adapt, adapters_and_head, draw_uniform, ensure


class Prompted(nn.Module):
    """A block that sees ``tokens`` learned tokens behind the prefix tokens, and gives back as many tokens as it was given."""

    def __init__(self, base: nn.Module, tokens: int, dim: int, prefix: int) -> None:
        super().__init__()
        self.base, self.prefix = base, prefix
        self.prompt = nn.Parameter(torch.zeros(tokens, dim))
        # what taps the block's output is to see it without the learned tokens
        self._forward_hooks, base._forward_hooks = base._forward_hooks, self._forward_hooks

    def forward(self, x: Tensor) -> Tensor:
        first, count = self.prefix, len(self.prompt)
        prompt = self.prompt.to(x.dtype).expand(len(x), -1, -1)
        out = self.base(torch.cat([x[:, :first], prompt, x[:, first:]], dim=1))
        return torch.cat([out[:, :first], out[:, first + count :]], dim=1)


class Vpt(Component):
    """The tokens. tokens: p (>= 1), per block."""

    paper = "Jia et al., ECCV 2022"
    color = "#aa4499"
    marker = "P"
    adds_parameters = True

    def __init__(self, *, tokens: int = 10) -> None:
        ensure(tokens >= 1, "tokens must be >= 1")
        self.tokens = tokens
        self._adapters: list[Prompted] = []
        self._bound = 0.0

    def check(self, net: Net) -> None:
        plain = isinstance(net.body, VisionTransformer)
        ensure(plain, f"vpt adds tokens to the blocks of a VisionTransformer, and a {type(net.body).__name__} has none that take them")

    def surgery(self, net: Net) -> None:
        body: Any = net.body  # a VisionTransformer
        self._bound = math.sqrt(6 / (3 * math.prod(body.patch_embed.patch_size) + body.embed_dim))
        blocks = set(body.blocks)
        wrap = lambda base: Prompted(base, self.tokens, body.embed_dim, body.num_prefix_tokens)
        self._adapters = adapt(net, lambda _, module: module in blocks, wrap)

    def undo_surgery(self, net: Net) -> None:
        raise MethodError("its learned tokens are inputs of every block, for which the plain network has no place")

    def setup(self, ctx: Context) -> None:
        generator = ctx.rng.torch("setup")
        for adapter in self._adapters:
            draw_uniform(adapter.prompt, self._bound, generator)

    def trains(self, i: int, net: Net, total_steps: int) -> list[nn.Parameter]:
        return adapters_and_head(self._adapters, net)
