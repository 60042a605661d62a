"""The decoded cache: every image of a data set, resized once, as ``uint8`` pixels in one memory-mapped file per split.

Resizing equals torchvision's ``Resize`` on a PIL image (bilinear, antialiased) pixel for pixel; random crops are then slices. An arena
lies in ``cache_root()/arenas/<key>/``: ``<split>.bin`` and ``manifest.json``. It is built under a temporary name and renamed.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Container
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from datasets import seal
from datasets.base import DataError, DataSet, cache_root
from datasets.decode import Decode, Seen, chunks
from datasets.files import building
from datasets.findings import findings

ARENA_VERSION = 2
"""Bumped when the same files and options would give other pixels."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class ArenaSplit:
    """The images of one split, sorted by key.

    pixels: uint8, flat and read-only; image ``i`` is the [H, W, 3] block at ``offsets[i]``. offsets: int64 [n]. heights, widths: int32 [n].
    labels: int64 [n].
    """

    name: str
    pixels: np.ndarray
    offsets: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    labels: np.ndarray
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, i: int) -> np.ndarray:
        """Image ``i`` as a uint8 [H, W, 3] view."""
        height, width, start = self.heights[i], self.widths[i], self.offsets[i]
        return self.pixels[start : start + 3 * height * width].reshape(height, width, 3)


@dataclass(frozen=True, eq=False)
class Arena:
    """A prepared data set.

    data_hash: of image contents, labels, class names and decode options. pixels_hash: of the decoded pixels, which another version of a
    decoder can make others of the same contents. Both are independent of paths and file order. checksums: sha256 that each split's pixel
    file had when written. notes: what decoding came upon, in sentences.
    """

    path: Path
    data_hash: str
    pixels_hash: str
    classes: tuple[str, ...]
    splits: dict[str, ArenaSplit]
    checksums: dict[str, str]
    notes: tuple[str, ...]

    def split(self, name: str) -> ArenaSplit:
        """The split ``train``, ``test`` or, where the data set has one, ``val``."""
        seal.check(name)
        if name not in self.splits:
            raise DataError(f"no split '{name}' (the data set has: {', '.join(self.splits)})")
        return self.splits[name]


def prepare(dataset: DataSet, decode: Decode, workers: int = 1, progress: Progress | None = None) -> Arena:
    """The arena of ``dataset``, built by ``workers`` processes unless it exists; every byte of it is checked either way.

    progress(done, total) counts images while building. A damaged arena or an image that cannot be read is a DataError that names the file.
    """
    folder = _folder(dataset, decode)
    if not folder.is_dir():
        with building(folder) as temporary:
            _build(dataset, decode, temporary, workers, progress)
    arena = _open(folder)
    verify(arena)
    return arena


def find(dataset: DataSet, decode: Decode, closed: Container[str] = ()) -> Arena | None:
    """The arena if it is prepared, else None, without the splits in ``closed``: see :func:`open_split`.

    Sizes are checked, pixel checksums are not: see :func:`verify`.
    """
    folder = _folder(dataset, decode)
    return _open(folder, closed) if folder.is_dir() else None


def open_split(arena: Arena, name: str) -> ArenaSplit:
    """A split that ``arena`` was opened without; each call opens it anew."""
    fields = _manifest(arena.path)["splits"]
    if name not in fields:
        raise DataError(f"no split '{name}' (the data set has: {', '.join(fields)})")
    return _open_split(arena.path, name, fields[name])


def decodings() -> dict[Path, Decode]:
    """The folder of every prepared arena, and how its images were decoded."""
    folders = sorted((cache_root() / "arenas").glob("[0-9a-f]*"))
    return {folder: Decode(**_manifest(folder)["decode"]) for folder in folders}


def copies(dataset: DataSet, prepared: dict[Path, Decode]) -> list[Arena]:
    """Those of the ``prepared`` arenas that are of ``dataset``."""
    fingerprint = dataset.fingerprint()
    return [_open(folder) for folder, decode in prepared.items() if _key(fingerprint, decode) == folder.name]


def changed(dataset: DataSet, arena: Arena) -> list[Path]:
    """The files of images whose stored bytes are no longer those that were decoded into ``arena``."""
    splits = _manifest(arena.path)["splits"]
    if not all("hashes" in fields for fields in splits.values()):
        raise _damaged(arena.path / "manifest.json", "it is of an older version, without a hash per image")
    return [
        item.path
        for name, items in dataset.splits.items()
        for item, digest in zip(items, splits[name]["hashes"], strict=True)
        if hashlib.sha256(dataset.content(item)).hexdigest() != digest
    ]


