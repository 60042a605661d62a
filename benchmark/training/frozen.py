"""How networks are run: compiled, and, where no gradient reaches them, with BatchNorm folded into the convolutions before it."""

import copy
from collections.abc import Callable
from typing import cast

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, fx, nn
from torch._dynamo.utils import counters

from benchmark.training.cpu_forms import DepthwiseConv2d
from methods.base import Body, Net, Output
from methods.shared import statistics

RECOMPILE_LIMIT = 64
"""Forms of a network that one worker may compile: taps, edits, batch sizes and classifiers of all methods and data sets of a sweep."""
_CONVOLUTIONS = (nn.Conv2d, DepthwiseConv2d, Conv2dSame)
_CAST = (nn.Linear, nn.Conv2d, Conv2dSame)
"""Layers, no subclasses, whose parameters autocast casts: others may compute with their weights first, as weight standardisation does."""
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


def compiled(net: Callable[..., Output]) -> Callable[..., Output]:
    """``net`` through ``torch.compile``, one graph per shape. Networks that differ in their weights alone share the compiled code.

    A network past the limit fails: torch would run it uncompiled without a word.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    return torch.compile(net, dynamic=False)


def make_room() -> None:
    """Called before a compiled run: forget what earlier runs compiled where this one might come to the limit. Kernels stay on the disk."""
    if counters["stats"]["unique_graphs"] > RECOMPILE_LIMIT // 2:
        torch._dynamo.reset()
        counters.clear()


class Runner:
    """Runs a network that no gradient reaches (:class:`methods.base.Frozen`). fold: see :class:`Folded`. compile: see :func:`compiled`.

    Under autocast the weights are kept as autocast would cast them at every pass: see :class:`Lowered`. Made at the first call, so that a
    network which nobody runs costs nothing, and again where ``refresh`` finds that modules went to another mode.
    """

    def __init__(self, net: Net, fold: bool, compile: bool) -> None:
        self._net, self._fold, self._compile = net, fold, compile
        self._forms: dict[torch.dtype | None, _Form] = {}
        self._modes: list[bool] = []

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Output:
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        if dtype not in self._forms:
            self._forms[dtype] = _Form(self._net, self._fold, self._compile, dtype)
            self._modes = self._present_modes()
        return self._forms[dtype].run(x)

    def refresh(self) -> None:
        if self._forms and self._modes != self._present_modes():
            self._forms.clear()
        for form in self._forms.values():
            form.update()

    def _present_modes(self) -> list[bool]:
        return [module.training for module in self._net.modules()]


class _Form:
    """``net`` as it is run in one precision: folded, lowered, compiled, where asked for."""

    def __init__(self, net: Net, fold: bool, compile: bool, dtype: torch.dtype | None) -> None:
        self.net, self._steps = net, list[Folded | Lowered]()
        if fold:
            self._steps.append(Folded(self.net))
            self.net = self._steps[-1].net
        if dtype is not None:
            self._steps.append(Lowered(self.net, dtype))
            self.net = self._steps[-1].net
        self.run = compiled(self.net) if compile else self.net

    def update(self) -> None:
        for step in self._steps:
            step.update()


class Lowered:
    """``net`` with weights and biases of its convolutions and linear layers in ``dtype``, as autocast casts them: the same numbers.

    Autocast keeps its copies of parameters that train, and casts all others anew at every pass, a kernel for each. Everything but these
    weights is shared with the original.
    """

    def __init__(self, net: Net, dtype: torch.dtype) -> None:
        self.net = _sharing(net)
        self._own: list[Tensor] = []
        self._cast: list[Tensor] = []
        for layer in self.net.modules():
            if type(layer) in _CAST:
                for name, p in list(layer.named_parameters(recurse=False)):
                    setattr(layer, name, nn.Parameter(p.to(dtype), requires_grad=False))
                    self._own.append(p)
                    self._cast.append(layer.get_parameter(name))

    @torch.no_grad()
    def update(self) -> None:
        """Cast again, after the original's weights changed."""
        if self._cast:
            torch._foreach_copy_(self._cast, self._own)


