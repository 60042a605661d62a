"""Any image folder, read as torchvision's ImageFolder does: ``train/<class>/...``, ``test/<class>/...``, optionally ``val/<class>/...``."""

import os
from collections.abc import Iterator
from pathlib import Path

from datasets.base import DataError, DataSet, Item

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's ``IMG_EXTENSIONS``; other files, and names that begin with a dot, are not images."""

LAYOUT = "expected train/<class>/<image> and test/<class>/<image>, optionally val/<class>/<image>"


class Folder(DataSet):
    """Images at any depth below a class folder; classes are the sorted folder names of ``train`` and must be the same in every split."""

    licence = "the owner's"
    homepage = ""
    defects = ""

    def __init__(self, path: Path | None) -> None:
        if path is None:
            raise DataError("data set 'folder' needs a path: 'folder:PATH'")
        if not path.is_dir():
            raise DataError(f"image folder '{path}' is not a folder; {LAYOUT}")
        for needed in ("train", "test"):
            if not (path / needed).is_dir():
                found = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
                raise DataError(f"image folder '{path}' has no {needed}/ ({LAYOUT}; found: {found})")
        self.classes = _class_names(path / "train")
        self.splits = {}
        for split in ("train", "val", "test"):
            if (path / split).is_dir():
                self._check_classes(path / split)
                self.splits[split] = self._items(path / split)

    def _check_classes(self, folder: Path) -> None:
        names, expected = set(_class_names(folder)), set(self.classes)
        if names != expected:
            missing, extra = sorted(expected - names), sorted(names - expected)
            raise DataError(f"{folder} and train/ differ in classes: missing {missing or 'none'}, not in train {extra or 'none'}")
        if len(names) < 2:
            raise DataError(f"{folder} has {len(names)} class folders; at least 2 are needed ({LAYOUT})")

    def _items(self, folder: Path) -> tuple[Item, ...]:
        items = []
        for label, name in enumerate(self.classes):
            found = [Item(f"{name}/{key}", label, Path(path)) for key, path in _images(folder / name, "")]
            if not found:
                raise DataError(f"{folder / name} holds no image (extensions: {', '.join(EXTENSIONS)})")
            items += found
        return tuple(sorted(items, key=lambda item: item.key))


def _class_names(folder: Path) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        return tuple(sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")))


def _images(folder: Path | str, prefix: str) -> Iterator[tuple[str, str]]:
    """(relative key, path) of the images below ``folder``."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _images(entry.path, f"{prefix}{entry.name}/")
            elif entry.name.lower().endswith(EXTENSIONS):
                yield prefix + entry.name, entry.path
