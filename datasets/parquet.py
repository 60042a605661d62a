"""Hugging Face's parquet files, written out as the image folder they stand for; the images' bytes stay as they are."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.base import DataError
from datasets.files import building

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

IMAGES = ("image", "img")
LABELS = ("label", "labels", "variant", "fine_label")
SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}
LONGEST = 200
"""Bytes of a class name that a folder's name holds; of a longer one the rest becomes a hash."""


def unpack(files: Sequence[Path], folder: Path, *, max_bytes: int) -> None:
    """Write ``<split>/<label>.<class name>/<file>-<row>.jpg`` (or .png) for every row; ``folder`` appears complete or not at all.

    The split is what the file's name begins with; without a test file, validation is test, as in the Hub's copy of Food-101. Class names
    come from the schema where it has them; a slash in one becomes ``-``. DataError names the file and row of what is no image or no label,
    and refuses more than ``max_bytes`` of images.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    left = max_bytes
    with building(folder) as temporary:
        for file in files:
            split = temporary / _split(file)
            try:
                with ParquetFile(file) as table:
                    left -= _unpack_one(table, file, split, left)
            except ArrowException as error:
                raise DataError(f"{file} is damaged or no parquet file: {error}") from error
            except OSError as error:
                if error.errno is not None:  # the disk's; pyarrow reports damage as an OSError without a number
                    raise
                raise DataError(f"{file} is damaged or no parquet file: {error}") from error
        if (temporary / "val").is_dir() and not (temporary / "test").exists():
            (temporary / "val").rename(temporary / "test")


def _unpack_one(table: "ParquetFile", file: Path, split: Path, max_bytes: int) -> int:
    """Bytes of the images written."""
    image, label = (_column(table, file, names) for names in (IMAGES, LABELS))
    names = _class_names(table, file, label)
    total = row = 0
    # Few rows at a time: a file of a few bytes can stand for many large equal ones.
    for batch in table.iter_batches(batch_size=16, columns=[image, label]):
        for picture, value in zip(batch.column(image).to_pylist(), batch.column(label).to_pylist(), strict=True):
            where = f"{file}, row {row}"
            content = _content(picture, where)
            total += len(content)
            if total > max_bytes:
                raise DataError(f"{where}: its images unpack to more than {max_bytes} bytes")
            suffix = "png" if content.startswith(b"\x89PNG") else "jpg"
            target = split / _folder_name(value, names, where) / f"{file.stem}-{row:06d}.{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            row += 1
    return total


def _content(picture: Any, where: str) -> bytes:
    content = picture.get("bytes") if isinstance(picture, dict) else picture
    if not content and isinstance(picture, dict) and picture.get("path"):
        raise DataError(f"{where}: it holds no image, only the path '{picture['path']}'")
    if not content:
        raise DataError(f"{where}: the image is empty")
    if not isinstance(content, bytes):
        raise DataError(f"{where}: the image is no bytes, but {type(content).__name__}")
    return content


def _folder_name(value: Any, names: Sequence[str], where: str) -> str:
    """The class folder of a label: its number and name, or what the label says where the file has no names."""
    if isinstance(value, float) and value.is_integer():  # integers beside empty labels are stored so
        value = int(value)
    if value is None or value == "" or value != value:
        raise DataError(f"{where}: the label is empty")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{where}: the label {str(value)[:80]!r} is neither a whole number nor text")
    if not names or isinstance(value, str):
        name = str(value)
    elif 0 <= value < len(names):
        name = f"{value:03d}.{names[value]}"
    else:
        raise DataError(f"{where}: label {value} is outside the {len(names)} classes that the file names")
    name = name.replace("/", "-").replace("\0", "-")
    if name in (".", ".."):
        raise DataError(f"{where}: the class name '{name}' points outside the data set")
    # A folder whose name begins with a dot is hidden, and not read.
    if name.startswith("."):
        raise DataError(f"{where}: the class name '{name[:80]}' begins with a dot")
    encoded = name.encode(errors="surrogateescape")
    if len(encoded) <= LONGEST:
        return name
    return encoded[: LONGEST - 17].decode(errors="ignore") + "-" + hashlib.sha256(encoded).hexdigest()[:16]


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


def _class_names(table: "ParquetFile", file: Path, label: str) -> list[str]:
    """ClassLabel names that the ``datasets`` library stores beside the schema; empty where there are none."""
    stored: Any = (table.schema_arrow.metadata or {}).get(b"huggingface")
    try:
        stored = json.loads(stored) if stored else None
    except ValueError as error:
        raise DataError(f"{file}: its 'huggingface' metadata is no JSON: {error}") from error
    for key in ("info", "features", label, "names"):
        stored = stored.get(key) if isinstance(stored, dict) else None
    if stored is None:
        return []
    if not isinstance(stored, list) or not all(isinstance(name, str) and name for name in stored):
        raise DataError(f"{file}: its 'huggingface' metadata gives no list of class names for '{label}'")
    return stored
