"""What is refused before any compute: all that a run needs is put together once, without training it."""

from collections.abc import Sequence

import numpy as np
import torch

from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.training.backbones import source_of, student_of
from benchmark.training.images import load_images, load_test, open_arena
from benchmark.training.pipeline import Pipeline
from benchmark.training.record import check_installed
from benchmark.training.seeding import Streams
from datasets.stream import check_size


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
        source = source_of(config, streams)
        arena = open_arena(config.data.source, config.data.decode)
        load_images(config, streams)
        for split in [*arena.splits.values(), *([load_test(config)[0]] if config.evaluation.test else [])]:
            check_size(split, np.arange(len(split)), config.training.image_size)
        pipeline = Pipeline.build(config.components)
        student = student_of(source, len(arena.classes), streams)
        pipeline.check(student, source.num_classes)
        student.tap(pipeline.taps(student))
        if config.runtime.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("runtime.device: 'cuda', but no GPU is visible")
