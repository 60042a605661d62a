"""From an archive in the official layout to a trained run, and CIFAR-10's JPEG copy as a whole."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from benchmark.cli import data
from benchmark.training.images import open_arena
from benchmark.training.run import train
from datasets.arena import Decode, find
from datasets.base import open_dataset
from datasets.cifar10 import CLASSES
from tests.datasets import releases
from tests.runs import Notebook, config

WRITERS = {**releases.RELEASES, "cifar10": releases.cifar10, "cifar100": releases.cifar100}
CONSOLE = Console(quiet=True)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_an_official_archive_is_prepared_and_trained_on(name: str, backbone: str, tmp_path: Path) -> None:
    open_arena.cache_clear()
    WRITERS[name](tmp_path / "data")
    archive = releases.pack(tmp_path / "data", tmp_path / "official.tgz")
    data.prepare(name, archive, download=False, resize=36, keep_aspect=None, partial=True, console=CONSOLE)
    dataset = open_dataset(name)
    entry = {"name": name, "use": name, "resize": 36, "keep_aspect": dataset.keep_aspect}
    run = config(tmp_path, backbone, datasets=[entry], training={"steps": 2, "batch_size": 4})
    assert find(dataset, run.data.decode)
    train(run, Notebook(tmp_path / "run"))
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert (record["dataset"], record["num_classes"]) == (name, len(dataset.classes))
    assert record["num_train"] == len(dataset.splits["train"])
    assert record["data_hash"] == find(dataset, run.data.decode).data_hash
    assert 0 <= record["test_accuracy"] <= 1


@pytest.mark.slow
def test_the_jpeg_copy_of_cifar10_is_prepared_whole(tmp_path: Path) -> None:
    archive = Path(__file__).parents[3] / "shared" / "data" / "cifar10_jpg.tar.xz"
    if not archive.is_file():
        pytest.skip("the JPEG copy of CIFAR-10 is not beside the repository")
    data.prepare("cifar10", archive, download=False, resize=32, keep_aspect=None, partial=False, console=CONSOLE)
    arena = find(open_dataset("cifar10"), Decode(32, keep_aspect=False))
    assert arena.classes == CLASSES
    split = arena.split("test")
    position = {key: i for i, key in enumerate(split.keys)}
    compared = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            key = member.name.rpartition("test/")[2]
            if member.isfile() and key in position:
                pixels = np.asarray(Image.open(tar.extractfile(member)).convert("RGB"))
                assert np.array_equal(split.image(position[key]), pixels)
                compared += 1
    assert compared == 10_000
