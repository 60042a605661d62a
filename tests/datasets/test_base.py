"""Naming, listing and reading data sets."""

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.base import DataError, accept_missing, cache_root, open_dataset, recorded_place, remember


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    reference = load_digits()
    digits = open_dataset("digits")
    items = digits.splits["train"] + digits.splits["test"]
    assert sorted(item.row for item in items) == list(range(1797))
    for item in items[::37]:
        pixels = np.asarray(digits.open(item))
        assert item.label == reference.target[item.row]
        assert pixels.shape == (8, 8, 3)
        assert np.array_equal(pixels[:, :, 0], np.floor(reference.images[item.row] * 255 / 16 + 0.5))


def test_digits_split_is_stratified_and_disjoint() -> None:
    digits = open_dataset("digits")
    train, test = digits.splits["train"], digits.splits["test"]
    assert {item.key for item in train}.isdisjoint(item.key for item in test)
    for label in range(10):
        n_train, n_test = (sum(item.label == label for item in items) for items in (train, test))
        assert n_train == int(0.8 * (n_train + n_test))


def test_folder_lists_sorted_keys_at_any_depth(image_folder) -> None:
    root = image_folder()
    (root / "train" / "dog" / "deep").mkdir()
    (root / "train" / "dog" / "1.jpg").rename(root / "train" / "dog" / "deep" / "x.JPG")
    (root / "train" / "dog" / "notes.txt").write_text("no image")
    (root / "train" / "dog" / "._0.jpg").write_text("no image either")
    dataset = open_dataset(f"folder:{root}")
    keys = [item.key for item in dataset.splits["train"] if item.label == 1]
    assert dataset.classes == ("cat", "dog")
    assert keys == ["dog/0.jpg", "dog/2.jpg", "dog/3.jpg", "dog/deep/x.JPG"]
    assert dataset.open(dataset.splits["train"][0]).mode == "RGB"


def test_folder_agrees_with_torchvision(image_folder) -> None:
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import IMG_EXTENSIONS

    from datasets.folder import EXTENSIONS

    root = image_folder(classes=("b", "a", "C"))
    ours = open_dataset(f"folder:{root}")
    theirs = ImageFolder(root / "train")
    assert tuple(theirs.classes) == ours.classes
    assert [(str(item.path), item.label) for item in ours.splits["train"]] == theirs.samples
    assert EXTENSIONS == IMG_EXTENSIONS


def test_official_val_split_is_listed(image_folder) -> None:
    root = image_folder()
    (root / "val").symlink_to(root / "test", target_is_directory=True)
    assert len(open_dataset(f"folder:{root}").splits["val"]) == 8


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("digit", ["did you mean 'digits'", "cifar10", "folder"]),
        ("digits:somewhere", ["takes no path"]),
        ("folder", ["folder:PATH"]),
        ("folder:/not/there", ["/not/there", "train/<class>"]),
        ("cifar10", ["data prepare cifar10"]),
        ("cifar10:/not/there", ["/not/there"]),
    ],
)
def test_what_cannot_be_opened_is_explained(use: str, words: list[str]) -> None:
    with pytest.raises(DataError) as error:
        open_dataset(use)
    assert all(word in str(error.value) for word in words)


def _remove(path: Path) -> None:
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda root: _remove(root / "test"), ["no test/", "found: train"]),
        (lambda root: _remove(root / "train"), ["no train/"]),
        (lambda root: [_remove(root / "test" / name) for name in ("cat", "dog")], ["test holds no image of a class of train/"]),
        (lambda root: (root / "test" / "eel").mkdir(), ["test", "not in train ['eel']"]),
        (lambda root: [_remove(root / split / "dog") for split in ("train", "test")], ["1 class folders"]),
        (lambda root: [file.unlink() for file in (root / "train" / "cat").iterdir()], ["train/cat holds no image", ".webp"]),
    ],
)
def test_a_folder_that_is_no_data_set_is_explained(image_folder, break_it, words: list[str]) -> None:
    root = image_folder()
    break_it(root)
    with pytest.raises(DataError) as error:
        open_dataset(f"folder:{root}")
    assert all(word in str(error.value) for word in words)


def test_fingerprint_sees_a_change_behind_a_restored_time(image_folder) -> None:
    root = image_folder()
    before = open_dataset(f"folder:{root}").fingerprint()
    assert open_dataset(f"folder:{root}").fingerprint() == before
    file = root / "train" / "cat" / "0.jpg"
    stat, content = file.stat(), bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert open_dataset(f"folder:{root}").fingerprint() != before


