"""Finding a published data set in what the user has: an archive or a folder, in any of the layouts in which copies circulate."""

import functools
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from datasets import parquet
from datasets.archive import ARCHIVES, extract
from datasets.base import DataError, DataSet, Item, cache_root, recorded_place
from datasets.division import rank
from datasets.folder import Folder, absences

DEPTH = 3
"""Folders below the given one in which official files are looked for: copies are often wrapped once or twice."""


class Listing(NamedTuple):
    """Class names in the order of their labels, and the items of each split, sorted by key."""

    classes: tuple[str, ...]
    splits: dict[str, tuple[Item, ...]]


class Place:
    """The folders in which a data set's files are looked for."""

    def __init__(self, *roots: Path) -> None:
        self.folders = tuple(folder for root in roots for folder in _folders(root))

    def find(self, *names: str) -> Path | None:
        """The first of the relative paths ``names`` that exists in one of the folders; a pattern such as ``*.mat`` matches in order."""
        for name in names:
            for folder in self.folders:
                if found := next(iter(sorted(folder.glob(name))), None):
                    return found
        return None


Reader = Callable[[Place], Listing | None]


class Published(DataSet, ABC):
    """A published data set that is looked for in what the user has."""

    def __init__(self, path: Path | None = None) -> None:
        self.classes, self.splits = read(self, path, self.official)

    @abstractmethod
    def official(self, place: Place) -> Listing | None:
        """The images in their official layout; None where its files are not in ``place``."""


def read(dataset: DataSet, path: Path | None, official: Reader) -> Listing:
    """List ``dataset`` at ``path``, or at its remembered place, by the first reader that finds its files there.

    ``official`` reads the official layout and gives None where its files are not. Then Hugging Face's parquet files and an image folder
    ``train/ [val/] test/`` are tried. Archives that the data set declares are unpacked into the cache only when they are needed. Files that
    are listed and not there become ``dataset.missing``.
    """
    root = _root(dataset, path)
    for place in _places(dataset, root):
        for reader in (official, functools.partial(_parquet, dataset.max_bytes), _image_folder):
            if found := _try(reader, place, dataset, root):
                found = _present(found, dataset)
                dataset.notes = absences(found.splits, found.classes)
                return _joined(found) if dataset.trainval else found
    there = ", ".join(sorted(entry.name for entry in root.iterdir())[:8]) if root.is_dir() else root.name
    raise DataError(
        f"'{root}' holds no copy of '{dataset.name}' (accepted: {dataset.layouts}, Hugging Face parquet files, or train/<class>/<image> "
        f"and test/<class>/<image>; found: {there or 'nothing'})"
    )


def listing(classes: Iterable[str], splits: Mapping[str, Iterable[tuple[str, int, Path]]]) -> Listing:
    """A Listing from (key, label, path) in any order."""
    return Listing(
        tuple(classes), {name: tuple(Item(*fields) for fields in sorted(items, key=lambda f: f[0])) for name, items in splits.items()}
    )


def by_folder(root: Path, keys: Mapping[str, Iterable[str]]) -> Listing:
    """A Listing of the images ``root / key``, whose class is the folder that holds them: the key without its last part."""
    splits = {split: [(key, key.rpartition("/")[0]) for key in names] for split, names in keys.items()}
    classes = sorted({name for items in splits.values() for _, name in items})
    label = {name: number for number, name in enumerate(classes)}
    return listing(classes, {split: [(key, label[name], root / key) for key, name in items] for split, items in splits.items()})


def first_of_each_class(keys: Iterable[str], count: Callable[[int], int]) -> dict[str, list[str]]:
    """Our split of data without an official one: of a class's n images, the ``count(n)`` of lowest sha256 of the key train, others test."""
    by_class: dict[str, list[str]] = {}
    for key in keys:
        by_class.setdefault(key.rpartition("/")[0], []).append(key)
    splits: dict[str, list[str]] = {"train": [], "test": []}
    for members in by_class.values():
        members.sort(key=rank)
        splits["train"] += members[: count(len(members))]
        splits["test"] += members[count(len(members)) :]
    return splits


def matlab(file: Path) -> dict[str, Any]:
    """A MATLAB file; SciPy reads it without unpickling."""
    from scipy.io import loadmat

    return loadmat(file, squeeze_me=True)


def lines(file: Path) -> list[str]:
    """The lines of a list file that are not empty, without surrounding space; bytes that are not UTF-8 stay as file names have them."""
    text = file.read_text(encoding="utf-8", errors="surrogateescape")
    return [line.strip() for line in text.splitlines() if line.strip()]


