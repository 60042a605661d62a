"""Images that a CSV file lists: columns ``path``, ``label`` and, where there is a split, ``split``."""

import csv
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from datasets.base import DataError, DataSet, Item
from datasets.division import with_test
from datasets.folder import absences

COLUMNS = ("path", "label", "split")
DELIMITERS = ",;\t"
SPLITS = ("train", "val", "test")


class Listed(DataSet):
    """Paths are relative to the CSV file's folder, or absolute; classes are the sorted labels of ``train``, which are text.

    The file is UTF-8, its first line names the columns, in any order and with others beside them; commas, semicolons or tabs separate.
    Without the column ``split``, or without rows of ``test``, see the options ``split`` and ``test_from`` of :mod:`datasets.division`.
    whole: rows that are all of one split are test, and give the classes.
    """

    licence = "the owner's"
    homepage = ""
    defects = ""
    layouts = "a CSV file with the columns path, label and split (train, val or test); without split, or without test: split or test_from"
    own = True

    def __init__(self, path: Path | None, split: float | None = None, test_from: str | None = None, whole: bool = False) -> None:
        if path is None:
            raise DataError("data set 'csv' needs a file: 'csv:FILE'")
        rows = list(_rows(path))
        found = [name for name in SPLITS if any(row.split == name for row in rows)]
        only_test = whole and split is None and len(found) == 1
        if only_test:
            rows, found = [row._replace(split="test") for row in rows], ["test"]
        elif "train" not in found:
            raise DataError(f"{path} lists no training image{' (split: train)' if found else ''}")
        if "test" not in found and split is None and test_from is None:
            raise DataError(f"{path} lists no test image: give a column 'split' with train and test, {_hint(path, found)}")
        naming = "test" if only_test else "train"
        self.classes = tuple(sorted({row.label for row in rows if row.split == naming}))
        if len(self.classes) < 2:
            raise DataError(f"{path} lists {len(self.classes)} class in {naming}; at least 2 are needed")
        numbers = {label: number for number, label in enumerate(self.classes)}
        splits: dict[str, list[Item]] = {name: [] for name in found}
        self._lines: dict[Path, int] = {}
        here = _Here()
        for row in rows:
            if row.label not in numbers:
                raise DataError(f"{path}, line {row.line}: no training image has the label '{row.label}'")
            file = path.parent / row.path
            splits[row.split].append(Item(row.path, numbers[row.label], file))
            if file not in here:
                self._lines[file] = row.line
        self.missing = tuple(self._lines)
        listed = {name: tuple(sorted(items, key=lambda item: item.key)) for name, items in splits.items()}
        divided = with_test(listed, split, test_from, str(path))  # as if all were there: the others stay where they are
        self.splits = {name: tuple(item for item in items if item.path not in self._lines) for name, items in divided.items()}
        self.notes = absences(self.splits, self.classes)

    def listed_at(self, file: Path) -> str:
        return f" (line {self._lines[file]})"


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    split: str


class _Here:
    """Which files are there; each folder is listed once."""

    def __init__(self) -> None:
        self._names: dict[Path, set[str]] = {}

    def __contains__(self, file: Path) -> bool:
        if file.parent not in self._names:
            try:
                self._names[file.parent] = set(os.listdir(file.parent))
            except (OSError, ValueError):
                self._names[file.parent] = set()
        return file.name in self._names[file.parent]


def _rows(path: Path) -> Iterator[_Row]:
    """The rows of the file, checked one by one; DataError names the line."""
    text = _text(path)
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    seen: dict[str, int] = {}
    forms: dict[str, str] = {}
    try:
        columns = _columns(path, next(reader, []))
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            row = _row(path, reader.line_num, fields, columns)
            if row.path in seen:
                raise DataError(f"{path}, line {row.line}: '{row.path}' is listed in line {seen[row.path]} already")
            seen[row.path] = row.line
            form = unicodedata.normalize("NFC", row.label)
            if forms.setdefault(form, row.label) != row.label:
                raise DataError(f"{path}, line {row.line}: the label '{row.label}' stands above in another Unicode form (NFC, NFD)")
            yield row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the CSV file {path}: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    twice = [name for name, count in Counter(names).items() if count > 1 and name in COLUMNS]
    if twice:
        raise DataError(f"{path}: there are two columns '{twice[0]}'")
    for needed in ("path", "label"):
        if needed not in names:
            found = ", ".join(name.strip() for name in header[:8]) or "nothing"
            raise DataError(f"{path}: the first line must name the columns path and label, and may name split (found: {found})")
    return {name: names.index(name) for name in COLUMNS if name in names}


def _row(path: Path, line: int, fields: list[str], columns: dict[str, int]) -> _Row:
    where = f"{path}, line {line}"
    if len(fields) <= max(columns.values()):
        raise DataError(f"{where}: {len(fields)} fields are too few")
    values = {name: fields[at].strip() for name, at in columns.items()}
    for name, value in values.items():
        if not value:
            raise DataError(f"{where}: the {name} is empty")
        if any(unicodedata.category(letter) == "Cc" for letter in value):
            raise DataError(f"{where}: the {name} holds a line break or another control character")
    split = values.get("split", "train")
    if split not in SPLITS:
        raise DataError(f"{where}: split '{split}' (valid: {', '.join(SPLITS)})")
    key = os.path.normpath(values["path"])
    below = os.path.abspath(path.parent) + os.sep
    return _Row(line, key.removeprefix(below), values["label"], split)


def _hint(path: Path, found: list[str]) -> str:
    row = f"{{name: my_images, use: 'csv:{path}'"
    choices = [f"{row}, test_from: val}}"] if "val" in found else []
    return "or write " + " or ".join([*choices, f"{row}, split: 0.7}}"])
