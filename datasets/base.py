"""What a data set is: labelled items per split, and how the image of one is read.

Nothing here decodes in bulk or imports torch: opening a data set lists its files, so that planning stays quick.
"""

import difflib
import functools
import hashlib
import importlib
import io
import json
import os
import re
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from PIL import Image

import datasets


class DataError(ValueError):
    """Data that is missing, damaged or not what was asked for; the message names it and says what to do."""


@dataclass(frozen=True)
class Use:
    """Which data set is used, ``name`` or ``name:PATH``, and where the test split of the user's own images comes from.

    split: share of each class that is train, the rest is test. test_from: the split that is test. See :mod:`datasets.division`. whole: the
    user's own images are used for their test split alone: where they come without any split, all of them are test.
    """

    text: str
    split: float | None = None
    test_from: str | None = None
    whole: bool = False

    def __str__(self) -> str:
        return self.text


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
    trains on train and val together. max_bytes: more than this, unpacked, is no such data set. own: the user's own images, which need a
    path and take the options of :class:`Use`. notes: what its listing came upon, in sentences. missing: files that the release, or the
    user's own list, names and that are not there; the splits are without them.
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
    own: ClassVar[bool] = False

    notes: tuple[str, ...] = ()
    missing: tuple[Path, ...] = ()
    classes: tuple[str, ...]
    splits: dict[str, tuple[Item, ...]]

    def listed_at(self, file: Path) -> str:
        """Where one of the ``missing`` files is listed, to stand behind its name; empty where that helps nobody."""
        return ""

    def content(self, item: Item) -> bytes:
        """The stored bytes of one image: what is hashed and decoded."""
        return item.path.read_bytes()

    def decode(self, content: bytes) -> Image.Image:
        """The image behind ``content``, in any mode; pixels may still be unread."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                return Image.open(io.BytesIO(content), formats=_formats())
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ValueError(f"it has more than {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels; shrink it first") from error

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


FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF", "DIB")
"""Pillow's formats that are read, whatever a file is called. Others are not tried: for EPS Pillow runs Ghostscript."""


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def to_rgb(image: Image.Image) -> Image.Image:
    """``image.convert("RGB")``, but on white where it is transparent.

    16-bit grey keeps its upper 8 bits, where Pillow's conversion would clip it to white.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError(f"its values, {values.min()} to {values.max()}, are beyond 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers, which have no agreed range")
    if transparent(image):
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def transparent(image: Image.Image) -> bool:
    """Whether some pixel shows what is behind it."""
    if image.mode.startswith("I") or not image.has_transparency_data:
        return False
    lowest, _ = cast(tuple[int, int], image.convert("RGBA").getchannel("A").getextrema())
    return lowest < 255


def _stamp(item: Item) -> tuple[int, int, int]:
    try:
        stat = item.path.stat()
    except OSError as error:
        raise unreadable(item, error) from error
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def unreadable(item: Item, error: Exception) -> DataError:
    """The error for an image that cannot be decoded. Pillow raises many types for one; all of them end here."""
    row = f" (image {item.row})" if item.row else ""
    # Pillow names the object in memory that it read from.
    text = re.sub(r" <_io\.BytesIO object at 0x[0-9a-f]+>", "", str(error))
    return DataError(f"cannot read image {item.path}{row}: {type(error).__name__}: {text}; replace or remove the file")


def data_class(name: str) -> type[DataSet]:
    """The class behind a name of the table; DataError lists the names and the nearest one."""
    if name not in datasets.DATASETS:
        near = difflib.get_close_matches(name, datasets.DATASETS, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise DataError(f"unknown data set '{name}'{hint} (valid: {', '.join(datasets.DATASETS)}, with ':PATH' where data lie in a folder)")
    module, _, cls = datasets.DATASETS[name].partition(":")
    return getattr(importlib.import_module(module), cls)


def open_dataset(use: str | Use, partial: bool = False) -> DataSet:
    """The data set named by ``use``: ``name`` or ``name:PATH``. A bare name may use the place that was remembered for it.

    DataError where a split holds no image, and where files are missing that are listed: partial takes what is there, as does a place of
    which that was accepted before.
    """
    wanted = Use(use) if isinstance(use, str) else use
    name, _, text = wanted.text.partition(":")
    cls, path = data_class(name), _expanded(text) if text else None
    options: dict[str, Any] = {key: value for key in ("split", "test_from") if (value := getattr(wanted, key)) is not None}
    if options and not cls.own:
        raise DataError(f"data set '{name}' comes with its splits and takes no '{next(iter(options))}'")
    if wanted.whole and cls.own:
        options["whole"] = True
    dataset = cast(Callable[..., DataSet], cls)(path, **options)  # each subclass has an __init__ of its own
    if dataset.missing and not partial and not _partial(name, path):
        raise DataError(_missing(dataset, wanted))
    for split, items in dataset.splits.items():
        if not items:
            raise DataError(f"the {split} split of '{wanted}' holds no image")
    return dataset


def _missing(dataset: DataSet, use: Use) -> str:
    total = len(dataset.missing) + sum(map(len, dataset.splits.values()))
    named = ", ".join(f"{file}{dataset.listed_at(file)}" for file in dataset.missing[:3]) + (", ..." if len(dataset.missing) > 3 else "")
    name, _, path = use.text.partition(":")
    place = f"{name}:{path}" if dataset.own else f"{name} --from PATH"
    return (
        f"'{use}': {len(dataset.missing)} of {total} images are missing: {named}; get them, or take what is there with "
        f"'smilebench data prepare {place} --partial'"
    )


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise DataError(f"'{text}': there is no such home folder; write the whole path") from error


def cache_root() -> Path:
    """Where decoded data and remembered places live: ``$SMILEBENCH_CACHE``, else ``~/.cache/smilebench``."""
    try:
        return Path(os.environ.get("SMILEBENCH_CACHE") or "~/.cache/smilebench").expanduser()
    except RuntimeError as error:
        raise DataError("this account has no home folder: set SMILEBENCH_CACHE to a folder for decoded data") from error


def remember(name: str, path: Path, partial: bool = False) -> None:
    """Record where data set ``name`` lies, for later uses of the bare name. partial: what is missing there was accepted."""
    _note(cache_root() / "places" / f"{name}.json", path, partial)


def accept_missing(name: str, path: Path) -> None:
    """Record that what is missing of data set ``name`` at ``path`` was accepted, for later uses of ``name:path``."""
    _note(_accepted(name, path), path, True)


def _note(file: Path, path: Path, partial: bool) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.parent / f".{file.stem}.{uuid.uuid4().hex}"
    try:
        with open(temporary, "x", encoding="utf-8") as handle:  # of the usual mode: whoever shares the cache may read it
            json.dump({"path": str(path.expanduser().resolve()), "partial": partial}, handle)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _accepted(name: str, path: Path) -> Path:
    place = hashlib.sha256(os.fsencode(path.expanduser().resolve())).hexdigest()[:16]
    return cache_root() / "places" / f"{name}-{place}.json"


def recorded_place(name: str) -> Path | None:
    """The path given to :func:`remember`, or None."""
    place = _place(name)
    return Path(place["path"]) if place else None


def _partial(name: str, path: Path | None) -> bool:
    if path is not None and _accepted(name, path).is_file():
        return True
    place = _place(name)
    return place is not None and place.get("partial") is True and (path is None or path.resolve() == Path(place["path"]))


def _place(name: str) -> dict[str, Any] | None:
    file = cache_root() / "places" / f"{name}.json"
    try:
        place = json.loads(file.read_text(encoding="utf-8"))
        return {**place, "path": os.fspath(place["path"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}); run 'smilebench data prepare {name}' again") from error
