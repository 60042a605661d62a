"""Own images without a split of their own: the same division everywhere, or another split as test."""

import hashlib
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from datasets.arena import Decode, prepare
from datasets.base import DataError, DataSet, Use, open_dataset

SQUARE = Decode(16, keep_aspect=False)


def keys(dataset: DataSet, split: str) -> set[str]:
    return {item.key for item in dataset.splits[split]}


@pytest.fixture
def classes(image_folder) -> Path:
    """Class folders without a split."""
    return image_folder(per_class=10) / "train"


@pytest.mark.parametrize("name", ["val", "validation"])
def test_another_split_can_be_test(image_folder, name: str) -> None:
    root = image_folder()
    before = open_dataset(f"folder:{root}")
    (root / "test").rename(root / name)
    dataset = open_dataset(Use(f"folder:{root}", test_from=name))
    assert list(dataset.splits) == ["train", "test"]
    assert all(keys(dataset, split) == keys(before, split) for split in ("train", "test"))


def test_class_folders_are_divided_class_by_class_and_alike_everywhere(classes: Path, tmp_path: Path) -> None:
    dataset = open_dataset(Use(f"folder:{classes}", split=0.7))
    counts = {split: Counter(item.label for item in items) for split, items in dataset.splits.items()}
    assert counts == {"train": {0: 7, 1: 7}, "test": {0: 3, 1: 3}}
    assert not keys(dataset, "train") & keys(dataset, "test")
    moved = Path(shutil.copytree(classes, tmp_path / "moved"))
    assert keys(open_dataset(Use(f"folder:{moved}", split=0.7)), "train") == keys(dataset, "train")