def rows(file: Path, columns: int) -> Iterator[list[str]]:
    """The lines of a list file, split at white space into ``columns`` fields (the last keeps its spaces); DataError names a bad line."""
    for line in lines(file):
        fields = line.split(maxsplit=columns - 1)
        if len(fields) != columns:
            raise DataError(f"{file}: expected {columns} fields, found '{line}'")
        yield fields


def _try(reader: Reader, place: Place, dataset: DataSet, root: Path) -> Listing | None:
    try:
        found = reader(place)
    except DataError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"'{root}' is no complete copy of '{dataset.name}': {type(error).__name__}: {error}") from error
    if found is None:
        return None
    for split, items in found.splits.items():
        labels, every = {item.label for item in items}, set(range(len(found.classes)))
        if not labels <= every or (split == "train" and labels != every):
            raise DataError(
                f"'{root}': the {split} split of '{dataset.name}' does not have images of each of its {len(found.classes)} classes"
            )
        if len({item.key for item in items}) != len(items):
            raise DataError(f"'{root}': the {split} split of '{dataset.name}' lists an image twice")
    return found


def _present(found: Listing, dataset: DataSet) -> Listing:
    """``found`` without the files that are not there; each folder is listed once."""
    files = {item.path for items in found.splits.values() for item in items}
    names: dict[Path, set[str]] = {}
    for folder in {file.parent for file in files}:
        names[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
    dataset.missing = tuple(sorted(file for file in files if file.name not in names[file.parent]))
    if not dataset.missing:
        return found
    absent = set(dataset.missing)
    kept = {split: tuple(item for item in items if item.path not in absent) for split, items in found.splits.items()}
    return Listing(found.classes, kept)


def _root(dataset: DataSet, path: Path | None) -> Path:
    root = path or recorded_place(dataset.name)
    if root is None:
        raise DataError(f"data set '{dataset.name}' is not at hand: run 'smilebench data prepare {dataset.name} --from PATH'")
    if not root.exists():
        raise DataError(f"data set '{dataset.name}': '{root}' does not exist; run 'smilebench data prepare {dataset.name} --from PATH'")
    return root.parent if root.suffix == ".parquet" else root


def _places(dataset: DataSet, root: Path) -> Iterator[Place]:
    """``root`` as it is; then together with its declared archives, unpacked, and the archives in those."""
    if root.is_file():
        roots = [_unpacked(root, dataset.max_bytes)]
    else:
        roots = [root]
    names = {source.file for source in dataset.sources if source.file.endswith(ARCHIVES)}
    while roots:
        place = Place(*roots)
        yield place
        packed = [folder / name for folder in place.folders for name in sorted(names) if (folder / name).is_file()]
        names -= {file.name for file in packed}
        roots = [*roots, *(_unpacked(file, dataset.max_bytes) for file in packed)] if packed else []


def _unpacked(archive: Path, max_bytes: int) -> Path:
    """The folder that holds ``archive`` unpacked, under the cache; named by the file's place, size and time."""
    folder = _cached(archive)
    if not folder.is_dir():
        extract(archive, folder, max_bytes=max_bytes)
    return folder


def _cached(*files: Path) -> Path:
    stamps = [f"{file.resolve()}\0{file.stat().st_size}\0{file.stat().st_mtime_ns}" for file in files]
    return cache_root() / "unpacked" / hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:16]


def _parquet(max_bytes: int, place: Place) -> Listing | None:
    first = place.find("*.parquet")
    if first is None:
        return None
    files = sorted(first.parent.glob("*.parquet"))
    folder = _cached(*files)
    if not folder.is_dir():
        parquet.unpack(files, folder, max_bytes=max_bytes)
    found = Folder(folder)
    return Listing(found.classes, found.splits)


def _image_folder(place: Place) -> Listing | None:
    for folder in place.folders:
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            found = Folder(folder)
            return Listing(found.classes, found.splits)
    return None


def _joined(found: Listing) -> Listing:
    """``val`` as part of ``train``."""
    splits = dict(found.splits)
    splits["train"] = tuple(sorted((*splits["train"], *splits.pop("val", ())), key=lambda item: item.key))
    return Listing(found.classes, splits)


def _folders(root: Path) -> Iterator[Path]:
    """``root`` and the folders below it, the upper ones first."""
    level = [root]
    for _ in range(DEPTH):
        yield from level
        level = [Path(entry.path) for folder in level for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith(".")]
    yield from level


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
