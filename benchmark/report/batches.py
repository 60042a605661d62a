"""Pictures of first batches that ``show --into`` drew beside a sweep, for its report."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmark.report.collect import Expected
from benchmark.storage.atomic import read_json

FOLDER = "batches"
INLINE_LIMIT = 2**19
"""Bytes of pictures that a page holds itself; it links to the files of those that come after."""


@dataclass(frozen=True)
class BatchPicture:
    """The first batch of a method on a data set. source: what an ``<img>`` shows, the picture itself or its file. file: relative path."""

    dataset: str
    method: str
    title: str
    caption: str
    source: str
    file: str


def batch_pictures(sweep_dir: Path, expected: Iterable[Expected]) -> list[BatchPicture]:
    """The pictures of runs that the sweep asks for, in its order; those drawn with other settings are left out."""
    order = {item.run_id: number for number, item in enumerate(expected)}
    found: list[tuple[int, Path, dict[str, str]]] = []
    for file in sorted((sweep_dir / FOLDER).glob("*.json")):
        about = read_json(file) or {}
        whole = all(isinstance(about.get(key), str) for key in ("dataset", "method", "run_id", "title", "caption"))
        if whole and about["run_id"] in order and file.with_suffix(".png").is_file():
            found.append((order[about["run_id"]], file.with_suffix(".png"), about))
    pictures, room = [], INLINE_LIMIT
    for _, file, about in sorted(found, key=lambda each: each[0]):
        name, content = f"{FOLDER}/{file.name}", file.read_bytes()
        room -= len(content)
        source = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}" if room >= 0 else name
        pictures.append(BatchPicture(about["dataset"], about["method"], about["title"], about["caption"], source, name))
    return pictures


def fingerprint(sweep_dir: Path) -> str:
    """Changes with any of the pictures and their words."""
    digest = hashlib.sha256()
    for file in sorted((sweep_dir / FOLDER).glob("*.[jp][sn]*")):
        digest.update(file.name.encode(errors="surrogateescape") + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
