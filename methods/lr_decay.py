"""Layer-wise learning-rate decay: the nearer a layer is to the images, the slower it moves.

Used for fine-tuning since Howard and Ruder: Universal Language Model Fine-tuning for Text Classification. ACL 2018; for images Bao, Dong,
Piao, Wei: BEiT: BERT Pre-Training of Image Transformers. ICLR 2022.

    lr_l = lr max(min_scale, d^(L - l)),   l = 0 .. L

lr_l: learning rate of layer l; L: the classifier's layer, which has the run's rate; d: ``decay``, .75; ``min_scale``: 0. Layers are those
by which timm groups a model's parameters (its ``group_matcher``: stem, then block by block), or else the stages of ``feature_info``.

Deviations from the authors' code (timm's optimizer factory): there parameters of one dimension have no weight decay; here that is
the option ``decay_vectors=False``. The schedule and ``training.head_lr_factor`` act on top, as in every method.
"""

from collections.abc import Mapping
from typing import ClassVar

from timm.models import group_parameters
from torch import nn

from methods.base import Component, Net
from methods.shared import ensure, stage_numbers


def layer_numbers(net: Net) -> dict[str, int]:
    """The layer, from 0 up, of each parameter in ``net.body`` by name, the classifier's among them."""
    if hasattr(net.body, "group_matcher"):
        found = group_parameters(net.body, net.body.group_matcher(coarse=False), reverse=True)
        order = {layer: n for n, layer in enumerate(sorted(set(found.values())))}
        return {name: order[layer] for name, layer in found.items()}
    return stage_numbers(net)


class LrDecay(Component):
    """The factors. decay: d, in (0, 1]. min_scale: the smallest factor, in [0, 1]. decay_vectors: whether vectors have weight decay."""

    paper = "Howard and Ruder, ACL 2018"
    color = "#0072b2"
    marker = "v"
    neutral: ClassVar = {"decay": 1.0}

    def __init__(self, *, decay: float = 0.75, min_scale: float = 0.0, decay_vectors: bool = True) -> None:
        ensure(0 < decay <= 1, "decay must lie in (0, 1]")
        ensure(0 <= min_scale <= 1, "min_scale must lie in [0, 1]")
        self.decay, self.min_scale, self.decay_vectors = decay, min_scale, decay_vectors

    def lr_factors(self, net: Net) -> Mapping[nn.Parameter, float]:
        numbers, head = layer_numbers(net), set(net.head_parameters())
        top = max(numbers.values())
        return {
            p: max(self.min_scale, self.decay ** (top - numbers[name]))
            for name, p in net.body.named_parameters()
            if p not in head and name in numbers
        }

    def no_decay(self, net: Net) -> list[nn.Parameter]:
        return [] if self.decay_vectors else [p for p in net.body.parameters() if p.ndim < 2]
