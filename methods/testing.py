"""The contract that every method is held to, for authors of methods to run in their own tests::

    from methods.testing import check_method

    def test_contract():
        check_method("mypkg.mymod:MyMethod", {"weight": 0.5})

It takes about a second on a CPU: a tiny network and data set, made here, train for a few steps in the real training loop. A broken
promise raises :class:`ContractError`, which names the promise and what was found. This is the one module of this package that knows
the loop.
"""

import functools
import importlib
import inspect
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import methods
from methods.base import Batch, Component

if TYPE_CHECKING:
    from benchmark.config.run_config import RunConfig
    from benchmark.training.loop import Fit

CLASSES, SOURCE_CLASSES = 3, 7
CROPS = {"test_vit": 160}
"""Pixels of the images by architecture; 32 for others."""
IMAGES = {"train": 12, "test": 6}
SIDE, STEPS = 40, 6
REFERENCE_STEPS = 4


class ContractError(AssertionError):
    """A method breaks a promise of the contract; the message says which, and how."""


@dataclass(frozen=True)
class Trial:
    """A method under test. method: as in a sweep file: a name, ``pkg.mod:Class``, or a composition ``a+b``. options: ``{option: value}``,
    in a composition ``{component.option: value}``; they go before what the method declares as ``fast``. images, backbone: see
    :func:`tiny_images` and :func:`tiny_backbone`.
    """

    method: str
    options: Mapping[str, Any]
    images: Path
    backbone: str

    @property
    def run(self) -> "RunConfig":
        """The run of this method that the checks train."""
        entry = {"name": "method under test", "use": self.method, **fast_options(self.method, self.options), **self.options}
        return tiny_run(self.images, self.backbone, entry, training={"log_every": 1})


