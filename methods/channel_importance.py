"""How much each channel of a feature map matters for a classifier: the increase of the loss without it."""

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from methods.base import Body, Edit, Net
from methods.shared import init_linear

HEAD_DECAY = 1e-4
EPOCHS_PER_TENTH = 6
CPU_BUDGET, DEVICE_BUDGET = 2**22, 2**26


def train_head(features: Tensor, y: Tensor, num_classes: int, epochs: int, lr: float, rng: torch.Generator) -> nn.Linear:
    """A linear classifier trained by SGD on fixed features [n, F], in batches of 32; ``rng`` draws its start and the order."""
    head = nn.Linear(features.shape[1], num_classes).to(features)
    init_linear(head, rng)
    optimizer = torch.optim.SGD(head.parameters(), lr=lr, momentum=0.9, weight_decay=HEAD_DECAY)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = lr * 0.1 ** (epoch / EPOCHS_PER_TENTH)
        for rows in torch.randperm(len(y), generator=rng).to(y.device).split(32):
            optimizer.zero_grad()
            F.cross_entropy(head(features[rows]), y[rows]).backward()
            optimizer.step()
    return head.requires_grad_(False)


@torch.no_grad()
def naive_importance(net: Net, head: nn.Module, tap: str, x: Tensor, y: Tensor) -> Tensor:
    """Increase of the mean cross-entropy when channel k of the map at ``tap`` is zero, for every k: [c]. One whole forward per channel."""

    def loss_without(channel: int) -> Tensor:
        keep = torch.arange(channels, device=x.device).ne(channel).to(x.dtype)[:, None, None]
        return F.cross_entropy(head(net(x, Edit(tap, lambda t: t * keep)).features), y)

    out = net(x)
    channels = out.maps[tap].shape[1]
    losses = torch.stack([loss_without(channel) for channel in range(channels)])
    return losses - F.cross_entropy(head(out.features), y)


@torch.no_grad()
def fast_importance(net: Net, head: nn.Module, tap: str, x: Tensor, y: Tensor) -> Tensor:
    """As :func:`naive_importance`, but runs only what lies behind the tap, where the network allows it.

    As many channels at a time as keep the tapped maps within a budget of elements.
    """
    out = net(x)
    split = split_at(net, tap, x)
    if split is None:
        return naive_importance(net, head, tap, x, y)
    tapped, rest = split
    if tapped.shape != out.maps[tap].shape or not torch.allclose(rest(tapped, 1), out.features, rtol=1e-4, atol=1e-5):
        return naive_importance(net, head, tap, x, y)
    losses, budget = [], CPU_BUDGET if x.device.type == "cpu" else DEVICE_BUDGET
    for channels in torch.arange(tapped.shape[1], device=x.device).split(max(1, budget // tapped.numel())):
        copies = torch.cat([tapped] * len(channels))  # unlike repeat, keeps the memory format
        copies.unflatten(0, (len(channels), len(x)))[torch.arange(len(channels)), :, channels] = 0
        logits = head(rest(copies, len(channels)))
        loss = F.cross_entropy(logits, y.repeat(len(channels)), reduction="none")
        losses.append(loss.unflatten(0, (len(channels), len(x))).mean(1))
    return torch.cat(losses) - F.cross_entropy(head(out.features), y)


class _Pooled(nn.Module):
    """Images to pooled features, for tracing."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body.forward_head(self.body.forward_features(x), pre_logits=True)


class _TraceTo(fx.Tracer):
    """Looks inside the modules that contain ``target``; every other module stays one node."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not self.target.startswith(module_qualified_name + ".")


def split_at(net: Net, tap: str, x: Tensor) -> tuple[Tensor, Callable[[Tensor, int], Tensor]] | None:
    """The output of ``tap`` for images ``x``, and a function from ``n`` stacked outputs to ``n`` stacked pooled features.

    None where the network cannot be cut there: control flow that tracing cannot follow, or a module that runs other than once.
    """
    if tap == "final":
        return net.body.forward_features(x), lambda t, n: net.body.forward_head(t, pre_logits=True)
    root, target = _Pooled(net.body), f"body.{tap}"
    try:
        graph = _TraceTo(target).trace(root)
    except (fx.proxy.TraceError, TypeError):
        return None
    nodes = list(graph.nodes)
    cuts = [i for i, node in enumerate(nodes) if node.op == "call_module" and node.target == target]
    if len(cuts) != 1:
        return None
    before, cut = _dependent(nodes[: cuts[0] + 1]), nodes[cuts[0]]
    interpreter = fx.Interpreter(fx.GraphModule(root, graph), garbage_collect_values=False)
    interpreter.run(x)
    live = {node: interpreter.env[node] for node in before if node is not cut and any(user not in before for user in node.users)}
    if not all(isinstance(value, Tensor) and value.shape[:1] == x.shape[:1] for value in live.values()):
        return None

    def rest(t: Tensor, n: int) -> Tensor:
        env = dict.fromkeys(before)
        env.update({node: value.repeat(n, *[1] * (value.ndim - 1)) for node, value in live.items()})
        env[cut] = t
        return fx.Interpreter(interpreter.module).run(t, initial_env=env)

    return interpreter.env[cut], rest


def _dependent(nodes: list[fx.Node]) -> set[fx.Node]:
    """Those of ``nodes`` that depend on the network's input."""
    found: set[fx.Node] = set()
    for node in nodes:
        if node.op == "placeholder" or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found
