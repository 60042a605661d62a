"""BitFit: train biases and the classifier alone.

Ben Zaken, Goldberg, Ravfogel: BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models. ACL 2022.

    L = (1/B) sum_b CE(softmax(f(x_b)), y_b),   minimised over the biases of all layers and the classifier

f: the network with a new classifier; B: batch size. The bias of a normalisation layer counts. In convolutional networks nearly all
biases are BatchNorm's: its scale and its running statistics stay those of the source.

Deviations from the authors' code (for images, the V-PETL benchmark's): none for transformers, which have no running statistics.
``bn_train`` lets BatchNorm run on batch statistics and its running statistics drift.
"""

from torch import nn

from methods.base import Component, Net
from methods.shared import batch_norms, ensure


class BitFit(Component):
    """Trains biases. bn_train: BatchNorm in train mode."""

    paper = "Ben Zaken et al., ACL 2022"
    color = "#6b4c1e"
    marker = "v"

    def __init__(self, *, bn_train: bool = False) -> None:
        self.bn_train = bn_train

    def check(self, net: Net) -> None:
        ensure(bool(self._biases(net)), "this backbone has no biases to train")

    def trains(self, i: int, net: Net, total_steps: int) -> list[nn.Parameter]:
        return [*self._biases(net), *net.head_parameters()]

    def train_mode(self, net: Net) -> None:
        if not self.bn_train:
            for norm in batch_norms(net):
                norm.eval()

    @staticmethod
    def _biases(net: Net) -> list[nn.Parameter]:
        head = set(net.head_parameters())
        return [p for name, p in net.body.named_parameters() if p not in head and name.rpartition(".")[2].endswith("bias")]
