"""Any image folder, read as torchvision's ImageFolder does: ``train/<class>/...``, ``test/<class>/...``, optionally ``val/<class>/...``."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from datasets.base import DataError, DataSet, Item
from datasets.classes import composed
from datasets.division import with_test

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's ``IMG_EXTENSIONS``; other files, and names that begin with a dot, are not images."""

LAYOUT = "expected train/<class>/<image> and test/<class>/<image>, optionally val/<class>/<image>"
WHOLE_LAYOUT = "expected <class>/<image>, or test/<class>/<image>"


class Folder(DataSet):
    """Images at any depth below a class folder; classes are the sorted folder names of ``train``.

    Other splits may lack some of them, and are matched by name, whatever the Unicode form. test_from: the folder beside ``train/`` that is
    test where there is no ``test/``. split: the share of each class that is train, of images without a test split: those of ``train/``, or
    of class folders that lie directly in the given one. See :mod:`datasets.division`. whole: without ``train/`` the class folders in the
    given one, or those in its ``test/``, are test, and give the classes.
    """

    licence = "the owner's"
    homepage = ""
    defects = ""
    layouts = "train/<class>/<image> and test/<class>/<image>; without test/: test_from or split; class folders alone: split"
    own = True

    def __init__(self, path: Path | None, split: float | None = None, test_from: str | None = None, whole: bool = False) -> None:
        if path is None:
            raise DataError("data set 'folder' needs a path: 'folder:PATH'")
        if not path.is_dir():
            raise DataError(f"image folder '{path}' is not a folder; {WHOLE_LAYOUT if whole else LAYOUT}")
        folders = _whole(path) if whole and split is None and not (path / "train").is_dir() else _splits(path, split, test_from)
        self.classes = _class_names(next(iter(folders.values())))
        self._left_out: Counter[str] = Counter()
        splits = {name: self._items(name, folder) for name, folder in folders.items()}
        self.splits = with_test(splits, split, test_from, f"image folder '{path}'")
        self.notes = (*absences(self.splits, self.classes), *left_out(self._left_out))

    def _items(self, split: str, folder: Path) -> tuple[Item, ...]:
        names = self._matched(folder)
        items = []
        for label, name in enumerate(self.classes):
            place = names.get(composed(name))
            found = [] if place is None else [Item(f"{place}/{key}", label, Path(path)) for key, path in self._images(folder / place)]
            if not found and split == "train":
                raise DataError(f"{folder / name} holds no image (extensions: {', '.join(EXTENSIONS)})")
            items += found
        if not items:
            raise DataError(f"{folder} holds no image of a class of train/ ({', '.join(self.classes[:5])}; {LAYOUT})")
        return tuple(sorted(items, key=lambda item: item.key))

    def _matched(self, folder: Path) -> dict[str, str]:
        """The class folders of a split, by the composed form of their names."""
        found = _class_names(folder)
        _check_forms(folder, found)
        names = {composed(name): name for name in found}
        expected = {composed(name) for name in self.classes}
        if extra := sorted(name for form, name in names.items() if form not in expected):
            missing = sorted(name for name in self.classes if composed(name) not in names)
            raise DataError(f"{folder} and train/ differ in classes: missing {missing or 'none'}, not in train {extra}")
        if len(self.classes) < 2:
            raise DataError(f"{folder} has {len(self.classes)} class folders; at least 2 are needed ({LAYOUT})")
        return names

    def _images(self, folder: Path) -> Iterator[tuple[str, str]]:
        return _images(folder, "", self._left_out, frozenset({_identity(folder)}))


def _splits(path: Path, split: float | None, test_from: str | None) -> dict[str, Path]:
    """The folder of each split; ``train`` is ``path`` itself where class folders without a split are divided."""
    if not (path / "train").is_dir() or (split is not None and not _class_names(path / "train")):
        if split is not None:
            return {"train": path}
        if (path / "train").is_dir():
            raise DataError(f"{path / 'train'} has 0 class folders; at least 2 are needed ({LAYOUT})")
        raise DataError(f"image folder '{path}' has no train/ ({LAYOUT}; found: {_found(path)}){_hint(path)}")
    names = dict.fromkeys(name for name in ("train", "val", "test", test_from) if name)
    if test_from and (Path(test_from).name != test_from or test_from.startswith(".")):
        raise DataError(f"image folder '{path}': test_from: '{test_from}' is no name of a folder beside train/")
    folders = {name: path / name for name in names if (path / name).is_dir()}
    if "test" not in folders and split is None and test_from is None:
        raise DataError(f"image folder '{path}' has no test/ ({LAYOUT}; found: {_found(path)}){_hint(path)}")
    return folders


