"""One run, from its config to its record. The only door that sweeps and ``train`` come through."""

import copy
import datetime
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.training import peak_memory, setup_cache
from benchmark.training.backbones import Source
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.cpu_forms import for_cpu
from benchmark.training.evaluate import Evaluation, evaluate
from benchmark.training.frozen import Runner, compiled
from benchmark.training.linearity import draw_pairs, measure
from benchmark.training.loop import Fit
from benchmark.training.loop import train as fit_train
from benchmark.training.net import Net
from benchmark.training.optim import build_optimizer
from benchmark.training.pipeline import Pipeline
from benchmark.training.record import Results, build, write
from benchmark.training.seeding import Streams
from benchmark.training.session import Interrupted, Session
from benchmark.training.snapshots import Snapshots
from benchmark.training.tensorboard import Events, check_installed
from datasets.arena import Arena, ArenaSplit, open_split
from datasets.seal import sealed
from datasets.stream import Sample, TrainStream, check_size, eval_batches, train_batches
from datasets.subsets import SAMPLERS, carve, limit, subset_hash, subset_listed
from methods.base import Batch, Context
from methods.shared import init_linear

TRAIN_IMAGES_EVALUATED = 2000

__all__ = ["Images", "Interrupted", "preflight", "train"]


@dataclass(frozen=True)
class Images:
    """The images of one run that training code may hold: ``arena`` is without ``test``. Indices: int64, positions in their split."""

    arena: Arena
    train: ArenaSplit
    train_index: np.ndarray
    val: ArenaSplit | None
    val_index: np.ndarray
    subset_hash: str


def train(config: RunConfig, session: Session) -> None:
    """Carry out one run inside ``session.folder``; returns when its record is written.

    Raises ``Interrupted`` after a checkpoint when the session asks to stop.
    """
    started_at = datetime.datetime.now(datetime.UTC)
    started = time.monotonic()
    peak_memory.keep_pages()
    peak_memory.reset_peak()
    fit, images, source = assemble(config)
    with Events(session.folder, config.runtime.tensorboard, session.check) as events:
        checkpoints = Checkpoints(
            session.folder, session.claim, config.runtime.checkpoint_seconds, lambda state: events.write(state["curves"])
        )
        snapshots = Snapshots(session.folder, config.evaluation.snapshots, config.training.steps)
        saved = checkpoints.load()
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
    wall = before + time.monotonic() - started
    results = replace(results, wall_seconds=wall, started_at=started_at)
    record = build(config, results)  # settled: what snapshots score on test can change nothing in it
    if results.test is not None and snapshots.steps:
        snapshots.score(fit.net, _on_test(config, fit, source, session, "evaluate snapshots"), results.test, session.check)
    write(config, session, results, record)


def assemble(config: RunConfig) -> tuple[Fit, Images, Source]:
    """Everything a run needs before its first step, set-up passes included."""
    streams = Streams(config.dataset, config.fraction, config.seed)
    images = load_images(config, streams)
    with sealed():
        return _assemble(config, images, streams)


def _assemble(config: RunConfig, images: Images, streams: Streams) -> tuple[Fit, Images, Source]:
    device = torch.device(config.runtime.device)
    source = setup_cache.source(config, streams)
    pipeline = Pipeline.build(config.components)
    num_classes = len(images.arena.classes)
    student = _student(source, num_classes, streams)
    if device.type == "cpu" and config.compile == "off":
        for_cpu(student.body)
    pipeline.check(student, source.num_classes)
    source.net.tap(pipeline.taps(student))
    student.tap(pipeline.taps(student))
    pipeline.surgery(student)
    for net in (student, source.net):
        net.to(device=device, memory_format=torch.channels_last)
    pixels = {"crop": config.training.image_size, "mean": source.mean, "std": source.std, "device": device}
    ctx = Context(
        net=student,
        source=source.net,
        train_pass=_train_pass(config, images, streams, pixels),
        num_classes=num_classes,
        num_source_classes=source.num_classes,
        total_steps=config.training.steps,
        device=device,
        rng=streams,
        cached=setup_cache.setup_cache(config, source.sha256, images.arena.data_hash, images.subset_hash, device),
        frozen=functools.partial(Runner, fold=config.fold_bn == "on", compile=config.compile == "on"),
    )
    pipeline.setup(ctx)
    optimizer = _optimizer(config, student, pipeline, device)
    stream = TrainStream(
        images.train,
        images.train_index,
        batch_size=config.training.batch_size,
        flip=config.training.flip,
        resized=config.training.crop == "resized",
        rng=streams,
        views=pipeline.views,
        compile=config.compile == "on",
        **pixels,
    )
    forward = compiled(student) if config.compile == "on" else student
    fit = Fit(config.training, replace(ctx, optimizer=optimizer), pipeline, stream, optimizer, config.precision, forward)
    return fit, images, source


