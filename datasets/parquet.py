"""Hugging Face's parquet files, written out as the image folder they stand for; the images' bytes stay as they are."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.base import DataError
from datasets.files import building

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

IMAGES = ("image", "img")
LABELS = ("label", "labels", "variant", "fine_label")
SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}


def unpack(files: Sequence[Path], folder: Path) -> None:
    """Write ``<split>/<label>.<class name>/<file>-<row>.jpg`` (or .png) for every row; ``folder`` appears complete or not at all.

    The split is what the file's name begins with; without a test file, validation is test, as in the Hub's copy of Food-101. Class names
    come from the schema where it has them; a slash in one becomes ``-``.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    with building(folder) as temporary:
        for file in files:
            try:
                with ParquetFile(file) as table:
                    _unpack_one(table, file, temporary)
            except (ArrowException, OSError) as error:
                raise DataError(f"{file} is damaged or no parquet file: {error}") from error
        if (temporary / "val").is_dir() and not (temporary / "test").exists():
            (temporary / "val").rename(temporary / "test")


def _unpack_one(table: "ParquetFile", file: Path, folder: Path) -> None:
    image, label = (_column(table, file, names) for names in (IMAGES, LABELS))
    names = _class_names(table, label)
    split = folder / _split(file)
    row = 0
    for batch in table.iter_batches(batch_size=64, columns=[image, label]):
        for picture, number in zip(batch.column(image).to_pylist(), batch.column(label).to_pylist(), strict=True):
            content = picture["bytes"] if isinstance(picture, dict) else picture
            if not content:
                raise DataError(f"{file}, row {row}: it holds no image, only the path '{picture['path']}'")
            name = f"{number:03d}.{names[number]}" if names else str(number)
            suffix = "png" if content.startswith(b"\x89PNG") else "jpg"
            target = split / name.replace("/", "-").replace("\0", "-") / f"{file.stem}-{row:06d}.{suffix}"
            if not target.is_relative_to(split) or ".." in target.parts:
                raise DataError(f"{file}, row {row}: the class name '{name}' points outside the data set")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            row += 1


def _split(file: Path) -> str:
    match = re.match(r"[a-z]+", file.name)
    if not match or match[0] not in SPLITS:
        raise DataError(f"{file}: the name must begin with its split ({', '.join(SPLITS)}), as in train-00000-of-00001.parquet")
    return SPLITS[match[0]]


def _column(table: "ParquetFile", file: Path, names: Sequence[str]) -> str:
    found = table.schema_arrow.names
    for name in names:
        if name in found:
            return name
    raise DataError(f"{file} has no column {' or '.join(names)} (columns: {', '.join(found)})")


def _class_names(table: "ParquetFile", label: str) -> list[str]:
    """ClassLabel names that the ``datasets`` library stores beside the schema; empty where there are none."""
    stored = (table.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    return json.loads(stored).get("info", {}).get("features", {}).get(label, {}).get("names", [])
