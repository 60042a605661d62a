"""The images of one run: its subset of train, its validation part, and, once training is over, its test split."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmark.config.run_config import RunConfig
from benchmark.training.seeding import Streams
from datasets.arena import Arena, ArenaSplit, Decode, find, open_split, prepare
from datasets.base import Use, open_dataset
from datasets.classes import places
from datasets.subsets import SAMPLERS, carve, limit, subset_hash, subset_listed


@dataclass(frozen=True)
class Images:
    """The images of one run that training code may hold: ``arena`` is without ``test``. Indices: int64, positions in their split."""

    arena: Arena
    train: ArenaSplit
    train_index: np.ndarray
    val: ArenaSplit | None
    val_index: np.ndarray
    subset_hash: str


@functools.cache
def open_arena(use: Use, decode: Decode) -> Arena:
    """The decoded data set, prepared before any run, without ``test``: what training code may hold. Opened once per process."""
    dataset = open_dataset(use)
    found = find(dataset, decode, closed={"test"})
    if found is None:
        prepare(dataset, decode)
        found = find(dataset, decode, closed={"test"})
    assert found is not None
    return found


def load_images(config: RunConfig, streams: Streams) -> Images:
    """The run's subset and its validation part."""
    arena = open_arena(config.data.source, config.data.decode)
    split, data = arena.split("train"), config.data
    if data.train_list is not None:
        drawn = subset_listed(split.keys, split.labels, arena.classes, Path(data.train_list))
    else:
        drawn = SAMPLERS[data.sampling](split.labels, config.fraction, streams.numpy("subset"))
    train, val = carve(split.labels, drawn, data.val_fraction)
    return Images(arena, split, train, split if len(val) else None, val, subset_hash([split.keys[i] for i in train]))


def load_test(config: RunConfig) -> tuple[ArenaSplit, np.ndarray]:
    """The test split and the positions of the images to evaluate. Opened anew, so that no later run of this process finds it in memory."""
    split, wanted = open_split(open_arena(config.data.source, config.data.decode), "test"), config.data.test_images
    return split, limit(split.labels, split.keys, wanted) if wanted else np.arange(len(split))


def load_also_test(config: RunConfig) -> tuple[Arena, ArenaSplit]:
    """The second test set, whole, called by its name and with the labels that its classes have in training. Opened anew, as ``test`` is."""
    also = config.data.also_test
    assert also is not None
    arena = open_arena(also.source, config.data.decode)
    own = open_arena(config.data.source, config.data.decode).classes
    split = open_split(arena, "test")
    labels = places(own, arena.classes, f"data.also_test: '{also.use}'")[split.labels]
    return arena, replace(split, name=also.name, labels=labels)