def verify(arena: Arena) -> None:
    """Compare the checksum of every pixel file, about a second per gigabyte; DataError names the one that differs."""
    for name, split in arena.splits.items():
        if hashlib.sha256(split.pixels.data).hexdigest() != arena.checksums[name]:
            raise _damaged(arena.path / f"{name}.bin", "its checksum differs")


def _folder(dataset: DataSet, decode: Decode) -> Path:
    return cache_root() / "arenas" / _key(dataset.fingerprint(), decode)


def _key(fingerprint: str, decode: Decode) -> str:
    text = json.dumps([ARENA_VERSION, fingerprint, asdict(decode)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _build(dataset: DataSet, decode: Decode, folder: Path, workers: int, progress: Progress | None) -> None:
    total = sum(len(items) for items in dataset.splits.values())
    done = 0
    splits: dict[str, Any] = {}
    seen: dict[str, list[Seen]] = {}
    for name, items in dataset.splits.items():
        checksum = hashlib.sha256()
        seen[name] = []
        with (folder / f"{name}.bin").open("wb") as file:
            for chunk in chunks(dataset, items, decode, workers):
                for image_bytes in chunk.pixels:
                    file.write(image_bytes)
                    checksum.update(image_bytes)
                seen[name] += chunk.seen
                done += len(chunk.seen)
                if progress:
                    progress(done, total)
            _flush(file)
        splits[name] = {
            "sha256": checksum.hexdigest(),
            "keys": [item.key for item in items],
            "labels": [item.label for item in items],
            "hashes": [image.content for image in seen[name]],
            "heights": [image.size[0] for image in seen[name]],
            "widths": [image.size[1] for image in seen[name]],
        }
    found = [(name, item, image) for name, items in dataset.splits.items() for item, image in zip(items, seen[name], strict=True)]
    contents = sorted(f"{name} {item.label} {image.content}" for name, item, image in found)
    pixels = sorted(f"{name} {item.label} {image.size} {image.pixels}" for name, item, image in found)
    manifest = {
        "version": ARENA_VERSION,
        "data_hash": _checksum([ARENA_VERSION, asdict(decode), dataset.classes, contents]),
        "pixels_hash": _checksum([dataset.classes, pixels]),
        "decode": asdict(decode),
        "classes": dataset.classes,
        "notes": findings(found),
        "written_with": {"pillow": PIL.__version__, "numpy": np.__version__},
        "splits": splits,
    }
    with (folder / "manifest.json").open("w", encoding="utf-8") as file:
        json.dump({"sha256": _checksum(manifest), "manifest": manifest}, file)
        _flush(file)


def _flush(file: io.IOBase) -> None:
    file.flush()
    os.fsync(file.fileno())


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        manifest, checksum = stored["manifest"], stored["sha256"]
    except FileNotFoundError as error:
        raise _damaged(file, "it is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(file, f"it cannot be read ({error})") from error
    if _checksum(manifest) != checksum:
        raise _damaged(file, "its checksum differs")
    return manifest


def _open(folder: Path, closed: Container[str] = ()) -> Arena:
    manifest = _manifest(folder)
    splits = {name: _open_split(folder, name, fields) for name, fields in manifest["splits"].items() if name not in closed}
    checksums = {name: fields["sha256"] for name, fields in manifest["splits"].items()}
    hashes = manifest["data_hash"], manifest["pixels_hash"]
    return Arena(folder, *hashes, tuple(manifest["classes"]), splits, checksums, tuple(manifest["notes"]))


def _open_split(folder: Path, name: str, fields: dict[str, Any]) -> ArenaSplit:
    seal.check(name)
    file = folder / f"{name}.bin"
    heights, widths = np.array(fields["heights"], np.int32), np.array(fields["widths"], np.int32)
    lengths = 3 * heights.astype(np.int64) * widths
    ends = np.cumsum(lengths)
    if not file.is_file():
        raise _damaged(file, "it is missing")
    if file.stat().st_size != ends[-1]:
        raise _damaged(file, f"it has {file.stat().st_size} bytes instead of {ends[-1]}")
    pixels = np.asarray(np.memmap(file, np.uint8, mode="r"))
    return ArenaSplit(name, pixels, ends - lengths, heights, widths, np.array(fields["labels"], np.int64), tuple(fields["keys"]))


def _damaged(file: Path, what: str) -> DataError:
    return DataError(f"decoded data is damaged: {file}: {what}; remove the folder {file.parent} and prepare the data set again")
