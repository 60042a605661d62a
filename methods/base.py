"""The contract between the training loop and a method.

A method is a list of components in one fixed pipeline::

    surgery -> setup -> (each step: trains -> mix -> before_forward -> forward -> penalties -> backward
                         -> second_pass -> before_step -> optimizer step -> after_step) -> finish

The loop knows these hooks and no method by name. A component overrides the hooks it needs; every
other hook of :class:`Component` does nothing. Batches, outputs and steps are never modified.

Options of a component are the keyword-only arguments of its ``__init__``, each with an annotation and
a literal default; its declarations are literal class attributes. Both are also read from the source
text, without importing torch, when a sweep is planned.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn


class MethodError(ValueError):
    """A component cannot do what it is asked to; the message says why and what to choose instead."""


class Batch(NamedTuple):
    """Training images as the stream gives them.

    x: float [B, 3, H, W], normalised. y: int64 [B]. index: int64 [B], position in the training split.
    extra_views: further augmented views of the same images, each [B, 3, H, W].
    """

    x: Tensor
    y: Tensor
    index: Tensor  # type: ignore[assignment]  # a field, where tuples have a method
    extra_views: tuple[Tensor, ...] = ()


class Edit(NamedTuple):
    """A change of one intermediate map in the student's forward: ``fn(map) -> map`` at tap ``tap``."""

    tap: str
    fn: Callable[[Tensor], Tensor]


class Mixed(NamedTuple):
    """What the network sees at one step.

    x: float [M, 3, H, W]. target: float [M, C], a distribution per row. perm: int64 [B], the partner of each sample, or None without
    mixing. lam: weight of the original sample in [0, 1]. edit: a change inside the network. M is the batch size B, and rows and samples
    correspond, unless the mixer declares ``more_rows``; a row's class weights sum to one unless it declares ``free_weights``.
    """

    x: Tensor
    target: Tensor
    perm: Tensor | None = None
    lam: float = 1.0
    edit: Edit | None = None

    def blend(self, t: Tensor) -> Tensor:
        """``lam * t + (1 - lam) * t[perm]`` along the batch; ``t`` itself without mixing."""
        if self.perm is None:
            return t
        return self.lam * t + (1.0 - self.lam) * t[self.perm]


class Output(NamedTuple):
    """A forward pass. logits: [B, C]. features: [B, F], pooled. maps: {tap: [B, c, h, w]}."""

    logits: Tensor
    features: Tensor
    maps: dict[str, Tensor]


class Body(nn.Module):
    """What is used of timm's models, for type checkers alone: no network is an instance of it."""

    feature_info: Sequence[dict[str, Any]]
    pretrained_cfg: dict[str, Any]
    forward_features: Callable[[Tensor], Tensor]
    forward_head: Callable[..., Tensor]
    get_classifier: Callable[[], nn.Module]
    group_matcher: Callable[..., dict[str, Any]]
    reset_classifier: Callable[[int], None]


class Net(Protocol):
    """A backbone with its classifier, as the loop builds it (an ``nn.Module``).

    ``body`` is the timm model, ``head`` its classifier. ``stages`` names the modules of timm's
    ``feature_info``, shallow to deep; the tap ``"final"`` is the output of ``forward_features``.
    """

    body: Body
    stages: tuple[str, ...]

    @property
    def head(self) -> nn.Module: ...
    def body_parameters(self) -> list[nn.Parameter]: ...
    def head_parameters(self) -> list[nn.Parameter]: ...
    def __call__(self, x: Tensor, edit: Edit | None = None) -> Output: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def buffers(self) -> Iterator[Tensor]: ...
    def train(self, mode: bool = True) -> Self: ...
    def eval(self) -> Self: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class Rng(Protocol):
    """Named random streams of one run; a draw depends on (stream, data set, fraction, seed, step) alone."""

    def seed(self, stream: str, step: int | None = None) -> int: ...
    def numpy(self, stream: str, step: int | None = None) -> np.random.Generator: ...
    def torch(self, stream: str, step: int | None = None) -> torch.Generator: ...


class Frozen(Protocol):
    """A way to run a network that no gradient reaches: the source, a teacher. It may be faster than the network's own forward."""

    def __call__(self, x: Tensor) -> Output: ...
    def refresh(self) -> None:
        """To be called after the network's weights or statistics changed."""