class Folded:
    """``net`` without the BatchNorm layers that directly follow a convolution: scale and shift are in the convolution's weights.

    net: the folded copy. It shares every other parameter and buffer with the original, its taps read the same maps, and it computes the
    same numbers up to rounding. A layer stays where its own output or its convolution's is tapped, where it runs on batch
    statistics, or where the network's code cannot be traced. timm's ``BatchNormAct2d`` keeps its drop and activation.
    """

    def __init__(self, net: Net) -> None:
        modules = dict(net.body.named_modules())
        found = [(cast(nn.Conv2d, modules[conv]), cast(nn.BatchNorm2d, modules[norm])) for conv, norm in foldable(net)]
        self.net = _sharing(net)
        self._convs, self._norms = [conv for conv, _ in found], [norm for _, norm in found]
        names = {module: name for name, module in modules.items()}
        for conv, norm in found:
            own = cast(nn.Conv2d, self.net.body.get_submodule(names[conv]))
            own.weight = nn.Parameter(torch.empty_like(conv.weight), requires_grad=False)
            own.bias = nn.Parameter(torch.empty_like(norm.bias), requires_grad=False)
            self.net.body.set_submodule(names[norm], _without_norm(norm))
        copies = [self.net.body.get_submodule(names[conv]) for conv in self._convs]
        self._weights, self._biases = [cast(Tensor, conv.weight) for conv in copies], [cast(Tensor, conv.bias) for conv in copies]
        self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Fold again, after the original's weights or statistics changed."""
        if not self._convs:
            return
        means, variances = zip(*map(statistics, self._norms), strict=True)
        deviation = torch._foreach_sqrt(torch._foreach_add(list(variances), [n.eps for n in self._norms]))
        scale = torch._foreach_div([n.weight for n in self._norms], deviation)
        shift = torch._foreach_sub([n.bias for n in self._norms], torch._foreach_mul(list(means), scale))
        own = [c.bias if c.bias is not None else torch.zeros_like(s) for c, s in zip(self._convs, scale, strict=True)]
        torch._foreach_copy_(self._biases, torch._foreach_add(shift, torch._foreach_mul(own, scale)))
        per_filter = [s.view(-1, 1, 1, 1) for s in scale]
        torch._foreach_copy_(self._weights, torch._foreach_mul([c.weight for c in self._convs], per_filter))


def foldable(net: Net) -> list[tuple[str, str]]:
    """Names in ``net.body`` of the pairs of a convolution and the BatchNorm layer which alone reads its output."""
    shell = _sharing(net).body
    for module in shell.modules():
        module._forward_hooks.clear()
    modules = dict(net.body.named_modules())
    try:
        graph = _Tracer().trace(_Features(shell))
    except Exception:  # what tracing cannot follow may fail in any way
        return []
    calls = [node for node in graph.nodes if node.op == "call_module"]
    names = [str(node.target).removeprefix("body.") for node in calls]
    pairs = []
    for node, name in zip(calls, names, strict=True):
        before = node.args[0] if node.args else None
        if not (isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1):
            continue
        conv = str(before.target).removeprefix("body.")
        if names.count(name) == names.count(conv) == 1 and _folds(modules[conv], modules[name]):
            pairs.append((conv, name))
    return pairs


def _folds(conv: nn.Module, norm: nn.Module) -> bool:
    known = type(conv) in _CONVOLUTIONS and type(norm) in _NORMS
    tapped = any(m._forward_hooks or m._forward_pre_hooks for m in (conv, norm))
    kept = isinstance(norm, nn.BatchNorm2d) and norm.affine and norm.track_running_stats
    return known and not tapped and not norm.training and kept


class _Features(nn.Module):
    """Images to the backbone's output, for tracing."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body.forward_features(x)


class _Tracer(fx.Tracer):
    """Looks inside the modules that hold a BatchNorm layer; every other module stays one node."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _NORMS) or not any(isinstance(child, _NORMS) for child in m.modules())


def _sharing(net: Net) -> Net:
    """A copy of the modules with the very same parameters and buffers."""
    return copy.deepcopy(net, {id(t): t for t in (*net.parameters(), *net.buffers())})


def _without_norm(norm: nn.Module) -> nn.Module:
    """What is left of a BatchNorm layer whose normalisation happens elsewhere."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
