"""Fine-tuning: train the whole pre-trained network with cross-entropy.

    L = (1/B) sum_b CE(softmax(f(x_b)), y_b)

f: the network with a new classifier; B: batch size. The optimizer's coupled weight decay applies to every parameter,
BatchNorm's and biases included. Every other method is this one plus components.

Deviations from the authors' code: none; it has no single author. The SMILE repository's ``l2`` is the same loss.
"""

from typing import ClassVar

from methods.base import Component


class FineTuning(Component):
    """The baseline: no hook, no option."""

    paper = "baseline"
    color = "#222222"
    marker = "o"
    neutral: ClassVar = {}
