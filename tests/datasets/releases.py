"""Tiny copies of the official releases, in their layouts: two classes, our own pictures.

``RELEASES[name](root)`` writes the release below ``root`` and returns {split: {key: (label, path)}}, as the reader must list it.
"""

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


RELEASES: dict[str, Callable[[Path], Truth]] = {
    "cub200": cub200,
    "stanford_cars": stanford_cars,
    "fgvc_aircraft": fgvc_aircraft,
}
