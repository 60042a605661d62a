"""Files that can tell whether they are whole: their content, then its sha256. For what is read back by this suite alone."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from benchmark.storage.atomic import replacing

_DIGEST = hashlib.sha256().digest_size


class DamagedError(ValueError):
    """A file that is not what was written; the message names it."""


class HashedWriter:
    """Passes what is written on to a file. error: why a write failed; torch replaces it by words of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, content: bytes | memoryview) -> int:
        self._sha256.update(content)
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> bytes:
        return self._sha256.digest()


@contextmanager
def writing(path: Path, check: Callable[[], None] | None = None) -> Iterator[HashedWriter]:
    """Write ``path`` whole or not at all, as :func:`benchmark.storage.atomic.replacing` does, with its checksum behind the content."""
    with replacing(path, check=check) as file:
        writer = HashedWriter(file)
        try:
            yield writer
        except Exception:
            if writer.error is not None:
                raise writer.error from None
            raise
        file.write(writer.digest())


def read(path: Path) -> bytes:
    """The content of a file from :func:`writing`. DamagedError when it is cut or changed; OSError as usual."""
    stored = path.read_bytes()
    content, digest = stored[:-_DIGEST], stored[-_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise DamagedError(f"{path} is damaged: its checksum differs")
    return content