def images_below(folder: Path) -> list[Path]:
    """The images in ``folder`` and in all folders below it, sorted by name; DataError where there is none."""
    found = sorted(_images(folder, "", Counter(), frozenset({_identity(folder)})))
    if not found:
        raise DataError(f"folder '{folder}' holds no image (extensions: {', '.join(EXTENSIONS)})")
    return [Path(path) for _, path in found]


def _whole(path: Path) -> dict[str, Path]:
    """The folder of ``test`` where there is no other split."""
    inside = path / "test"
    return {"test": inside if inside.is_dir() and _class_names(inside) else path}


def _hint(path: Path) -> str:
    """What to write in a sweep file for the layout that is there."""
    row = f"{{name: my_images, use: 'folder:{path}'"
    divide = f"{row}, split: 0.7}} takes 70 % of each class for training, the same images every time"
    if not (path / "train").is_dir():
        with_images = [name for name in _class_names(path) if next(_images(path / name, "", Counter(), frozenset()), None)]
        return f"; for class folders without a split, {divide}" if len(with_images) > 1 else ""
    others = [name for name in _class_names(path) if name != "train" and _class_names(path / name)]
    choices = [f"{row}, test_from: {name}}} takes {name}/ for test" for name in others[:1]]
    return "; " + ", or ".join([*choices, divide])


def _found(path: Path) -> str:
    return ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"


def absences(splits: Mapping[str, Iterable[Item]], classes: Sequence[str]) -> tuple[str, ...]:
    """A note on every split that lacks a class."""
    notes = []
    for split, items in splits.items():
        present = {item.label for item in items}
        absent = [name for label, name in enumerate(classes) if label not in present]
        named = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        if absent:
            lacks = f"{split} has no image of {len(absent)} of the {len(classes)} classes ({named})"
            notes.append(f"{lacks}; its mean over classes is over the others")
    return tuple(notes)


def left_out(suffixes: Counter[str]) -> list[str]:
    """A note on the files that are not read, by the ends of their names."""
    if not suffixes:
        return []
    frequent = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))[:5]
    named = ", ".join(f"{suffix or 'no suffix'} {count}" for suffix, count in frequent)
    return [f"{suffixes.total()} files are no images that are read ({named}; read are {', '.join(EXTENSIONS)})"]


def _check_forms(folder: Path, names: Iterable[str]) -> None:
    """Two class folders may look alike: a name with accents has a composed and a decomposed form."""
    twice = [name for name, count in Counter(map(composed, names)).items() if count > 1]
    if twice:
        raise DataError(f"{folder}: there are two folders '{twice[0]}', which differ in Unicode form alone (NFC, NFD): put them together")


def _class_names(folder: Path) -> tuple[str, ...]:
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()))
    except OSError as error:
        raise DataError(f"cannot list {error.filename or folder}: {error.strerror}") from error


Identity = tuple[int, int]


def _identity(folder: Path | str) -> Identity:
    try:
        stat = os.stat(folder)
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}") from error
    return stat.st_dev, stat.st_ino


def _images(folder: Path | str, prefix: str, others: Counter[str], above: frozenset[Identity]) -> Iterator[tuple[str, str]]:
    """(relative key, path) of the images below ``folder``; other files are counted by suffix. above: the folders that hold this one."""
    try:
        with os.scandir(folder) as entries:
            listed = [(entry, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot list {error.filename or folder}: {error.strerror}") from error
    for entry, is_folder in listed:
        if is_folder:
            identity = _identity(entry.path)
            if identity in above:
                raise DataError(f"{entry.path} is a link to a folder that holds it; remove it")
            yield from _images(entry.path, f"{prefix}{entry.name}/", others, above | {identity})
        elif entry.name.lower().endswith(EXTENSIONS):
            yield prefix + entry.name, entry.path
        else:
            others[os.path.splitext(entry.name)[1].lower()] += 1