def test_the_division_is_what_it_was(tmp_path: Path, image_folder) -> None:
    """A fixed rule: a change of it would move images between train and test of everyone's data sets."""
    root = image_folder(per_class=6) / "train"
    cats = sorted((f"cat/{n}.jpg" for n in range(6)), key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    found = keys(open_dataset(Use(f"folder:{root}", split=0.5)), "train")
    assert {key for key in found if key.startswith("cat/")} == set(cats[:3]) == {"cat/0.jpg", "cat/1.jpg", "cat/3.jpg"}


def test_an_image_that_is_added_moves_at_most_one(classes: Path) -> None:
    before = keys(open_dataset(Use(f"folder:{classes}", split=0.6)), "train")
    shutil.copy(classes / "cat" / "0.jpg", classes / "cat" / "later.jpg")
    assert len(before ^ keys(open_dataset(Use(f"folder:{classes}", split=0.6)), "train") - {"cat/later.jpg"}) <= 1


def test_train_alone_is_divided(image_folder) -> None:
    root = image_folder(per_class=10)
    shutil.rmtree(root / "test")
    assert {name: len(items) for name, items in open_dataset(Use(f"folder:{root}", split=0.8)).splits.items()} == {"train": 16, "test": 4}


def test_a_class_called_train_is_a_class(classes: Path) -> None:
    (classes / "cat").rename(classes / "train")
    assert open_dataset(Use(f"folder:{classes}", split=0.5)).classes == ("dog", "train")


def test_the_division_is_part_of_the_datas_identity(classes: Path) -> None:
    hashes = {prepare(open_dataset(Use(f"folder:{classes}", split=share)), SQUARE).data_hash for share in (0.5, 0.6, 0.7)}
    assert len(hashes) == 3


def test_the_error_for_a_layout_says_what_to_write(image_folder) -> None:
    root = image_folder()
    (root / "test").rename(root / "val")
    with pytest.raises(DataError, match=r"no test/.*test_from: val\}.*split: 0\.7"):
        open_dataset(f"folder:{root}")
    with pytest.raises(DataError, match=r"no train/.*class folders without a split, .*split: 0\.7"):
        open_dataset(f"folder:{root / 'train'}")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"split": 0.5}, "has a test split"),
        ({"test_from": "val"}, "has a test split"),
        ({"split": 0.5, "test_from": "val"}, "exclude each other"),
        ({"test_from": ".."}, "no name of a folder"),
    ],
)
def test_options_that_do_not_fit_are_refused(image_folder, options: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_dataset(Use(f"folder:{image_folder()}", **options))


def test_a_split_that_is_not_there_is_refused_with_those_that_are(image_folder) -> None:
    root = image_folder()
    (root / "test").rename(root / "val")
    with pytest.raises(DataError, match=r"no split 'valid' beside train \(there is: val\)"):
        open_dataset(Use(f"folder:{root}", test_from="valid"))
    with pytest.raises(DataError, match=r"no split 'train' beside train"):
        open_dataset(Use(f"folder:{root}", test_from="train"))


def test_data_sets_with_official_splits_take_no_other() -> None:
    with pytest.raises(DataError, match="'digits' comes with its splits"):
        open_dataset(Use("digits", split=0.5))


def test_a_class_of_one_image_cannot_be_divided(classes: Path) -> None:
    for n in range(1, 10):
        (classes / "dog" / f"{n}.jpg").unlink()
    with pytest.raises(DataError, match=r"'dog/0\.jpg' is the only image of its class"):
        open_dataset(Use(f"folder:{classes}", split=0.5))


@pytest.mark.parametrize("emptied", [False, True])
def test_a_test_split_may_lack_a_class(image_folder, emptied: bool) -> None:
    root = image_folder(classes=("a", "b", "c"))
    for file in (root / "test" / "b").iterdir():
        file.unlink()
    if not emptied:
        (root / "test" / "b").rmdir()
    dataset = open_dataset(f"folder:{root}")
    assert {item.label for item in dataset.splits["test"]} == {0, 2}
    assert dataset.notes == ("test has no image of 1 of the 3 classes (b); its mean over classes is over the others",)


@pytest.mark.parametrize("name", ["café", "Ångström", "각"])
def test_class_folders_are_matched_whatever_their_unicode_form(image_folder, name: str) -> None:
    root = image_folder(classes=(name, "zebra"))
    (root / "test" / name).rename(root / "test" / unicodedata.normalize("NFD", name))
    dataset = open_dataset(f"folder:{root}")
    assert dataset.classes == tuple(sorted((name, "zebra")))
    assert Counter(item.label for item in dataset.splits["test"]) == {0: 4, 1: 4}
    (root / "train" / unicodedata.normalize("NFD", name)).mkdir()
    with pytest.raises(DataError, match=r"two folders .*differ in Unicode form alone"):
        open_dataset(f"folder:{root}")


def test_files_that_are_not_read_are_counted(image_folder) -> None:
    root = image_folder()
    for n, suffix in enumerate((".gif", ".gif", ".GIF", ".avif", "")):
        (root / "train" / "cat" / f"left{n}{suffix}").write_bytes(b"")
    (root / "train" / "cat" / ".hidden").write_bytes(b"")
    (note,) = open_dataset(f"folder:{root}").notes
    assert note.startswith("5 files are no images that are read (.gif 3, no suffix 1, .avif 1;")


@pytest.mark.parametrize("target", ["..", "../..", "."])
def test_a_link_to_a_folder_above_is_named(image_folder, target: str) -> None:
    root = image_folder()
    (root / "train" / "cat" / "loop").symlink_to(target)
    if target == "..":
        # It leads to the split's folder, where the next round meets the class again.
        reason = r"cat/loop/cat is a link|cat/loop is a link"
    else:
        reason = r"loop.* is a link to a folder that holds it"
    with pytest.raises(DataError, match=reason) as error:
        open_dataset(f"folder:{root}")
    assert str(error.value).count("loop") == 1, "it is not followed round and round"


def test_a_link_to_itself_is_named(image_folder) -> None:
    root = image_folder()
    (root / "train" / "cat" / "self.jpg").symlink_to("self.jpg")
    with pytest.raises(DataError, match=r"self\.jpg"):
        prepare(open_dataset(f"folder:{root}"), SQUARE)
