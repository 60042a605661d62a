"""The components of one run, called in the fixed order of :mod:`methods.base`."""

import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from benchmark.config.method_options import method_info
from benchmark.config.run_config import ComponentConfig
from benchmark.errors import UsageError
from benchmark.training.setup_cache import SetupCache
from methods.base import Batch, Component, Context, MethodError, Mixed, Net, Step
from methods.shared import one_hot, soft_cross_entropy


class Pipeline:
    """A list of components that acts as one. Knows the hooks and no method by name."""

    def __init__(self, named: Sequence[tuple[str, Component]], identities: Sequence[tuple[str, int]]) -> None:
        """identities: of each component, the code it is (``module:Class``) and that code's version."""
        self._named = list(named)
        self._identities = list(identities)
        self._mixer = next((component for _, component in named if component.mixer), None)
        self._phase: int | None = None

    @classmethod
    def build(cls, configs: Sequence[ComponentConfig]) -> "Pipeline":
        """Instantiate the configured components; a refused option names its component."""
        identities = [(method_info(config.use).target, config.version) for config in configs]
        return cls([(config.name, _instantiate(config)) for config in configs], identities)

    @property
    def views(self) -> int:
        return max(component.views for _, component in self._named)

    def check(self, net: Net, num_source_classes: int) -> None:
        """Refuse what cannot run on this network, before any compute."""
        for name, component in self._named:
            if component.needs_source_head and num_source_classes == 0:
                raise UsageError(f"method '{name}' needs the source classifier, but this backbone comes without one")
            if component.hard_labels and self._mixer is not None:
                raise UsageError(f"method '{name}' needs unmixed labels with these options, and this composition mixes them")
            try:
                component.check(net)
            except MethodError as error:
                raise UsageError(f"method '{name}': {error}") from error
        for group in ("backbone", "head", "extra"):
            claims = [name for name, component in self._named if component.weight_decay(group) is not None]
            if len(claims) > 1:
                raise UsageError(f"{' and '.join(claims)} both set the weight decay of the {group}: they cannot be combined")

    def taps(self, net: Net) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tap for _, component in self._named for tap in component.taps(net)))

    def claimed_decay(self, group: str) -> float | None:
        """The weight decay that a component claims for ``group``, else None."""
        return next((claim for _, component in self._named if (claim := component.weight_decay(group)) is not None), None)

    def surgery(self, net: Net) -> None:
        for _, component in self._named:
            component.surgery(net)

    def undo_surgery(self, net: Net) -> None:
        """Undo :meth:`surgery` on the trained student; UsageError names the component that cannot and says why."""
        for name, component in reversed(self._named):
            try:
                component.undo_surgery(net)
            except MethodError as error:
                raise UsageError(f"method '{name}' leaves a network that is not the plain one: {error}") from error

    def setup(self, ctx: Context, cache: SetupCache) -> None:
        """One-off passes; each component sees its own part of ``cache``."""
        found = [(component, *identity) for (_, component), identity in zip(self._named, self._identities, strict=True)]
        for component, code, version in sorted(found, key=lambda each: not each[0].sets_head):
            component.setup(replace(ctx, cached=cache.of(code, version)))

    def lr_factors(self, net: Net) -> dict[nn.Parameter, float]:
        factors: dict[nn.Parameter, float] = {}
        for _, component in self._named:
            for p, factor in component.lr_factors(net).items():
                factors[p] = factors.get(p, 1.0) * factor
        return factors

    def no_decay(self, net: Net) -> set[nn.Parameter]:
        return {p for _, component in self._named for p in component.no_decay(net)}

    def extra_modules(self) -> list[tuple[nn.Module, float]]:
        return [pair for _, component in self._named for pair in component.extra_modules()]

    def enter(self, i: int, ctx: Context) -> None:
        """Before step ``i``: set what trains, and in which mode, where a phase begins, or this process with its first step."""
        total = ctx.total_steps
        phase = max(begin for _, component in self._named for begin in (0, *component.phases(total)) if begin <= i)
        if phase == self._phase:
            return
        self._phase = phase
        chosen = [trains for _, component in self._named if (trains := component.trains(phase, ctx.net, total)) is not None]
        if chosen:
            train = set.intersection(*map(set, chosen))
            for p in (*ctx.net.body_parameters(), *ctx.net.head_parameters()):
                p.requires_grad_(p in train)
        self.train_mode(ctx.net)

    def train_mode(self, net: Net) -> None:
        net.train()
        for _, component in self._named:
            component.train_mode(net)

    def head_lr_factor(self, i: int, total_steps: int) -> float:
        factor = 1.0
        for _, component in self._named:
            factor *= component.head_lr_factor(i, total_steps)
        return factor

    def mix(self, batch: Batch, num_classes: int, ctx: Context, i: int) -> Mixed:
        if self._mixer is None or i >= ctx.total_steps - round(self._mixer.off_last * ctx.total_steps):
            return Mixed(batch.x, one_hot(batch.y, num_classes))
        return self._mixer.mix(batch, num_classes, ctx.rng.numpy("mix", i))

    def before_forward(self, i: int, ctx: Context) -> None:
        for _, component in self._named:
            component.before_forward(i, ctx.net, ctx.rng.torch("noise", i))

    def losses(self, step: Step) -> dict[str, Tensor]:
        """The cross-entropy and every component's terms, all scalars in float32."""
        terms = {"cross_entropy": soft_cross_entropy(step.out.logits, step.mixed.target)}
        for name, component in self._named:
            for term, value in component.penalties(step).items():
                if term in terms:
                    raise MethodError(f"method '{name}' gives a second loss term '{term}'")
                terms[term] = value
        return terms

    def monitor(self, step: Step) -> dict[str, Tensor]:
        return {term: value for _, component in self._named for term, value in component.monitor(step).items()}

    def second_pass(self, step: Step) -> AbstractContextManager[None] | None:
        return next((again for _, component in self._named if (again := component.second_pass(step)) is not None), None)

    def before_step(self, step: Step) -> None:
        for _, component in self._named:
            component.before_step(step)

    def after_step(self, step: Step) -> None:
        for _, component in self._named:
            component.after_step(step)

    def finish(self, ctx: Context) -> None:
        self.enter(ctx.total_steps - 1, ctx)  # a run that is resumed behind its last step has taken none in this process
        for _, component in self._named:
            component.finish(ctx)

    def state_dict(self) -> dict[str, Any]:
        return {
            "components": [component.state_dict() for _, component in self._named],
            "extra": [module.state_dict() for module, _ in self.extra_modules()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for (_, component), saved in zip(self._named, state["components"], strict=True):
            component.load_state_dict(saved)
        for (module, _), saved in zip(self.extra_modules(), state["extra"], strict=True):
            module.load_state_dict(saved)


def _instantiate(config: ComponentConfig) -> Component:
    module, _, name = method_info(config.use).target.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # code from outside the repository may fail in any way
        raise UsageError(f"method '{config.name}': {module} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Component)):
        raise UsageError(f"method '{config.name}': {module}:{name} is no subclass of methods.base.Component")
    try:
        return found(**config.options)
    except MethodError as error:
        raise UsageError(f"method '{config.name}': {error}") from error
