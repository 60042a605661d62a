"""Every data set of the table keeps the same promises."""

import tarfile
from pathlib import Path

import pytest

from datasets import DATASETS
from datasets.arena import Decode, prepare
from datasets.base import DataSet, open_dataset


@pytest.fixture(params=sorted(DATASETS))
def dataset(request: pytest.FixtureRequest, image_folder, tmp_path: Path) -> DataSet:
    if request.param == "digits":
        return open_dataset("digits")
    root = image_folder(per_class=3)
    if request.param == "folder":
        return open_dataset(f"folder:{root}")
    if request.param == "csv":
        rows = [f"{file.relative_to(root)},{file.parent.name},{file.parts[-3]}" for file in root.rglob("*.jpg")]
        (root / "list.csv").write_text("\n".join(["path,label,split", *rows]))
        return open_dataset(f"csv:{root / 'list.csv'}")
    with tarfile.open(tmp_path / "copy.tar", "w") as tar:
        tar.add(root, "copy")
    return open_dataset(f"{request.param}:{tmp_path / 'copy.tar'}")


def test_keys_are_sorted_unique_and_relative(dataset: DataSet) -> None:
    assert {"train", "test"} <= set(dataset.splits)
    for items in dataset.splits.values():
        keys = [item.key for item in items]
        assert keys == sorted(set(keys))
        assert not any(key.startswith("/") or "\\" in key for key in keys)


def test_every_split_has_every_class(dataset: DataSet) -> None:
    for items in dataset.splits.values():
        assert {item.label for item in items} == set(range(len(dataset.classes)))


def test_images_open_as_rgb_and_prepare(dataset: DataSet) -> None:
    arena = prepare(dataset, Decode(16, keep_aspect=False))
    assert arena.classes == dataset.classes
    for name, items in dataset.splits.items():
        assert dataset.open(items[-1]).mode == "RGB"
        assert arena.split(name).keys == tuple(item.key for item in items)
        assert arena.split(name).image(len(items) - 1).shape == (16, 16, 3)


def test_origin_is_declared(dataset: DataSet) -> None:
    declared = vars(type(dataset))
    assert declared["licence"]
    assert {"homepage", "defects"} <= set(declared)