def fast_options(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the components of ``method`` declare as ``fast``, ``{component.option: value}``, less what is ``given`` or a variant sets."""
    from benchmark.config.method_options import method_info

    options: dict[str, Any] = {}
    for part in method.split("+"):
        base, preset = methods.VARIANTS.get(part, (part, {}))
        fast = {key: value for key, value in method_info(base).declarations["fast"].items() if key not in preset}
        options |= {f"{part}.{key}": value for key, value in fast.items() if not {key, f"{part}.{key}"} & set(given)}
    return options


def check_method(method: str, options: Mapping[str, Any] | None = None) -> None:
    """Hold ``method`` (see :class:`Trial`) to every check in :data:`CHECKS`, in a temporary folder; raises :class:`ContractError`."""
    with tempfile.TemporaryDirectory() as folder, _cache(Path(folder) / "cache"):
        trial = Trial(method, dict(options or {}), tiny_images(Path(folder)), tiny_backbone(Path(folder)))
        for check in CHECKS:
            check(trial)


def check_source(trial: Trial) -> None:
    """Options and declarations read from the source text, as when a sweep is planned, are those of the class at run time."""
    from benchmark.config.method_options import method_info

    for part in trial.run.components:
        info = method_info(part.use)
        module, _, name = info.target.partition(":")
        found = getattr(importlib.import_module(module), name)
        _ensure(issubclass(found, Component), f"{info.target} is no subclass of methods.base.Component")
        runtime = {p.name: p.default for p in inspect.signature(found).parameters.values()}
        written = {key: option.default for key, option in info.options.items()}
        _ensure(runtime == written, f"{part.name}: its options are {runtime}, but its source says {written}")
        for key, value in info.declarations.items():
            actual = getattr(found, key)
            _ensure(actual == value, f"{part.name}: declaration {key} is {actual!r}, but the class body says {value!r}: state it there")


def check_training(trial: Trial) -> None:
    """Three steps give finite scalar float32 terms, all of them declared in ``terms``, and a network that classifies."""
    fit = trained(trial.run, 0)
    losses = fit.pipeline.losses

    def watched(step: Any) -> dict[str, Tensor]:
        terms = losses(step)
        for name, term in terms.items():
            fits = term.ndim == 0 and term.dtype == torch.float32
            _ensure(fits, f"loss term '{name}' is {term.dtype} of shape {tuple(term.shape)}; a float32 scalar is wanted")
        return terms

    fit.pipeline.losses = watched  # type: ignore[method-assign]
    advance(fit, 3)
    finite = all(np.isfinite(value) for row in fit.curves for value in row.values())
    _ensure(finite, f"a loss term is not finite: {fit.curves}")
    undeclared = logged_terms(fit) - declared_terms(trial)
    _ensure(not undeclared, f"loss terms {sorted(undeclared)} are not declared in 'terms'")
    side = trial.run.training.image_size
    logits = fit.net.eval()(torch.zeros(2, 3, side, side)).logits
    _ensure(logits.shape == (2, CLASSES), f"in eval mode the network gives logits of shape {tuple(logits.shape)}, not {(2, CLASSES)}")
    _ensure(bool(logits.isfinite().all()), "in eval mode the network's logits are not finite")


def check_batches(trial: Trial) -> None:
    """The images, labels and their order are those of fine-tuning; mixing leaves them as they are and depends on its generator alone."""
    fit = trained(trial.run, 0)
    for i, expected in enumerate(fine_tuning(trial.images, trial.backbone)[0]):
        batch = Batch(*fit.stream.batch(i))
        _ensure(all(map(torch.equal, batch[:3], expected[:3])), f"batch {i} is not the one that fine-tuning sees")
        mixed, again = (fit.pipeline.mix(batch, CLASSES, fit.ctx, i) for _ in range(2))
        _ensure(all(map(torch.equal, batch[:3], expected[:3])), "mix() changes the batch in place")
        same = torch.equal(mixed.x, again.x) and torch.equal(mixed.target, again.target)
        _ensure(same, "mix() draws from something else than the generator it is given")
        sums, rows, mixer = mixed.target.sum(1), len(mixed.x), mixer_declarations(trial)
        distribution = mixer.get("free_weights") or torch.allclose(sums, torch.ones_like(sums))
        _ensure(bool(distribution and (mixed.target >= 0).all()), "a mixed target is no distribution, and 'free_weights' is not declared")
        fits = rows == len(mixed.target) and (rows == len(batch.y) or mixer.get("more_rows"))
        _ensure(bool(fits), f"{len(batch.y)} images give {rows} rows and {len(mixed.target)} targets, and 'more_rows' is not declared")
        _ensure(0 <= mixed.lam <= 1, f"lam is {mixed.lam}")
        valid = mixed.perm is None or mixed.perm.sort().values.equal(torch.arange(len(batch.y)))
        _ensure(valid, "perm is no permutation of the batch")


def check_resume(trial: Trial) -> None:
    """A run whose state is saved after two steps, or after the last and before ``finish``, goes on from it bit for bit in a fresh one."""
    whole = trained(trial.run, 2)
    early = _saved(whole)
    advance(whole, STEPS - 2)
    late = _saved(whole)
    whole.pipeline.finish(whole.ctx)
    for state, steps in ((early, STEPS - 2), (late, 0)):
        resumed = trained(trial.run, 0)
        resumed.load_state_dict(torch.load(io.BytesIO(state), weights_only=True))
        advance(resumed, steps)
        resumed.pipeline.finish(resumed.ctx)
        _ensure_same(
            resumed,
            whole.net.state_dict(),
            "a resumed run differs: state_dict() or extra_modules() misses something, or a draw is not the run's own",
        )


def _saved(fit: "Fit") -> bytes:
    stream = io.BytesIO()
    torch.save(fit.state_dict(), stream)
    return stream.getvalue()


def check_neutral(trial: Trial) -> None:
    """With every component at its ``neutral`` options training equals fine-tuning bit for bit; skipped where one has none."""
    from benchmark.config.method_options import method_info

    names = [methods.VARIANTS.get(name, (name,))[0] for name in trial.method.split("+")]
    neutral = {name: method_info(name).declarations["neutral"] for name in names}
    if any(options is None for options in neutral.values()):
        return
    options = {f"{name}.{key}": value for name in names for key, value in neutral[name].items()}
    fit = trained(Trial("+".join(names), options, trial.images, trial.backbone).run, REFERENCE_STEPS)
    fit.pipeline.finish(fit.ctx)
    plain = fine_tuning(trial.images, trial.backbone)[1]
    _ensure_same(fit, plain, f"at its neutral options {options} training differs from fine-tuning")


CHECKS: tuple[Callable[[Trial], None], ...] = (check_source, check_training, check_batches, check_resume, check_neutral)


@functools.cache
def fine_tuning(images: Path, backbone: str) -> tuple[list[Batch], dict[str, Tensor]]:
    """What plain fine-tuning sees in its first steps, and its network's state after them; kept, as most checks need it."""
    fit = trained(tiny_run(images, backbone), REFERENCE_STEPS)
    return [Batch(*fit.stream.batch(i)) for i in range(REFERENCE_STEPS)], fit.net.state_dict()


def mixer_declarations(trial: Trial) -> Mapping[str, Any]:
    """What the mixer of a trial declares; nothing without one."""
    from benchmark.config.method_options import method_info

    said = [method_info(part.use).declarations for part in trial.run.components]
    return next((declarations for declarations in said if declarations["mixer"]), {})


def logged_terms(fit: "Fit") -> set[str]:
    """The methods' own terms in the curves of a run."""
    return {key.removeprefix("loss/") for row in fit.curves for key in row if key.startswith("loss/")} - {"total", "cross_entropy"}


def declared_terms(trial: Trial) -> set[str]:
    """The terms that the components of a trial declare."""
    from benchmark.config.method_options import method_info

    return {term for part in trial.run.components for term in method_info(part.use).declarations["terms"]}


def tiny_images(folder: Path) -> Path:
    """An ImageFolder of noise whose mean colour tells its class: 12 train and 6 test images in each of 3 classes, 40 px."""
    root, rng = folder / "images", np.random.default_rng(0)
    for split, count in IMAGES.items():
        for label in range(CLASSES):
            place = root / split / f"class{label}"
            place.mkdir(parents=True)
            for n in range(count):
                pixels = rng.integers(0, 150, (SIDE, SIDE, 3))
                pixels[..., label] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{n}.png")
    return root


def tiny_backbone(folder: Path, architecture: str = "test_resnet") -> str:
    """A tiny network of timm with random weights and a 7-class source classifier, as a checkpoint: the backbone's name in a sweep."""
    file = folder / f"{architecture}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = timm.create_model(architecture, num_classes=SOURCE_CLASSES)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, file)
    return f"{architecture}@{file}"


def tiny_run(images: Path, backbone: str, method: str | Mapping[str, Any] = "fine_tuning", **changes: Any) -> "RunConfig":
    """The config of one run of ``method`` (an entry of a sweep file): 6 steps of 8 images. ``changes``: keys of a sweep file."""
    from benchmark.config import grid

    raw: dict[str, Any] = {
        "name": "test",
        "backbone": backbone,
        "datasets": [{"name": "tiny", "use": f"folder:{images}"}],
        "seeds": [0],
        "methods": [method],
        "baseline": method if isinstance(method, str) else method["name"],
        "training": {"steps": STEPS, "batch_size": 8, "image_size": CROPS.get(backbone.partition("@")[0], 32), "log_every": 2},
        "linearity": {"pairs": 4, "lambdas": 3},
        "runtime": {"device": "cpu"},
    }
    for key, value in changes.items():
        raw[key] = {**raw.get(key, {}), **value} if isinstance(value, Mapping) else value
    return grid.expand(grid.SweepFile.model_validate(raw), [], "test").runs[0]


def trained(run: "RunConfig", steps: int) -> "Fit":
    """``run`` after its first ``steps`` steps."""
    from benchmark.training.run import assemble

    fit, _, _ = assemble(run)
    advance(fit, steps)
    return fit


def advance(fit: "Fit", steps: int) -> None:
    """``steps`` more steps."""
    from benchmark.training.loop import train_step

    for _ in range(steps):
        train_step(fit, fit.step)
        fit.step += 1


def _ensure(condition: bool, message: str) -> None:
    if not condition:
        raise ContractError(message)


def _ensure_same(fit: "Fit", expected: Mapping[str, Tensor], message: str) -> None:
    different = [name for name, tensor in fit.net.state_dict().items() if not torch.equal(tensor, expected[name])]
    _ensure(not different, f"{message} (in {', '.join(different[:3])}, {len(different)} tensors in all)")


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """Keep decoded images and set-up passes out of the user's cache."""
    before = os.environ.get("SMILEBENCH_CACHE")
    os.environ["SMILEBENCH_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["SMILEBENCH_CACHE"]
        if before is not None:
            os.environ["SMILEBENCH_CACHE"] = before
