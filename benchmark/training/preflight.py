"""What is refused before any compute: all that a run needs is put together once, without training it."""

import copy
from collections.abc import Sequence

import numpy as np
import torch

from benchmark.config.run_config import RunConfig
from benchmark.devices import compile_problem
from benchmark.errors import UsageError, first_line
from benchmark.training.backbones import source_of, student_of
from benchmark.training.images import load_also_test, load_images, load_test, open_arena
from benchmark.training.linearity import draw_pairs
from benchmark.training.net import Net
from benchmark.training.pipeline import Pipeline
from benchmark.training.record import check_installed
from benchmark.training.seeding import Streams
from datasets.stream import check_size

PAIRS_TRIED = 16


def preflight(configs: Sequence[RunConfig]) -> None:
    """Refuse what cannot run, before any compute: each distinct backbone, method and data set is looked at once."""
    if any(config.runtime.device == "cuda" for config in configs):
        check_device()
    if any(config.compile == "on" for config in configs) and (problem := compile_problem(configs[0].runtime.device)):
        raise UsageError(f"compile: 'on' needs {problem}; compile=off runs without it")
    if any(config.runtime.tensorboard for config in configs):
        check_installed()
    pictures, networks, passed = set(), dict[tuple, list[RunConfig]](), set[tuple]()
    for config in configs:
        shown = (config.dataset, config.fraction, config.data, config.evaluation, config.linearity, config.training.image_size)
        if shown not in pictures:
            pictures.add(shown)
            _check_images(config)
        networks.setdefault((config.backbone, config.pretrained, config.data, config.training.image_size), []).append(config)
    for sharing in networks.values():
        _check_methods(sharing, passed)


def _check_methods(configs: Sequence[RunConfig], passed: set[tuple]) -> None:
    """Each distinct method on the network that ``configs`` start from, and a forward with the taps of all of them.

    passed: backbones, sizes and taps whose forward came through.
    """
    first = configs[0]
    streams = Streams(first.dataset, first.fraction, first.seed)
    source = source_of(first, streams)
    student = student_of(source, len(open_arena(first.data.source, first.data.decode).classes), streams)
    taps: dict[str, None] = {}
    for config in {repr([(c.use, sorted(c.options.items())) for c in config.components]): config for config in configs}.values():
        pipeline = Pipeline.build(config.components)
        pipeline.check(student, source.num_classes)
        taps |= dict.fromkeys(pipeline.taps(student))
    student.tap(tuple(taps))
    shape = (first.backbone, first.training.image_size, *student.taps)
    if shape not in passed:  # what a method does to the network comes later, in training
        passed.add(shape)
        check_forward(student, first)


def _check_images(config: RunConfig) -> None:
    """Every image is as large as the crop, and linearity finds pairs that show different images."""
    streams, crop = Streams(config.dataset, config.fraction, config.seed), config.training.image_size
    images = load_images(config, streams)
    used, splits = [("fraction", images.train, images.train_index)], list(images.arena.splits.values())
    if config.evaluation.test:
        test, index = load_test(config)
        used.append(("data.test_images", test, index))
        splits.append(test)
        if config.data.also_test is not None:
            splits.append(load_also_test(config)[1])
    for split in splits:
        check_size(split, np.arange(len(split)), crop)
    for key, split, index in used if config.linearity.pairs else []:
        if len(index) < 2:
            raise UsageError(
                f"{key}: linearity is measured on pairs of {split.name} images, and there is only {len(index)}: raise it, or set "
                "linearity.pairs to 0"
            )
        draw_pairs(split, index, crop, min(config.linearity.pairs, PAIRS_TRIED), streams.numpy("pairs"))


def check_forward(net: Net, config: RunConfig) -> None:
    """Refuse an image size that the network does not take, by a forward without numbers, or, where an operator needs them, with."""
    size = config.training.image_size
    try:
        _forward(copy.deepcopy(net).to("meta"), torch.empty(2, 3, size, size, device="meta"))
    except Exception:  # an operator may not know the meta device
        try:
            _forward(copy.deepcopy(net), torch.zeros(2, 3, size, size))
        except Exception as error:
            where = f"training.image_size: {size}: backbone '{config.backbone}'"
            raise UsageError(f"{where} cannot take images of this size: {first_line(error)}") from error


@torch.no_grad()
def _forward(net: Net, x: torch.Tensor) -> None:
    net.eval()(x)


def check_device() -> None:
    """Refuse a GPU that torch cannot use, in torch's own words."""
    try:
        torch.ones(1, device="cuda").add_(1).item()
    except Exception as error:
        where = "runtime.device: 'cuda', but torch cannot use a GPU here"
        raise UsageError(f"{where}: {first_line(error)}; runtime.device=cpu runs without one") from error
