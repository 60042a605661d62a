"""A timm model as the loop sees it: logits, pooled features and the maps that a method taps.

Depends on timm's contract only: ``forward_features``, ``forward_head``, ``get_classifier``, ``reset_classifier``, ``feature_info``.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from methods.base import Body, Edit, MethodError, Output


@dataclass(frozen=True)
class Layout:
    """How a backbone lays out what flows between its blocks.

    prefix_tokens: tokens before those of the image patches. channels_last: maps are [B, h, w, c] (timm's ``output_fmt`` NHWC).
    """

    prefix_tokens: int = 0
    channels_last: bool = False

    @classmethod
    def of(cls, body: nn.Module) -> "Layout":
        return cls(int(getattr(body, "num_prefix_tokens", 0)), getattr(body, "output_fmt", "NCHW") == "NHWC")

    def to_map(self, t: Tensor) -> Tensor:
        """Tokens [B, n, c] (h = w) or a map, as a map [B, c, h, w] without prefix tokens."""
        if t.ndim != 3:
            return t.permute(0, 3, 1, 2) if self.channels_last else t
        tokens = t[:, self.prefix_tokens :]
        side = math.isqrt(tokens.shape[1])
        return tokens.transpose(1, 2).unflatten(2, (side, side))

    def edited(self, t: Tensor, edit: Edit) -> Tensor:
        """``t`` with ``edit`` applied to its map, laid out as it was; prefix tokens are left alone."""
        changed = edit.fn(self.to_map(t))
        if t.ndim != 3:
            return changed.permute(0, 2, 3, 1) if self.channels_last else changed
        return torch.cat([t[:, : self.prefix_tokens], changed.flatten(2).transpose(1, 2)], dim=1)


class _Recorder:
    """What the tap hooks share during one forward. An object, so that a deep copy of a net gets its own."""

    def __init__(self) -> None:
        self.edit: Edit | None = None
        self.maps: dict[str, Tensor] = {}


class _Tap:
    """Forward hook of one tapped module: applies the edit, then records the output."""

    def __init__(self, name: str, recorder: _Recorder, layout: Layout) -> None:
        self.name, self.recorder, self.layout = name, recorder, layout

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        edit = self.recorder.edit
        if edit is not None and edit.tap == self.name:
            output = self.layout.edited(output, edit)
        self.recorder.maps[self.name] = self.layout.to_map(output)
        return output


class Net(nn.Module):
    """A backbone ``body`` with its classifier ``head``; implements :class:`methods.base.Net`."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        self.stages = tuple(info["module"] for info in body.feature_info)
        self._layout = Layout.of(body)
        self._recorder = _Recorder()
        self._hooks: dict[str, Any] = {}
        self.taps: tuple[str, ...] = ()

    @property
    def head(self) -> nn.Module:
        return self.body.get_classifier()

    def head_parameters(self) -> list[nn.Parameter]:
        return list(self.head.parameters())

    def body_parameters(self) -> list[nn.Parameter]:
        head = {id(p) for p in self.head.parameters()}
        return [p for p in self.body.parameters() if id(p) not in head]

    def tap(self, names: tuple[str, ...]) -> None:
        """Record the outputs of these modules of ``body`` in every forward (``"final"`` always is)."""
        modules = dict(self.body.named_modules())
        for name in names:
            if name == "final" or name in self._hooks:
                continue
            if name not in modules:
                raise MethodError(f"this backbone has no module '{name}' to tap (stages: {', '.join(self.stages)})")
            self._hooks[name] = modules[name].register_forward_hook(_Tap(name, self._recorder, self._layout))
        self.taps = tuple(self._hooks)

    def forward(self, x: Tensor, edit: Edit | None = None) -> Output:
        """x: [B, 3, H, W] -> logits [B, C], pooled features [B, F], maps {tap: [B, c, h, w]}."""
        self._recorder.edit = edit
        self._recorder.maps = {}
        final = self.body.forward_features(x)
        if edit is not None and edit.tap == "final":
            final = self._layout.edited(final, edit)
        features = self.body.forward_head(final, pre_logits=True)
        # By name: a compiler looks at these names before it takes compiled code again, and not at hooks.
        maps = {name: self._recorder.maps[name] for name in self.taps}
        maps["final"] = self._layout.to_map(final)
        self._recorder.maps = {}
        return Output(self.head(features), features, maps)
