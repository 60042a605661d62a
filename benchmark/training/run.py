"""One run, from its config to its record. The only door that sweeps and ``train`` come through."""

import datetime
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmark.config.run_config import RunConfig, load_run
from benchmark.training.backbones import Source, source_of, student_of
from benchmark.training.checkpoint import Checkpoints, Snapshots
from benchmark.training.cpu_forms import for_cpu
from benchmark.training.evaluate import Predictions, evaluate, followed
from benchmark.training.frozen import Runner, compiled, make_room
from benchmark.training.images import Images, load_also_test, load_images, load_test
from benchmark.training.linearity import draw_pairs, measure
from benchmark.training.loop import Fit
from benchmark.training.loop import train as fit_train
from benchmark.training.on_device import RESIDENT, keep_pages, reset_peak, set_numerics
from benchmark.training.optim import build_optimizer
from benchmark.training.pipeline import Pipeline
from benchmark.training.preflight import preflight
from benchmark.training.record import AlsoTested, Events, Results, build, write
from benchmark.training.seeding import Streams
from benchmark.training.session import Interrupted, Session
from benchmark.training.setup_cache import setup_cache
from datasets.arena import ArenaSplit
from datasets.seal import sealed
from datasets.stream import Preprocess, Sample, TrainStream, eval_batches, train_batches
from methods.base import Batch, Context, Net

TRAIN_IMAGES_EVALUATED = 2000

__all__ = ["Interrupted", "assemble", "assess", "load_run", "preflight", "train"]


def train(config: RunConfig, session: Session) -> None:
    """Carry out one run inside ``session.folder``; returns when its record is written.

    Raises ``Interrupted`` after a checkpoint when the session asks to stop.
    """
    started_at = datetime.datetime.now(datetime.UTC)
    started = time.monotonic()
    keep_pages()
    reset_peak()
    fit, images, source = assemble(config)
    with Events(session.folder, config.runtime.tensorboard, session.check) as events:
        checkpoints = Checkpoints(
            session.folder, session.claim, config.runtime.checkpoint_seconds, lambda state: events.write(state["curves"])
        )
        snapshots = Snapshots(session.folder, config.evaluation.snapshots, config.training.steps)
        saved, damages = checkpoints.load()
        if saved is not None and (lacking := snapshots.lacking(saved["step"])):
            damages, saved = [*damages, lacking], None
            checkpoints.drop()
        for damage in damages:
            session.log(f"not used: {damage}")
        if saved is not None:
            fit.load_state_dict(saved)
            session.log(f"resumed at step {fit.step} of {config.training.steps} (claim {session.claim})")
        else:
            session.log(f"started (claim {session.claim})")
        before = fit.elapsed
        with sealed():
            fit_train(fit, session, checkpoints, snapshots)
        events.write(fit.curves)
    results = assess(config, fit, images, source, session)
    wall = before + fit.spared + time.monotonic() - started
    results = replace(results, wall_seconds=wall, started_at=started_at)
    record = build(config, results)  # settled: what snapshots score on test can change nothing in it
    if results.test is not None and snapshots.steps:
        snapshots.score(fit.net, _on_test(config, fit, session, "evaluate snapshots"), results.test, session.check)
    write(config, session, results, record)


def assemble(config: RunConfig) -> tuple[Fit, Images, Source]:
    """Everything a run needs before its first step, set-up passes included."""
    streams = Streams(config.dataset, config.fraction, config.seed)
    images = load_images(config, streams)
    with sealed():
        return _assemble(config, images, streams)


def _assemble(config: RunConfig, images: Images, streams: Streams) -> tuple[Fit, Images, Source]:
    device = torch.device(config.runtime.device)
    set_numerics(device)
    if config.compile == "on":
        make_room()
    source = source_of(config, streams)
    pipeline = Pipeline.build(config.components)
    num_classes = len(images.arena.classes)
    student = student_of(source, num_classes, streams)
    if device.type == "cpu" and config.compile == "off":
        for_cpu(student.body)
    pipeline.check(student, source.num_classes)
    source.net.tap(pipeline.taps(student))
    student.tap(pipeline.taps(student))
    pipeline.surgery(student)
    for net in (student, source.net):
        net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch takes both at once
    preprocess = Preprocess(config.training.image_size, source.mean, source.std, device)
    pixels = RESIDENT.pixels(images.train, device, config.runtime.workers_per_gpu)
    ctx = Context(
        net=student,
        source=source.net,
        train_pass=_train_pass(config, images, streams, preprocess, pixels),
        num_classes=num_classes,
        total_steps=config.training.steps,
        device=device,
        rng=streams,
        cached=_outside_setup,
        frozen=functools.partial(Runner, fold=config.fold_bn == "on", compile=config.compile == "on"),
    )
    cache = setup_cache(config, source.sha256, images.arena.data_hash, images.subset_hash, device)
    pipeline.setup(ctx, cache)
    optimizer = _optimizer(config, student, pipeline, device)
    stream = TrainStream(
        images.train,
        images.train_index,
        preprocess,
        batch_size=config.training.batch_size,
        flip=config.training.flip,
        resized=config.training.crop == "resized",
        rng=streams,
        views=pipeline.views,
        compile=config.compile == "on",
        pixels=pixels,
    )
    forward = compiled(student) if config.compile == "on" else student
    fit = Fit(config.training, preprocess, replace(ctx, optimizer=optimizer), pipeline, stream, optimizer, config.precision, forward)
    fit.spared = cache.spared
    return fit, images, source


