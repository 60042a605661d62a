"""SSF: leave the weights as they are and learn a scale and a shift of every channel behind every layer.

Lian, Zhou, Feng, Wang: Scaling and Shifting Your Features: A New Baseline for Efficient Model Tuning. NeurIPS 2022.

    y <- g * y + b,   g ~ N(1, .02^2), b ~ N(0, .02^2) at the start

y: tokens [B, n, d] behind the patch embedding, every LayerNorm, and every linear layer (``qkv``, projection, both of the MLP) of the
blocks; g, b: [d], one pair per layer. The layers are frozen, as everything else but the classifier.

Deviations from the authors' code: none in the equation. As there, g and b can be merged into the layers after training, which
``smilebench export`` does.
Learning rates for it are larger than for fine-tuning: set them per method in ``overrides``.
"""

from typing import Any

import torch
from torch import Tensor, nn

from methods.base import Component, Context, Net
from methods.shared import adapt, adapters_and_head, ensure, redraw, to_device

DEVIATION = 0.02


class Scaled(nn.Module):
    """A layer whose output, channels last, is scaled and shifted."""

    def __init__(self, base: nn.Module, channels: int) -> None:
        super().__init__()
        self.base = base
        self.scale, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        for p, mean in ((self.scale, 1.0), (self.shift, 0.0)):
            p.copy_(to_device(torch.empty(p.shape).normal_(mean, DEVIATION, generator=generator), p.device))

    @torch.no_grad()
    def folded(self, before: Any) -> nn.Module:
        """The plain layer; scale and shift go into ``before``: the layer itself, or what it stands behind where it is an Identity."""
        ensure(before.weight is not None and before.bias is not None, "ssf's shifts need a bias in every layer to be folded into")
        before.weight.mul_(self.scale.view(-1, *[1] * (before.weight.ndim - 1)))
        before.bias.mul_(self.scale).add_(self.shift)
        return self.base

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.base(x) + self.shift


class Ssf(Component):
    """The scales and shifts; no option."""

    paper = "Lian et al., NeurIPS 2022"
    color = "#aa4499"
    marker = "v"
    adds_parameters = True

    def __init__(self) -> None:
        self._adapters: list[Scaled] = []

    def check(self, net: Net) -> None:
        missing = [name for name in ("patch_embed", "blocks") if not hasattr(net.body, name)]
        ensure(
            not missing,
            f"ssf scales behind the patch embedding and in the blocks of a transformer, and of {missing} this backbone has none",
        )

    def surgery(self, net: Net) -> None:
        body: Any = net.body  # a transformer of timm
        dim: int = body.patch_embed.proj.out_channels

        def wrap(base: nn.Module) -> Scaled:
            channels = (
                base.out_features if isinstance(base, nn.Linear) else base.normalized_shape[-1] if isinstance(base, nn.LayerNorm) else dim
            )
            return Scaled(base, channels)

        self._adapters = adapt(net, _is_scaled, wrap)

    def undo_surgery(self, net: Net) -> None:
        body: Any = net.body
        proj = body.patch_embed.proj

        def unwrap(scaled: nn.Module) -> nn.Module:
            assert isinstance(scaled, Scaled)
            return scaled.folded(proj if isinstance(scaled.base, nn.Identity) else scaled.base)

        adapt(net, lambda _, module: isinstance(module, Scaled), unwrap)

    def setup(self, ctx: Context) -> None:
        redraw(self._adapters, ctx)

    def trains(self, i: int, net: Net, total_steps: int) -> list[nn.Parameter]:
        return adapters_and_head(self._adapters, net)


def _is_scaled(name: str, module: nn.Module) -> bool:
    """``patch_embed.norm``, an Identity in most networks, is the place behind the patch embedding."""
    inside = "blocks." in name and isinstance(module, nn.Linear)
    return inside or name == "patch_embed.norm" or isinstance(module, nn.LayerNorm)
