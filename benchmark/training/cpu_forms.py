"""Forms of a network's layers that are faster on a CPU and compute the same: put in where the network is built.

Depthwise convolutions whose kernel is larger than their map, of at most 3×3 pixels: the library's weight gradient takes many times as
long as its forward there. Such a layer is a product with one small matrix per channel, y[c] = x[c] M[c], and so are both gradients.
Activations out of place where the in-place form has to keep a copy of its input for the backward pass: one copy less, the same bits. While
there is no backward pass, as in evaluation, they are in place again: no new memory, and again the same bits.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same_arg
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from methods.base import Net

_Pair = tuple[int, int]
LARGEST_SIDE = 3
"""Pixels of the maps' longer side up to which the matrices are faster: beyond, they grow with its fourth power."""
_KEEP_THEIR_INPUT = (nn.Hardtanh, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Mish, nn.GELU)
"""Activations whose backward pass reads their input; that of ReLU, sigmoid or tanh reads the output, which in place costs nothing."""

_MARK = "in_place_without_gradient"
"""Attribute of the activations that were taken out of place."""


def for_cpu(body: nn.Module) -> None:
    """Put the faster forms into ``body``; parameters, buffers and their names stay."""
    for name, module in list(body.named_modules()):
        if isinstance(module, _KEEP_THEIR_INPUT) and getattr(module, "inplace", False):
            module.inplace = False
            setattr(module, _MARK, True)
        if type(module) in (nn.Conv2d, Conv2dSame) and _is_depthwise(module):
            body.set_submodule(name, DepthwiseConv2d(module))


@contextmanager
def in_place(net: Net | nn.Module) -> Iterator[None]:
    """Activations that :func:`for_cpu` took out of place work in place within: for passes without gradients alone."""
    taken_out: list[Any] = [module for module in net.modules() if hasattr(module, _MARK)]
    for module in taken_out:
        module.inplace = True
    try:
        yield
    finally:
        for module in taken_out:
            module.inplace = False


def _is_depthwise(conv: nn.Conv2d) -> bool:
    plain = conv.dilation == (1, 1) and conv.padding_mode == "zeros" and isinstance(conv.padding, tuple)
    return plain and conv.bias is None and conv.groups == conv.in_channels == conv.out_channels > 1


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with the very same weight as ``conv``; its gradients are matrix products where its kernel is larger than a
    small map.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        channels = conv.in_channels
        size, stride, padding = cast(tuple[_Pair, _Pair, _Pair], (conv.kernel_size, conv.stride, conv.padding))
        super().__init__(channels, channels, size, stride, padding, groups=channels, bias=False, device="meta")
        self.weight = conv.weight
        self.same = isinstance(conv, Conv2dSame)
        self.train(conv.training)

    def forward(self, input: Tensor) -> Tensor:
        """input: [B, C, h, w] -> [B, C, h', w']."""
        top = left = bottom = right = 0
        if self.same:
            left, right, top, bottom = pad_same_arg(input.shape[2:], self.kernel_size, self.stride)
        padded = nn.functional.pad(input, (left, right, top, bottom)) if left or right or top or bottom else input
        side = max(input.shape[2:])
        wanted = side <= LARGEST_SIDE and side < min(self.kernel_size) and self.bias is None
        if not wanted or not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return self._conv_forward(padded, self.weight, self.bias)
        rows, columns = cast(_Pair, self.padding)
        before = (top + rows, left + columns)
        return _SmallMaps.apply(input, padded.detach(), self.weight, self.stride, self.padding, before)


class _SmallMaps(torch.autograd.Function):
    """The library's depthwise convolution forward; backward by one product per channel for each gradient. before: rows and columns of zeros
    above and left of ``x`` [B, C, h, w].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, padded: Tensor, weight: Tensor, stride: _Pair, padding: _Pair, before: _Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.before = stride, before
        return nn.functional.conv2d(padded, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        place = _place(x.shape[2:], grad.shape[2:], weight.shape[2:], ctx.stride, ctx.before).to(weight)
        by_channel = _by_channel(grad)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            matrix = (weight.flatten(1) @ place.transpose(1, 2).flatten(1)).view(len(weight), *place.shape[:0:-1])
            pixels = torch.bmm(by_channel, matrix).flatten(1).T.contiguous()
            grad_x = pixels.view(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[2]:
            product = torch.bmm(_by_channel(x).transpose(1, 2), by_channel)
            grad_weight = (product.flatten(1) @ place.flatten(1).T).view_as(weight)
        return grad_x, None, grad_weight, None, None, None


def _by_channel(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [C, B, h w], copied as a transposed matrix, which torch does in blocks, not element by element."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).T.contiguous().view(x.shape[1], len(x), -1)


@functools.cache
def _place(inputs: torch.Size, outputs: torch.Size, kernel: torch.Size, stride: _Pair, before: _Pair) -> Tensor:
    """[kernel taps, input pixels, output pixels]: 1 where a tap joins two pixels, else 0, so that products with it only pick and add."""
    rows, columns = (
        torch.arange(k)[:, None, None] == torch.arange(i)[None, :, None] - s * torch.arange(o)[None, None, :] + p
        for k, i, o, s, p in zip(kernel, inputs, outputs, stride, before, strict=True)
    )
    return torch.einsum("aio,bjp->abijop", rows.float(), columns.float()).reshape(kernel.numel(), inputs.numel(), outputs.numel())