@dataclass(frozen=True)
class Context:
    """What a component may use, handed to ``setup`` and carried by every step.

    net: the student. source: the frozen pre-trained network in eval mode, with its source classifier and the same taps.
    train_pass(batch_size, augment=False, batches=None): one pass over the run's training images, shuffled by stream ``setup`` when
    ``augment``, in order otherwise. cached(name, options, compute): ``compute()`` -> {str: Tensor}, kept on disk under the
    hashes of weights, training subset, ``name`` and ``options``. optimizer: None during ``setup``. frozen(net): how to run a network that
    no gradient reaches; whoever changes its weights calls ``refresh`` on what it got.
    """

    net: Net
    source: Net
    train_pass: Callable[..., Iterator[Batch]]
    num_classes: int
    total_steps: int
    device: torch.device
    rng: Rng
    cached: Callable[[str, Mapping[str, Any], Callable[[], dict[str, Tensor]]], dict[str, Tensor]]
    frozen: Callable[[Net], Frozen]
    optimizer: torch.optim.Optimizer | None = None

    @functools.cached_property
    def run_source(self) -> Frozen:
        """The source network's forward."""
        return self.frozen(self.source)


@dataclass(frozen=True)
class Step:
    """One training step: ``i`` counts from 0. ``scratch`` is a fresh dict, shared by the components of this step."""

    i: int
    ctx: Context
    batch: Batch
    mixed: Mixed
    out: Output
    scratch: dict[str, Any] = field(default_factory=dict)

    def source(self, which: str) -> Output:
        """The frozen source network on the ``"clean"`` or the ``"mixed"`` images, computed at most once per step, no gradient."""
        x = {"clean": self.batch.x, "mixed": self.mixed.x}[which]
        key = "source_clean" if x is self.batch.x else "source_mixed"
        if key not in self.scratch:
            self.scratch[key] = self.ctx.run_source(x)
        return self.scratch[key]


