"""Identity of a file: its content."""

import functools
import hashlib
from pathlib import Path

from benchmark.errors import UsageError


@functools.cache
def file_sha256(path: Path) -> str:
    """Hex sha256 of a file, read once per process."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