def assess(config: RunConfig, fit: Fit, images: Images, source: Source, session: Session) -> Results:
    """Evaluation and linearity of the trained network; ``test`` is opened here, after the last step, and never by a tuning run."""
    if fit.step < config.training.steps:
        raise RuntimeError(f"test is opened after the last step, and this is step {fit.step} of {config.training.steps}")

    def batches(split: ArenaSplit, index: np.ndarray) -> Iterator[Sample]:
        pixels = fit.stream.pixels if split is images.train else None
        return eval_batches(split, index, fit.preprocess, config.evaluation.batch_size, pixels)

    def evaluated(phase: str, split: ArenaSplit, index: np.ndarray) -> Predictions:
        return evaluate(fit.net, followed(batches(split, index), session, fit.step, phase, len(index)), config.precision)

    shown = images.train_index[np.unique(np.linspace(0, len(images.train_index) - 1, TRAIN_IMAGES_EVALUATED).round().astype(int))]
    on_train = evaluated("evaluate train", images.train, shown)
    on_val = evaluated("evaluate val", images.val, images.val_index) if images.val is not None and len(images.val_index) else None
    if not config.evaluation.test:
        return Results(fit, images, source, on_train, on_val, None, {})
    test, test_index = load_test(config)
    on_test = evaluated("evaluate test", test, test_index)
    also = None
    if config.data.also_test is not None:
        arena, other = load_also_test(config)
        on_other = evaluated(f"evaluate {other.name}", other, np.arange(len(other)))
        also = AlsoTested(other.name, on_other, arena.data_hash, arena.pixels_hash)
    linearity = {}
    if config.linearity.pairs:
        rng = fit.ctx.rng.numpy("pairs")
        for name, split, index in (("train", images.train, images.train_index), ("test", test, test_index)):
            phase = f"linearity {name}"
            session.progress(fit.step, fit.step, phase, 0.0)
            first, second = draw_pairs(split, index, fit.preprocess.crop, config.linearity.pairs, rng).T
            shown_pairs = zip(followed(batches(split, first), session, fit.step, phase, len(first)), batches(split, second), strict=True)
            linearity[name] = measure(fit.net, shown_pairs, config.linearity, config.precision)
    return Results(fit, images, source, on_train, on_val, on_test, linearity, also)


def _on_test(config: RunConfig, fit: Fit, session: Session, phase: str) -> Callable[[Net], Predictions]:
    test, index = load_test(config)

    def evaluated(net: Net) -> Predictions:
        batches = eval_batches(test, index, fit.preprocess, config.evaluation.batch_size)
        return evaluate(net, followed(batches, session, fit.step, phase, len(index)), config.precision)

    return evaluated


def _optimizer(config: RunConfig, student: Net, pipeline: Pipeline, device: torch.device) -> torch.optim.Optimizer:
    extra = pipeline.extra_modules()
    for module, _ in extra:
        module.to(device)
    parts = student.body_parameters(), student.head_parameters(), extra
    return build_optimizer(config.training, *parts, pipeline.claimed_decay, pipeline.lr_factors(student), pipeline.no_decay(student))


def _outside_setup(name: str, options: object, compute: object) -> dict[str, torch.Tensor]:
    raise RuntimeError(f"cached('{name}'): results are kept on disk during setup alone")


def _train_pass(
    config: RunConfig, images: Images, streams: Streams, preprocess: Preprocess, pixels: torch.Tensor | None
) -> Callable[..., Iterator[Batch]]:
    given: dict[str, Any] = {"flip": config.training.flip, "resized": config.training.crop == "resized", "pixels": pixels}

    def train_pass(batch_size: int, augment: bool = False, batches: int | None = None) -> Iterator[Batch]:
        samples: Iterator[Sample]
        if augment:
            rng = streams.numpy("setup")
            samples = train_batches(images.train, images.train_index, preprocess, batch_size=batch_size, rng=rng, batches=batches, **given)
        else:
            samples = eval_batches(images.train, images.train_index, preprocess, batch_size, pixels)
        for n, sample in enumerate(samples):
            if batches is not None and n >= batches:
                return
            yield Batch(*sample)

    return train_pass
