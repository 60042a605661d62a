"""Stanford Cars (Krause, Stark, Deng, Fei-Fei 2013): 16,185 photos of 196 car models (make, model, year)."""

from pathlib import Path
from typing import Any

from datasets.base import Source
from datasets.layouts import Listing, Place, Published, listing, matlab


class StanfordCars(Published):
    """The official split: 8,144 train and 8,041 test images, whole images without their boxes."""

    name = "stanford_cars"
    licence = "non-commercial research; the photos belong to their owners"
    homepage = "https://ai.stanford.edu/~jkrause/cars/car_dataset.html"
    defects = "the official address is dead, copies circulate; a few images are grey; the labels of the test split came in a separate file"
    layouts = (
        "cars_train/ and cars_test/ with cars_train_annos.mat, cars_test_annos_withlabels.mat and cars_meta.mat (unpacked or as "
        "cars_train.tgz, cars_test.tgz, car_devkit.tgz), car_ims/ with cars_annos.mat, Kaggle's folders of either"
    )
    sources = tuple(
        Source(file) for file in ("cars_train.tgz", "cars_test.tgz", "car_devkit.tgz", "car_ims.tgz", "cars_test_annos_withlabels.mat")
    )

    def official(self, place: Place) -> Listing | None:
        return _two_folders(place) or _one_folder(place)


def _two_folders(place: Place) -> Listing | None:
    """``cars_train/`` and ``cars_test/`` with the development kit; Kaggle wraps each folder in one of the same name."""
    annotations = {"train": place.find("cars_train_annos.mat"), "test": place.find("cars_test_annos_withlabels*.mat")}
    meta = place.find("cars_meta.mat")
    folders = {split: place.find(f"cars_{split}/cars_{split}", f"cars_{split}") for split in annotations}
    found = {split: (file, folder) for split, file in annotations.items() if file and (folder := folders[split])}
    if not meta or len(found) < len(annotations):
        return None
    return listing(
        _strings(matlab(meta)["class_names"]),
        {
            split: [(str(a["fname"]), int(a["class"]) - 1, folder / str(a["fname"])) for a in matlab(file)["annotations"]]
            for split, (file, folder) in found.items()
        },
    )


def _one_folder(place: Place) -> Listing | None:
    """``car_ims/`` with both splits, told apart by ``test`` in ``cars_annos.mat``."""
    file, folder = place.find("cars_annos.mat"), place.find("car_ims/car_ims", "car_ims")
    if not (file and folder):
        return None
    table = matlab(file)
    splits: dict[str, list[tuple[str, int, Path]]] = {"train": [], "test": []}
    for a in table["annotations"]:
        key = str(a["relative_im_path"]).rpartition("/")[2]
        splits["test" if a["test"] else "train"].append((key, int(a["class"]) - 1, folder / key))
    return listing(_strings(table["class_names"]), splits)


def _strings(values: Any) -> list[str]:
    return [str(value) for value in values]
