"""Every published data set is read from its official layout, unpacked or as archives, from parquet and from an image folder."""

import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from datasets.arena import Decode, prepare
from datasets.base import DataError, DataSet, open_dataset
from tests.datasets import releases

RELEASES = releases.RELEASES
SMALL = Decode(24, keep_aspect=False)


def listed(dataset: DataSet) -> dict[str, dict[str, tuple[int, Path]]]:
    return {split: {item.key: (item.label, item.path) for item in items} for split, items in dataset.splits.items()}


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_the_official_layout_is_read(name: str, tmp_path: Path) -> None:
    truth = RELEASES[name](tmp_path / "data")
    dataset = open_dataset(f"{name}:{tmp_path / 'data'}")
    assert listed(dataset) == truth
    split = prepare(dataset, SMALL).split("test")
    for i, key in enumerate(split.keys):
        label, path = truth["test"][key]
        expected = Image.open(path).convert("RGB").resize((24, 24), Image.Resampling.BILINEAR)
        assert split.labels[i] == label
        assert np.array_equal(split.image(i), np.asarray(expected))


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_one_archive_of_everything_is_read(name: str, tmp_path: Path) -> None:
    RELEASES[name](tmp_path / "data")
    folder = prepare(open_dataset(f"{name}:{tmp_path / 'data'}"), SMALL)
    releases.pack(tmp_path / "data", tmp_path / "all.tar.gz")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in sorted((tmp_path / "data").rglob("*")):
            archive.write(file, f"wrapped/{file.relative_to(tmp_path / 'data')}")
    for file in ("all.tar.gz", "all.zip"):
        assert prepare(open_dataset(f"{name}:{tmp_path / file}"), SMALL).data_hash == folder.data_hash


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_what_is_not_at_hand_names_the_command(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"smilebench data prepare {name} --from PATH"):
        open_dataset(name)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("nothing to see")
    with pytest.raises(DataError, match=rf"holds no copy of '{name}' \(accepted: .*found: notes\.txt"):
        open_dataset(f"{name}:{tmp_path / 'other'}")


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_origin_is_stated(name: str, tmp_path: Path) -> None:
    RELEASES[name](tmp_path)
    dataset = open_dataset(f"{name}:{tmp_path}")
    assert dataset.name == name
    assert all(vars(type(dataset))[fact] for fact in ("licence", "homepage", "defects", "layouts", "sources"))


def test_cars_are_read_as_kaggle_wraps_them_and_as_one_folder(tmp_path: Path) -> None:
    truth = releases.stanford_cars(tmp_path / "kaggle", wrapped=True)
    assert listed(open_dataset(f"stanford_cars:{tmp_path / 'kaggle'}")) == truth
    truth = releases.stanford_cars_one_folder(tmp_path / "one")
    dataset = open_dataset(f"stanford_cars:{tmp_path / 'one'}")
    assert listed(dataset) == truth
    assert dataset.classes == tuple(releases.CARS)


def test_cars_are_read_from_the_three_archives(tmp_path: Path) -> None:
    truth = releases.stanford_cars(tmp_path / "data")
    (tmp_path / "packed").mkdir()
    for part, archive in (("cars_train", "cars_train.tgz"), ("cars_test", "cars_test.tgz"), ("devkit", "car_devkit.tgz")):
        with tarfile.open(tmp_path / "packed" / archive, "w:gz") as tar:
            tar.add(tmp_path / "data" / part, part)
    with pytest.raises(DataError, match="holds no copy"):
        open_dataset(f"stanford_cars:{tmp_path / 'packed'}")
    (tmp_path / "data" / "cars_test_annos_withlabels.mat").rename(tmp_path / "packed" / "cars_test_annos_withlabels.mat")
    found = listed(open_dataset(f"stanford_cars:{tmp_path / 'packed'}"))
    assert {split: list(items) for split, items in found.items()} == {split: list(items) for split, items in truth.items()}


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    truth = releases.mit_indoor67(tmp_path, accent="\udce9")
    dataset = open_dataset(f"mit_indoor67:{tmp_path}")
    assert listed(dataset) == truth
    prepare(dataset, SMALL)


