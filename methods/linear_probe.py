"""Linear probe (feature extraction): train the classifier on a frozen backbone.

    L = (1/B) sum_b CE(softmax(W g(x_b) + c), y_b),   minimised over W and c alone

g: the pre-trained backbone, pooled; (W, c): the new classifier; B: batch size.

Deviations from the authors' code (the SMILE repository's ``fe``): by default the backbone runs in eval mode, so that its
BatchNorm statistics stay those of the source; there the frozen backbone ran in train mode and its running statistics
drifted (``bn_train=True``, variant ``linear_probe_bn_train``). There ``fe`` alone was trained without Nesterov momentum;
here the optimizer is the run's own, the same for every method.
"""

from typing import ClassVar

from torch import nn

from methods.base import Component, Net


class LinearProbe(Component):
    """Freezes the backbone.

    bn_train: leave the backbone in train mode (batch statistics, drifting running statistics, active dropout).
    """

    paper = "feature extraction, baseline"
    color = "#6b4c1e"
    marker = "s"
    variant_looks: ClassVar = {"linear_probe_bn_train": ("#6b4c1e", "D")}
    backwards = 0

    def __init__(self, *, bn_train: bool = False) -> None:
        self.bn_train = bn_train

    def trains(self, i: int, net: Net, total_steps: int) -> list[nn.Parameter]:
        return net.head_parameters()

    def train_mode(self, net: Net) -> None:
        if not self.bn_train:
            net.body.eval()
            net.head.train()
