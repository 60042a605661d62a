"""RIFLE: redraw the classifier during training, so that its noise reaches deep into the backbone.

Li, Xiong, An, Xu, Dou: RIFLE: Backpropagation in Depth for Deep Transfer Learning through Re-Initializing the
Fully-connected LayEr. ICML 2020.

    after step round(k T / N), k = 1 .. N-1:   W, c ~ U(-1/sqrt(d), 1/sqrt(d))

T: total steps; N: periods (``n_periods``); (W, c): the classifier; d: its inputs. With ``head_lr="cyclic"`` the classifier's
learning rate is multiplied by (1 + cos(pi t / P)) / 2 at step t of a period of P steps; the run's own schedule still applies.

Deviations from the authors' code: there the classifier is also redrawn after the last epoch, which leaves a random head in
the saved model; here never at the end, and T need not be a multiple of N. There momentum survives the redraw
(``momentum="keep"``); here the classifier's momentum is cleared, which is our
default and not theirs. Their cyclic rate replaces the schedule; ours multiplies it (the
two agree under a constant schedule). The SMILE repository redraws inside the loss, before the backward pass, which fails on
current PyTorch, and adds resets when T is no multiple of N.
"""

import math
from typing import ClassVar, Literal

from torch import nn

from methods.base import Component, Net, Step
from methods.shared import ensure, init_linear


def period_ends(total_steps: int, n_periods: int) -> tuple[int, ...]:
    """The step counts round(k T / N), k = 0 .. N, without repetition: periods lie between neighbours."""
    return tuple(sorted({round(k * total_steps / n_periods) for k in range(n_periods + 1)}))


def cyclic_factor(i: int, ends: tuple[int, ...]) -> float:
    """Half a cosine from 1 toward 0 over the period that contains step ``i``."""
    start = max(e for e in ends if e <= i)
    end = min(e for e in ends if e > i)
    return 0.5 * (1 + math.cos(math.pi * (i - start) / (end - start)))


class Rifle(Component):
    """Redraws the classifier n_periods - 1 times.

    n_periods: N (>= 1; 1 never redraws). head_lr: ``"schedule"`` or ``"cyclic"``. momentum: ``"clear"`` drops the classifier's
    optimizer state at a redraw, ``"keep"`` leaves it.
    """

    paper = "Li et al., ICML 2020"
    color = "#009e73"
    marker = "v"
    variant_looks: ClassVar = {"rifle_cyclic": ("#009e73", "d")}
    neutral: ClassVar = {"n_periods": 1}

    def __init__(
        self,
        *,
        n_periods: int = 2,
        head_lr: Literal["schedule", "cyclic"] = "schedule",
        momentum: Literal["clear", "keep"] = "clear",
    ) -> None:
        ensure(n_periods >= 1, "n_periods must be >= 1")
        self.n_periods, self.head_lr, self.momentum = n_periods, head_lr, momentum

    def check(self, net: Net) -> None:
        ensure(isinstance(net.head, nn.Linear), f"rifle redraws a linear classifier, this backbone's is a {type(net.head).__name__}")

    def head_lr_factor(self, i: int, total_steps: int) -> float:
        return cyclic_factor(i, period_ends(total_steps, self.n_periods)) if self.head_lr == "cyclic" else 1.0

    def after_step(self, step: Step) -> None:
        ctx, done = step.ctx, step.i + 1
        if done == ctx.total_steps or done not in period_ends(ctx.total_steps, self.n_periods):
            return
        init_linear(ctx.net.head, ctx.rng.torch("init", done))
        if self.momentum == "clear":
            assert ctx.optimizer is not None
            for p in ctx.net.head_parameters():
                ctx.optimizer.state.pop(p, None)