def write_parquet(folder: Path, split: str, rows: list[tuple[int, bytes]], names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": content, "path": None} for _, content in rows]
    table = pyarrow.table({"image": images, "label": [label for label, _ in rows]})
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")


def test_parquet_files_are_read_with_their_class_names(tmp_path: Path) -> None:
    truth = releases.stanford_cars(tmp_path / "cars")
    for split, items in truth.items():
        write_parquet(tmp_path / "hub" / "data", split, [(label, path.read_bytes()) for label, path in items.values()], releases.CARS)
    dataset = open_dataset(f"stanford_cars:{tmp_path / 'hub'}")
    assert dataset.classes == ("000.AM General Hummer SUV 2000", "001.Ram C-V Cargo Van Minivan 2012")
    for split, items in truth.items():
        found = sorted((item.label, item.path.read_bytes()) for item in dataset.splits[split])
        assert found == sorted((label, path.read_bytes()) for label, path in items.values())


def test_aircraft_joins_train_and_val_of_any_copy(tmp_path: Path) -> None:
    path = releases.picture(tmp_path / "a.jpg", 0)
    for split in ("train", "validation", "test"):
        write_parquet(tmp_path / "hub", split, [(0, path.read_bytes()), (1, path.read_bytes())], ["a", "b"])
    dataset = open_dataset(f"fgvc_aircraft:{tmp_path / 'hub'}")
    assert {split: len(items) for split, items in dataset.splits.items()} == {"train": 4, "test": 2}


def test_validation_is_test_where_a_parquet_copy_has_no_other(tmp_path: Path) -> None:
    path = releases.picture(tmp_path / "a.jpg", 0)
    for split in ("train", "validation"):
        write_parquet(tmp_path / "hub", split, [(0, path.read_bytes()), (1, path.read_bytes())], ["a", "b"])
    assert {*open_dataset(f"food101:{tmp_path / 'hub'}").splits} == {"train", "test"}


@pytest.mark.parametrize(
    ("columns", "name", "reason"),
    [
        ({"image": [{"bytes": b"x"}], "text": ["a"]}, "train-0.parquet", r"no column label or labels.*\(columns: image, text\)"),
        ({"image": [{"bytes": b"x"}], "label": [".."]}, "train-0.parquet", "points outside"),
        ({"image": [{"bytes": None, "path": "a.jpg"}], "label": [0]}, "train-0.parquet", "only the path 'a.jpg'"),
        ({"image": [b"x"], "label": [0]}, "0000.parquet", "must begin with its split"),
    ],
)
def test_a_parquet_file_that_does_not_fit_is_refused(tmp_path: Path, columns: dict, name: str, reason: str) -> None:
    (tmp_path / "hub").mkdir()
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "hub" / name)
    with pytest.raises(DataError, match=reason):
        open_dataset(f"food101:{tmp_path / 'hub'}")


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"train-0\.parquet is damaged"):
        open_dataset(f"food101:{tmp_path / 'train-0.parquet'}")


def test_an_archive_inside_an_archive_is_read(tmp_path: Path) -> None:
    truth = releases.caltech101(tmp_path / "data")
    inner = releases.pack(tmp_path / "data" / "caltech-101", tmp_path / "101_ObjectCategories.tar.gz")
    with zipfile.ZipFile(tmp_path / "caltech-101.zip", "w") as archive:
        archive.write(inner, "caltech-101/101_ObjectCategories.tar.gz")
    found = listed(open_dataset(f"caltech101:{tmp_path / 'caltech-101.zip'}"))
    assert {split: set(items) for split, items in found.items()} == {split: set(items) for split, items in truth.items()}


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("classes.txt", None, "no complete copy of 'cub200'.*classes.txt"),
        ("image_class_labels.txt", "1 1\n", "no complete copy of 'cub200'"),
        ("image_class_labels.txt", "".join(f"{n} 1\n" for n in range(1, 9)), "does not have images of each of its 2 classes"),
        ("images.txt", "1\n", "images.txt: expected 2 fields, found '1'"),
    ],
)
def test_a_release_that_does_not_fit_together_is_refused(tmp_path: Path, file: str, content: str | None, reason: str) -> None:
    releases.cub200(tmp_path)
    (tmp_path / "CUB_200_2011" / file).write_text(content or "")
    if content is None:
        (tmp_path / "CUB_200_2011" / file).unlink()
    with pytest.raises(DataError, match=reason):
        open_dataset(f"cub200:{tmp_path}")