class Component:
    """Base of every method component. Subclasses override what they need.

    Declarations
    ------------
    version: bumped when the component's results change. paper: citation, shown by ``list methods``. terms: names of all loss terms
    that ``penalties`` and ``monitor`` may give. mixer: overrides ``mix``. views: images per sample it needs (2 adds one extra view).
    hard_labels: needs unmixed labels. needs_input_mixing: needs a component that mixes inputs. mixes_inside: a mixer that may mix
    maps inside the network instead of images. compares_networks: sets the student's outputs against another network's on the same
    images, which is undefined beside ``mixes_inside``. needs_source_head: needs the source classifier. needs_val: needs
    ``val_fraction > 0``. neutral: the options at which training equals fine-tuning at the same weight decay. legacy: per later-added
    option, the value that reproduces earlier behaviour (left out of a run's hash). forwards, backwards: passes through the backbone
    per step, fine-tuning's being 1 and 1. fast: the options that tests run with, where a default is missing or makes set-up long.
    sets_head: gives the classifier a start in ``setup``, which comes before the others' set-up. needs_head_start: needs such a component.
    more_rows: a mixer whose batch may have more rows than images, which is undefined beside ``compares_networks``. free_weights: a mixer
    whose class weights need not sum to one. moves_weights: overrides ``second_pass``; chooses_weights: overrides ``finish``; a
    composition has at most one of each. adds_parameters: puts parameters of its own into the backbone, which is undefined beside
    ``pairs_parameters``: sets each parameter of the backbone against the source's.
    every: the options that say after how many steps something comes again: ``plan`` warns of one that no run is long enough for.
    color, marker: how figures draw the method (``"#rrggbb"``, matplotlib's marker); variant_looks: the same pair per named variant.
    ``hard_labels`` and ``needs_source_head`` may be narrowed or widened on the instance, where an option decides.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = ""
    terms: ClassVar[tuple[str, ...]] = ()
    mixer: ClassVar[bool] = False
    views: ClassVar[int] = 1
    hard_labels: bool = False
    needs_input_mixing: ClassVar[bool] = False
    mixes_inside: ClassVar[bool] = False
    compares_networks: ClassVar[bool] = False
    needs_source_head: bool = False
    needs_val: ClassVar[bool] = False
    neutral: ClassVar[Mapping[str, Any] | None] = None
    legacy: ClassVar[Mapping[str, Any]] = {}
    forwards: ClassVar[int] = 1
    backwards: ClassVar[int] = 1
    sets_head: ClassVar[bool] = False
    needs_head_start: ClassVar[bool] = False
    more_rows: ClassVar[bool] = False
    free_weights: ClassVar[bool] = False
    moves_weights: ClassVar[bool] = False
    chooses_weights: ClassVar[bool] = False
    adds_parameters: ClassVar[bool] = False
    every: ClassVar[tuple[str, ...]] = ()
    pairs_parameters: ClassVar[bool] = False
    fast: ClassVar[Mapping[str, Any]] = {}
    color: ClassVar[str] = ""
    marker: ClassVar[str] = ""
    variant_looks: ClassVar[Mapping[str, tuple[str, str]]] = {}

    off_last: float = 0.0
    """Of a mixer, set on the instance: the fraction of the steps, the last ones, in which nothing is mixed."""

    def check(self, net: Net) -> None:
        """Refuse what is undefined for this network with :class:`MethodError`; called before any compute."""

    def taps(self, net: Net) -> tuple[str, ...]:
        """Intermediate maps this component reads: ``"final"`` or module names inside ``net.body``."""
        return ()

    def weight_decay(self, group: str) -> float | None:
        """Coupled L2 coefficient for ``"backbone"``, ``"head"`` or ``"extra"``; None leaves the run's own."""
        return None

    def lr_factors(self, net: Net) -> Mapping[nn.Parameter, float]:
        """Factors on the learning rates of parameters of the backbone; 1 for those left out; those of several components multiply."""
        return {}

    def no_decay(self, net: Net) -> Sequence[nn.Parameter]:
        """Parameters of the backbone or the head that are exempt from weight decay."""
        return ()

    def surgery(self, net: Net) -> None:
        """Change the student's modules in place, once, before the optimizer exists."""

    def undo_surgery(self, net: Net) -> None:
        """Undo ``surgery`` on a trained student: put the backbone's own modules back, with weights that give the same in eval mode.

        Only needed where surgery adds parameters or changes what eval mode computes. :class:`MethodError` says why it cannot be.
        """

    def setup(self, ctx: Context) -> None:
        """One-off passes, buffers, and the student's own head start, once; must leave the source network and all modes as found."""

    def extra_modules(self) -> list[tuple[nn.Module, float]]:
        """Trained modules beside the student, each with its learning-rate factor (group ``"extra"``); called after ``setup``."""
        return []

    def phases(self, total_steps: int) -> tuple[int, ...]:
        """The steps, besides 0, before which what ``trains`` gives changes."""
        return ()

    def trains(self, i: int, net: Net, total_steps: int) -> Sequence[nn.Parameter] | None:
        """The student's parameters that train from step ``i`` on, at step 0 and at each of ``phases``; None: all.

        With several components those train that all of them name. All are in the optimizer from the start; one that does not train has no
        gradient, decay or momentum, and the backward pass ends where nothing before it trains.
        """
        return None

    def train_mode(self, net: Net) -> None:
        """Called after ``net.train()``, when a run starts and at each of ``phases``: put back what must not train (BatchNorm, say)."""

    def head_lr_factor(self, i: int, total_steps: int) -> float:
        """Factor on the head's learning rate at step ``i``; those of several components multiply."""
        return 1.0

    def mix(self, batch: Batch, num_classes: int, rng: np.random.Generator) -> Mixed:
        """The mixer's hook. ``rng`` is stream ``mix`` at this step; draw u, then the permutation, then the rest."""
        raise MethodError(f"{type(self).__name__} is not a mixer")

    def before_forward(self, i: int, net: Net, rng: torch.Generator) -> None:
        """Fill buffers that the forward reads; ``rng`` is stream ``noise`` at this step, on the CPU."""

    def penalties(self, step: Step) -> dict[str, Tensor]:
        """Scalar terms, already weighted, added to the cross-entropy; each is logged under its name."""
        return {}

    def monitor(self, step: Step) -> dict[str, Tensor]:
        """Values of terms applied on the gradient side, for the log only; called at log points, without gradient."""
        return {}

    def second_pass(self, step: Step) -> AbstractContextManager[None] | None:
        """After backward: a context in which the weights are moved; None: no second pass.

        Inside it the loop runs forward and backward once more, on the same batch, mix and noise, and the optimizer gets that gradient.
        The context puts the weights back. The network's buffers (BatchNorm's statistics) and the log are of the first pass.
        """
        return None

    def before_step(self, step: Step) -> None:
        """After backward, before the optimizer: gradient-side terms, moving averages."""

    def after_step(self, step: Step) -> None:
        """After the optimizer: re-initialisation, queues, projections."""

    def finish(self, ctx: Context) -> None:
        """After the last step and its checkpoint, before evaluation: put the weights to be evaluated into the student.

        A run that is killed here is resumed from that checkpoint: what this does must follow from the state alone.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs beyond ``setup`` and the extra modules' weights: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave; called after ``setup``."""