def test_a_broken_link_is_named(image_folder) -> None:
    root = image_folder()
    (root / "test" / "cat" / "9.jpg").symlink_to(root / "gone.jpg")
    with pytest.raises(DataError, match=r"test/cat/9\.jpg"):
        open_dataset(f"folder:{root}").fingerprint()


def test_an_unreadable_image_is_named(image_folder) -> None:
    root = image_folder()
    (root / "train" / "cat" / "0.jpg").write_bytes(b"not an image")
    dataset = open_dataset(f"folder:{root}")
    with pytest.raises(DataError, match=r"train/cat/0\.jpg"):
        dataset.open(dataset.splits["train"][0])


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_remembered_place_is_as_readable_as_the_umask_lets_files_be(umask: int, mode: int, tmp_path: Path, cache: Path) -> None:
    before = os.umask(umask)
    try:
        remember("cifar10", tmp_path)
    finally:
        os.umask(before)
    assert (cache / "places" / "cifar10.json").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("call", [lambda path: remember("digits", path), lambda path: accept_missing("csv", path)])
def test_a_place_that_many_remember_at_once_is_whole(call: Callable[[Path], None], tmp_path: Path, cache: Path) -> None:
    together = threading.Barrier(8)

    def again(_: int) -> None:
        together.wait()
        call(tmp_path / "here")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(again, range(8))) == [None] * 8
    (file,) = (cache / "places").iterdir()
    assert json.loads(file.read_text())["path"] == str(tmp_path / "here")


def test_places_are_remembered(tmp_path: Path, cache: Path) -> None:
    assert recorded_place("cifar10") is None
    remember("cifar10", tmp_path / "a")
    remember("cifar10", tmp_path / "b")
    assert recorded_place("cifar10") == tmp_path / "b"
    assert [file.name for file in (cache / "places").iterdir()] == ["cifar10.json"]
    (cache / "places" / "cifar10.json").write_text("{")
    with pytest.raises(DataError, match="data prepare cifar10"):
        recorded_place("cifar10")


def test_a_pickled_data_set_is_small_and_still_reads(image_folder) -> None:
    dataset = open_dataset(f"folder:{image_folder()}")
    item = dataset.splits["test"][3]
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.splits == {}
    assert np.array_equal(np.asarray(copy.open(item)), np.asarray(dataset.open(item)))


def test_grey_and_opaque_images_of_any_mode_become_rgb_as_in_torchvision(image_folder) -> None:
    from torchvision.datasets.folder import default_loader

    root = image_folder()
    noise = np.random.default_rng(1).integers(0, 256, (20, 20, 4), np.uint8)
    for n, mode in enumerate(["L", "RGBA", "LA", "P", "1", "CMYK"]):
        suffix = "jpg" if mode == "CMYK" else "png"
        opaque = np.dstack([noise[:, :, :3], np.full((20, 20), 255, np.uint8)])
        Image.fromarray(opaque).convert("RGB" if mode in "P1CMYK" else mode).convert(mode).save(root / "train" / "cat" / f"m{n}.{suffix}")
    dataset = open_dataset(f"folder:{root}")
    for item in dataset.splits["train"]:
        assert np.array_equal(np.asarray(dataset.open(item)), np.asarray(default_loader(str(item.path))))


def test_listing_and_preparing_import_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, datasets.subsets; from datasets.base import open_dataset; from datasets.arena import Decode, prepare\n"
        "prepare(open_dataset('digits'), Decode(16, False)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_a_tilde_is_the_home_folder(image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SMILEBENCH_CACHE", "~/decoded")
    image_folder("pets")
    assert open_dataset("folder:~/pets").classes == ("cat", "dog")
    assert cache_root() == tmp_path / "decoded"


@pytest.mark.parametrize("use", ["folder:~nobody-of-this-name/pets", "csv:~nobody-of-this-name/list.csv"])
def test_a_home_folder_that_is_none_is_said(use: str) -> None:
    with pytest.raises(DataError, match="no such home folder"):
        open_dataset(use)


def test_without_a_home_folder_the_cache_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("SMILEBENCH_CACHE")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(DataError, match="set SMILEBENCH_CACHE"):
        cache_root()
