"""What a data set is: labelled items per split, and how the image of one is read.

Nothing here decodes in bulk or imports torch: opening a data set lists its files, so that planning stays quick.
"""

import difflib
import hashlib
import importlib
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

import datasets


class DataError(ValueError):
    """Data that is missing, damaged or not what was asked for; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled image. key: relative posix path, unique in its split. row: position in ``path`` where one file holds many images."""

    key: str
    label: int
    path: Path
    row: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """One file of an official release. urls: where it may be fetched, mirrors last; none where nobody offers it. md5: as published."""

    file: str
    urls: tuple[str, ...] = ()
    md5: str = ""


class DataSet:
    """Base of all data sets. A subclass sets ``classes`` and ``splits`` in ``__init__(path)``; ``path`` is what follows ``name:``.

    splits: ``train``, ``test`` and, where one is published, ``val``; each sorted by key. defects: what a reader of results should know.
    layouts: the copies that are read, in words. keep_aspect: published work resizes the shorter side, not both. trainval: published work
    trains on train and val together. max_bytes: more than this, unpacked, is no such data set.
    """

    name: ClassVar[str] = ""
    licence: ClassVar[str] = "unknown"
    homepage: ClassVar[str] = ""
    defects: ClassVar[str] = ""
    layouts: ClassVar[str] = ""
    sources: ClassVar[tuple[Source, ...]] = ()
    keep_aspect: ClassVar[bool] = False
    trainval: ClassVar[bool] = False
    max_bytes: ClassVar[int] = 8 << 30

    classes: tuple[str, ...]
    splits: dict[str, tuple[Item, ...]]

    def content(self, item: Item) -> bytes:
        """The stored bytes of one image: what is hashed and decoded."""
        return item.path.read_bytes()

    def decode(self, content: bytes) -> Image.Image:
        """The image behind ``content``, in any mode; pixels may still be unread."""
        return Image.open(io.BytesIO(content))

    def open(self, item: Item) -> Image.Image:
        """One image as RGB; DataError names the file when it cannot be read."""
        try:
            return to_rgb(self.decode(self.content(item)))
        except Exception as error:
            raise unreadable(item, error) from error

    def fingerprint(self) -> str:
        """Changes when any file does, as far as names, sizes and times tell. The change time sees what a restored mtime hides."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        stamps: dict[Path, tuple[int, int, int]] = {}
        for split in sorted(self.splits):
            for item in self.splits[split]:
                if item.path not in stamps:
                    stamps[item.path] = _stamp(item)
                digest.update(f"{split}\0{item.key}\0{item.label}\0{item.row}\0{stamps[item.path]}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, object]:
        """Decoding processes are handed their items chunk by chunk: a pickled data set leaves its lists behind."""
        return {**self.__dict__, "splits": {}}


def to_rgb(image: Image.Image) -> Image.Image:
    """``image.convert("RGB")``; 16-bit grey keeps its upper 8 bits, where Pillow's conversion would clip it to white."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError(f"its values, {values.min()} to {values.max()}, are beyond 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers, which have no agreed range")
    return image if image.mode == "RGB" else image.convert("RGB")


def _stamp(item: Item) -> tuple[int, int, int]:
    try:
        stat = item.path.stat()
    except OSError as error:
        raise unreadable(item, error) from error
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def unreadable(item: Item, error: Exception) -> DataError:
    """The error for an image that cannot be decoded. Pillow raises many types for one; all of them end here."""
    row = f" (image {item.row})" if item.row else ""
    return DataError(f"cannot read image {item.path}{row}: {type(error).__name__}: {error}; replace or remove the file")


def data_class(name: str) -> type[DataSet]:
    """The class behind a name of the table; DataError lists the names and the nearest one."""
    if name not in datasets.DATASETS:
        near = difflib.get_close_matches(name, datasets.DATASETS, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise DataError(f"unknown data set '{name}'{hint} (valid: {', '.join(datasets.DATASETS)}, with ':PATH' where data lie in a folder)")
    module, _, cls = datasets.DATASETS[name].partition(":")
    return getattr(importlib.import_module(module), cls)


def open_dataset(use: str) -> DataSet:
    """The data set named by ``use``: ``name`` or ``name:PATH``. A bare name may use the place that was remembered for it."""
    name, _, path = use.partition(":")
    try:
        place = Path(path).expanduser() if path else None
    except RuntimeError as error:  # ~NAME of nobody, or no home
        raise DataError(f"'{use}': {error}: write the whole path") from error
    return data_class(name)(place)


def cache_root() -> Path:
    """Where decoded data and remembered places live: ``$SMILEBENCH_CACHE``, else ``~/.cache/smilebench``."""
    try:
        return Path(os.environ.get("SMILEBENCH_CACHE") or "~/.cache/smilebench").expanduser()
    except RuntimeError as error:
        raise DataError(f"no home folder to keep decoded data in ({error}): set SMILEBENCH_CACHE to a folder") from error


def remember(name: str, path: Path) -> None:
    """Record where data set ``name`` lies, for later uses of the bare name."""
    file = _place_file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as handle:
        json.dump({"path": str(path.expanduser().resolve())}, handle)
    os.replace(handle.name, file)


def recorded_place(name: str) -> Path | None:
    """The path given to :func:`remember`, or None."""
    file = _place_file(name)
    try:
        return Path(json.loads(file.read_text(encoding="utf-8"))["path"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}); run 'smilebench data prepare {name}' again") from error


def _place_file(name: str) -> Path:
    return cache_root() / "places" / f"{name}.json"
