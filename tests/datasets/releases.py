"""Tiny copies of the official releases, in their layouts: two classes, our own pictures.

``RELEASES[name](root)`` writes the release below ``root`` and returns {split: {key: (label, path)}}, as the reader must list it.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

Truth = dict[str, dict[str, tuple[int, Path]]]


def picture(path: Path, seed: int) -> Path:
    """A small photo-like JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(noise).resize((48, 36)).save(path, "JPEG", quality=90)
    return path


def pack(folder: Path, archive: Path) -> Path:
    """A compressed tar of what ``folder`` holds."""
    with tarfile.open(archive, "w:gz") as tar:
        for entry in sorted(folder.iterdir()):
            tar.add(entry, entry.name)
    return archive


def lines(path: Path, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def structs(path: Path, rows: list[dict[str, object]], name: str = "annotations", **more: object) -> None:
    """A MATLAB struct array, as the development kits hold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = np.array([tuple(row.values()) for row in rows], dtype=[(key, object) for key in rows[0]])
    savemat(path, {name: table[None], **more})


def cells(values: list[str]) -> np.ndarray:
    """A MATLAB cell array of strings."""
    return np.array(values, dtype=object)[None]


def cub200(root: Path) -> Truth:
    root /= "CUB_200_2011"
    classes = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    truth: Truth = {"train": {}, "test": {}}
    names, labels, flags = [], [], []
    for number in range(1, 9):
        label, split = number % 2, "train" if number <= 4 else "test"
        key = f"{classes[label]}/Bird_{number:04d}.jpg"
        truth[split][key] = (label, picture(root / "images" / key, number))
        names.append(f"{number} {key}")
        labels.append(f"{number} {label + 1}")
        flags.append(f"{number} {int(split == 'train')}")
    lines(root / "images.txt", names)
    lines(root / "image_class_labels.txt", labels)
    lines(root / "train_test_split.txt", flags)
    lines(root / "classes.txt", [f"{number} {name}" for number, name in enumerate(classes, 1)])
    return truth


CARS = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"]


def stanford_cars(root: Path, wrapped: bool = False) -> Truth:
    """The three original archives' content; ``wrapped``: each image folder in one of the same name, as on Kaggle."""
    truth: Truth = {"train": {}, "test": {}}
    for split in truth:
        folder = root / f"cars_{split}" / f"cars_{split}" if wrapped else root / f"cars_{split}"
        for number in range(1, 5):
            key = f"{number:05d}.jpg"
            truth[split][key] = (number % 2, picture(folder / key, number + 10 * (split == "test")))
        rows = [
            {"bbox_x1": 1, "bbox_y1": 1, "bbox_x2": 9, "bbox_y2": 9, "class": label + 1, "fname": key}
            for key, (label, _) in truth[split].items()
        ]
        structs(root / ("devkit/cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat"), rows)
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": cells(CARS)})
    return truth


def stanford_cars_one_folder(root: Path) -> Truth:
    """The later release: all images in one folder."""
    truth: Truth = {"train": {}, "test": {}}
    rows = []
    for number in range(1, 9):
        key, label, test = f"{number:06d}.jpg", number % 2, int(number > 4)
        truth["test" if test else "train"][key] = (label, picture(root / "car_ims" / key, number))
        rows.append({"relative_im_path": f"car_ims/{key}", "bbox_x1": 1, "class": label + 1, "test": test})
    structs(root / "cars_annos.mat", rows, class_names=cells(CARS))
    return truth


def fgvc_aircraft(root: Path) -> Truth:
    root = root / "fgvc-aircraft-2013b" / "data"
    classes = ["A340-300", "Model B200"]
    truth: Truth = {"train": {}, "test": {}}
    lists: dict[str, list[str]] = {"trainval": [], "test": [], "train": [], "val": []}
    for number in range(1, 9):
        key, label, official = f"{number:07d}.jpg", number % 2, ("train", "val", "test", "test")[(number - 1) // 2]
        path = picture(root / "images" / key, number)
        truth["test" if official == "test" else "train"][key] = (label, path)
        for name in (official, "trainval") if official != "test" else (official,):
            lists[name].append(f"{number:07d} {classes[label]}")
    for name, rows in lists.items():
        lines(root / f"images_variant_{name}.txt", rows)
    lines(root / "variants.txt", classes)
    return truth


def stanford_dogs(root: Path) -> Truth:
    classes = ["n02085620-Chihuahua", "n02085782-Japanese_spaniel"]
    truth: Truth = {"train": {}, "test": {}}
    for split in truth:
        for number in range(1, 5):
            key = f"{classes[number % 2]}/n0208_{number + 10 * (split == 'test')}.jpg"
            truth[split][key] = (number % 2, picture(root / "Images" / key, number))
        labels = np.array([[label + 1] for label, _ in truth[split].values()], np.uint8)
        savemat(root / f"{split}_list.mat", {"file_list": cells(list(truth[split])).T, "labels": labels})
    return truth


def flowers102(root: Path) -> Truth:
    truth: Truth = {"train": {}, "val": {}, "test": {}}
    ids: dict[str, list[int]] = {"train": [1, 2], "val": [3, 4], "test": [5, 6, 7, 8]}
    for split, numbers in ids.items():
        for n in numbers:
            key = f"image_{n:05d}.jpg"
            truth[split][key] = (n % 2, picture(root / "jpg" / key, n))
    savemat(root / "imagelabels.mat", {"labels": np.array([[n % 2 + 1 for n in range(1, 9)]], np.uint8)})
    savemat(
        root / "setid.mat", {name: np.array([ids[split]], np.uint16) for split, name in zip(ids, ("trnid", "valid", "tstid"), strict=True)}
    )
    return truth


def oxford_iiit_pet(root: Path) -> Truth:
    """With a GIF that is named .jpg, as in the release."""
    truth: Truth = {"train": {}, "test": {}}
    for split, file in (("train", "trainval"), ("test", "test")):
        rows = []
        for n in range(1, 5):
            name = f"{('Abyssinian', 'american_bulldog')[n % 2]}_{n + 10 * (split == 'test')}"
            truth[split][f"{name}.jpg"] = (n % 2, picture(root / "images" / f"{name}.jpg", n))
            rows.append(f"{name} {n % 2 + 1} {n % 2 + 1} 1")
        lines(root / "annotations" / f"{file}.txt", rows)
    path = truth["train"]["Abyssinian_2.jpg"][1]
    Image.open(path).convert("P").save(path, "GIF")
    (root / "images" / "Abyssinian_100.mat").write_bytes(b"no image")
    return truth


def food101(root: Path) -> Truth:
    root /= "food-101"
    classes = ["apple_pie", "waffles"]
    truth: Truth = {"train": {}, "test": {}}
    (root / "meta").mkdir(parents=True)
    for split in truth:
        by_class: dict[str, list[str]] = {"waffles": [], "apple_pie": []}
        for n in range(4):
            key = f"{classes[n % 2]}/{n + 10 * (split == 'test')}"
            by_class[classes[n % 2]].append(key)
            truth[split][f"{key}.jpg"] = (n % 2, picture(root / "images" / f"{key}.jpg", n))
        (root / "meta" / f"{split}.json").write_text(json.dumps(by_class))
    lines(root / "meta" / "classes.txt", classes)
    return truth


def dtd(root: Path) -> Truth:
    truth: Truth = {"train": {}, "val": {}, "test": {}}
    for split in truth:
        for n in range(4):
            name = ("banded", "zigzagged")[n % 2]
            key = f"{name}/{name}_{split}{n}.jpg"
            truth[split][key] = (n % 2, picture(root / "dtd" / "images" / key, n))
        lines(root / "dtd" / "labels" / f"{split}1.txt", list(truth[split]))
        lines(root / "dtd" / "labels" / f"{split}2.txt", [])
    return truth


def _by_hash(root: Path, classes: dict[str, int], name: Callable[[str, int], str], n_train: int) -> Truth:
    """Images ``root / key``; of each class the ``n_train`` of lowest sha256 train."""
    truth: Truth = {"train": {}, "test": {}}
    for label, (folder, count) in enumerate(sorted(classes.items())):
        keys = [f"{folder}/{name(folder, n)}" for n in range(1, count + 1)]
        keys.sort(key=lambda key: hashlib.sha256(key.encode()).hexdigest())
        for rank, key in enumerate(keys):
            truth["train" if rank < n_train else "test"][key] = (label, picture(root / key, rank))
    return truth


def caltech101(root: Path) -> Truth:
    root = root / "caltech-101" / "101_ObjectCategories"
    picture(root / "BACKGROUND_Google" / "image_0001.jpg", 0)
    (root / "BACKGROUND_Google" / "tmp").write_bytes(b"as in the release")
    return _by_hash(root, {"Faces": 33, "accordion": 32}, lambda folder, n: f"image_{n:04d}.jpg", 30)


def caltech256(root: Path) -> Truth:
    root = root / "256_ObjectCategories"
    picture(root / "257.clutter" / "257_0001.jpg", 0)
    picture(root / "056.dog" / "greg" / "vision309" / "056_0103.jpg", 0)
    return _by_hash(root, {"001.ak47": 62, "056.dog": 63}, lambda folder, n: f"{folder[:3]}_{n:04d}.jpg", 60)


def sun397(root: Path) -> Truth:
    classes = ["a/abbey", "a/apartment_building/outdoor"]
    truth: Truth = {"train": {}, "test": {}}
    for split, file in (("train", "Training_01.txt"), ("test", "Testing_01.txt")):
        for n in range(4):
            key = f"{classes[n % 2]}/sun_{split}{n}.jpg"
            truth[split][key] = (n % 2, picture(root / "SUN397" / key, n))
        lines(root / "Partitions" / file, [f"/{key}" for key in truth[split]])
    picture(root / "SUN397" / "a" / "abbey" / "sun_unused.jpg", 0)
    lines(root / "SUN397" / "ClassName.txt", [f"/{name}" for name in classes])
    return truth


def mit_indoor67(root: Path, accent: str = "é") -> Truth:
    """With an accent and spaces in the names, and a PNG that is named .jpg."""
    classes = ["airport_inside", "winecellar"]
    truth: Truth = {"train": {}, "test": {}}
    for split, file in (("train", "TrainImages.txt"), ("test", "TestImages.txt")):
        for n in range(4):
            key = f"{classes[n % 2]}/caf{accent} {split} {n}.jpg"
            truth[split][key] = (n % 2, picture(root / "Images" / key, n))
        (root / file).write_bytes(os.fsencode("\n".join(truth[split])))
    path = next(iter(truth["test"].values()))[1]
    Image.open(path).save(path, "PNG")
    return truth


def eurosat(root: Path) -> Truth:
    return _by_hash(root / "2750", {"AnnualCrop": 10, "River": 10}, lambda folder, n: f"{folder}_{n}.jpg", 8)


RELEASES: dict[str, Callable[[Path], Truth]] = {
    "cub200": cub200,
    "stanford_cars": stanford_cars,
    "fgvc_aircraft": fgvc_aircraft,
    "stanford_dogs": stanford_dogs,
    "flowers102": flowers102,
    "oxford_iiit_pet": oxford_iiit_pet,
    "food101": food101,
    "dtd": dtd,
    "caltech101": caltech101,
    "caltech256": caltech256,
    "sun397": sun397,
    "mit_indoor67": mit_indoor67,
    "eurosat": eurosat,
}
"""The data sets whose images are files; those of CIFAR are records: :func:`cifar10` and :func:`cifar100`."""


def _records(rng: np.random.Generator, count: int, labels: int, classes: int) -> np.ndarray:
    """Records of ``labels`` label bytes, of which the last is n mod ``classes``, and random pixels."""
    records = rng.integers(0, 256, (count, labels + 3072), np.uint8)
    records[:, labels - 1] = np.arange(count) % classes
    return records


def cifar10(root: Path, per_file: int = 20) -> np.ndarray:
    """Gives the records of data_batch_2.bin."""
    root = root / "cifar-10-batches-bin"
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    records = {name: _records(rng, per_file, 1, 10) for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")}
    for name, rows in records.items():
        (root / f"{name}.bin").write_bytes(rows.tobytes())
    (root / "readme.html").write_bytes(b"")
    return records["data_batch_2"]


def cifar100(root: Path) -> np.ndarray:
    """Gives the records of train.bin."""
    root = root / "cifar-100-binary"
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    records = {name: _records(rng, 200, 2, 100) for name in ("train", "test")}
    for name, rows in records.items():
        (root / f"{name}.bin").write_bytes(rows.tobytes())
    lines(root / "fine_label_names.txt", [f"class{n:02d}" for n in range(100)])
    return records["train"]