def assess(config: RunConfig, fit: Fit, images: Images, source: Source, session: Session) -> Results:
    """Evaluation and linearity of the trained network; ``test`` is opened here, after the last step, and never by a tuning run."""
    if fit.step < config.training.steps:
        raise RuntimeError(f"test is opened after the last step, and this is step {fit.step} of {config.training.steps}")
    pixels = _pixels(config, fit, source)

    def evaluated(phase: str, split: ArenaSplit, index: np.ndarray) -> Evaluation:
        session.progress(fit.step, fit.step, phase, 0.0)
        return evaluate(fit.net, eval_batches(split, index, **pixels), config.precision)

    shown = images.train_index[np.unique(np.linspace(0, len(images.train_index) - 1, TRAIN_IMAGES_EVALUATED).round().astype(int))]
    on_train = evaluated("evaluate train", images.train, shown)
    on_val = evaluated("evaluate val", images.val, images.val_index) if images.val is not None and len(images.val_index) else None
    if not config.evaluation.test:
        return Results(fit, images, source, on_train, on_val, None, {})
    test, test_index = load_test(config)
    on_test = evaluated("evaluate test", test, test_index)
    linearity = {}
    if config.linearity.pairs:
        rng = fit.ctx.rng.numpy("pairs")
        for name, split, index in (("train", images.train, images.train_index), ("test", test, test_index)):
            session.progress(fit.step, fit.step, f"linearity {name}", 0.0)
            pairs = index[draw_pairs(len(index), config.linearity.pairs, rng)]
            batches = lambda chosen, split=split: eval_batches(split, chosen, **pixels)
            linearity[name] = measure(fit.net, batches, pairs, config.linearity, config.precision)
    return Results(fit, images, source, on_train, on_val, on_test, linearity)


def _on_test(config: RunConfig, fit: Fit, source: Source, session: Session, phase: str) -> Callable[[Net], Evaluation]:
    test, index = load_test(config)

    def evaluated(net: Net) -> Evaluation:
        session.progress(fit.step, fit.step, phase, 0.0)
        return evaluate(net, eval_batches(test, index, **_pixels(config, fit, source)), config.precision)

    return evaluated


def _pixels(config: RunConfig, fit: Fit, source: Source) -> dict[str, Any]:
    """How images are cut and normalised in evaluation."""
    return {
        "crop": config.training.image_size,
        "mean": source.mean,
        "std": source.std,
        "device": fit.ctx.device,
        "batch_size": config.evaluation.batch_size,
    }


def load_images(config: RunConfig, streams: Streams) -> Images:
    """The run's subset and its validation part."""
    arena = setup_cache.arena(config.data.use, config.data.decode)
    split, data = arena.split("train"), config.data
    if data.train_list is not None:
        drawn = subset_listed(split.keys, Path(data.train_list))
    else:
        drawn = SAMPLERS[data.sampling](split.labels, config.fraction, streams.numpy("subset"))
    train, val = carve(split.labels, drawn, data.val_fraction)
    return Images(arena, split, train, split if len(val) else None, val, subset_hash([split.keys[i] for i in train]))


def load_test(config: RunConfig) -> tuple[ArenaSplit, np.ndarray]:
    """The test split and the positions of the images to evaluate. Opened anew, so that no later run of this process finds it in memory."""
    split, wanted = open_split(setup_cache.arena(config.data.use, config.data.decode), "test"), config.data.test_images
    return split, limit(split.labels, split.keys, wanted) if wanted else np.arange(len(split))


def preflight(configs: Sequence[RunConfig]) -> None:
    """Refuse what cannot run, before any compute: each distinct backbone, method and data set is looked at once."""
    if any(config.runtime.tensorboard for config in configs):
        check_installed()
    seen = set()
    for config in configs:
        names = [repr((c.use, sorted(c.options.items()))) for c in config.components]
        key = (config.backbone, config.pretrained, config.data, config.training.image_size, *names)
        if key in seen:
            continue
        seen.add(key)
        streams = Streams(config.dataset, config.fraction, config.seed)
        source = setup_cache.source(config, streams)
        arena = setup_cache.arena(config.data.use, config.data.decode)
        load_images(config, streams)
        for split in [*arena.splits.values(), *([load_test(config)[0]] if config.evaluation.test else [])]:
            check_size(split, np.arange(len(split)), config.training.image_size)
        pipeline = Pipeline.build(config.components)
        student = _student(source, len(arena.classes), streams)
        pipeline.check(student, source.num_classes)
        student.tap(pipeline.taps(student))
        if config.runtime.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("runtime.device: 'cuda', but no GPU is visible")


def _student(source: Source, num_classes: int, streams: Streams) -> Net:
    body = copy.deepcopy(source.net.body)
    with torch.random.fork_rng(devices=[]):
        body.reset_classifier(num_classes)
    net = Net(body).requires_grad_(True)
    init_linear(net.head, streams.torch("init"))
    return net


def _optimizer(config: RunConfig, student: Net, pipeline: Pipeline, device: torch.device) -> torch.optim.Optimizer:
    extra = pipeline.extra_modules()
    for module, _ in extra:
        module.to(device)
    return build_optimizer(config.training, student.body_parameters(), student.head_parameters(), extra, pipeline.claimed_decay)


def _train_pass(config: RunConfig, images: Images, streams: Streams, pixels: dict[str, Any]) -> Any:
    augmentation = {"flip": config.training.flip, "resized": config.training.crop == "resized"}

    def train_pass(batch_size: int, augment: bool = False, batches: int | None = None) -> Iterator[Batch]:
        samples: Iterator[Sample]
        if augment:
            rng, given = streams.numpy("setup"), {**augmentation, **pixels}
            samples = train_batches(images.train, images.train_index, batch_size=batch_size, rng=rng, batches=batches, **given)
        else:
            samples = eval_batches(images.train, images.train_index, batch_size=batch_size, **pixels)
        for n, sample in enumerate(samples):
            if batches is not None and n >= batches:
                return
            yield Batch(*sample)

    return train_pass
