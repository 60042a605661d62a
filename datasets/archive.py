"""Unpacking downloaded archives without trusting them."""

import bz2
import errno
import functools
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from datasets.base import DataError
from datasets.files import building

# RuntimeError and NotImplementedError are zipfile's, for an encrypted member and an unknown compression. The last four are of both modules,
# which read numbers, names and lists of a header without a check: a name that is no UTF-8, a sparse map that holds no numbers.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    LookupError,
    ArithmeticError,
    struct.error,
)

_NOT_THE_DISK = {errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ}
"""A place in the archive before its beginning, and names that no file system takes: errors of the system that an archive causes."""

ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".zip")


MAX_HEADER = 1 << 20
"""Bytes of one tar member's header with its long names and attributes."""


def extract(archive: Path, target: Path, *, max_bytes: int) -> None:
    """Unpack ``archive`` (zip, or tar with any compression) into the new folder ``target``, which appears complete or not at all.

    Only folders and plain files inside ``target`` are accepted. A link, a device, an absolute path or ``..`` refuses the whole
    archive; so do more than ``max_bytes`` unpacked and a header above ``MAX_HEADER``. Owners, modes and times are not restored.
    """
    with building(target) as folder:
        _unpack(archive, folder, max_bytes)


def _unpack(archive: Path, folder: Path, max_bytes: int) -> None:
    total = 0
    try:
        for member in _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive):
            reason = _unsafe(member)
            if reason:
                raise DataError(f"{archive}: {reason}")
            total += member.size
            if total > max_bytes:
                raise DataError(f"{archive}: unpacks to more than {max_bytes} bytes")
            path = folder / PurePosixPath(member.name)
            if member.kind == "folder":
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, path.open("xb") as copy:
                shutil.copyfileobj(source, copy)
    except DataError:
        raise
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is not None and error.errno not in _NOT_THE_DISK:
            raise
        # gzip and bz2 report damage as an OSError without a number; one with another number is the disk's.
        raise _damaged(archive, error) from error


class Member(NamedTuple):
    """One entry of an archive; kind: ``folder``, ``file`` or ``other``. size: bytes it says to unpack to, and can at most."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]


class _Metered(io.RawIOBase):
    """The unpacked bytes of a tar, of which at most ``left`` may be read: headers name their own sizes, and tarfile believes them."""

    def __init__(self, stream: IO[bytes], archive: Path) -> None:
        self._stream, self._archive = stream, archive
        self.left = MAX_HEADER

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self.left:
            raise DataError(f"{self._archive}: a header asks for more than {MAX_HEADER} bytes")
        self.left -= size
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _unpacked_stream(archive: Path) -> IO[bytes]:
    """The tar behind its compression, which its first bytes tell."""
    with archive.open("rb") as file:
        start = file.read(6)
    for magic, module in ((b"\x1f\x8b", gzip), (b"BZh", bz2), (b"\xfd7zXZ\0", lzma)):
        if start.startswith(magic):
            return module.open(archive)
    return archive.open("rb")


def _tar_members(archive: Path) -> Iterator[Member]:
    with _unpacked_stream(archive) as stream:
        metered = _Metered(stream, archive)
        with tarfile.TarFile(fileobj=metered) as tar:
            while True:
                metered.left = MAX_HEADER
                member = tar.next()
                if member is None:
                    break
                kind = "folder" if member.isdir() else "file" if member.isreg() else "other"
                metered.left = max(member.size, 0)
                # None is for what is no file, which nobody opens.
                content = cast(Callable[[], IO[bytes]], functools.partial(tar.extractfile, member))
                yield Member(member.name, kind, member.size, content)
        # The compressor's checksum stands behind tar's end mark; only reading on to there compares it.
        while stream.read(1 << 20):
            pass


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            mode = stat.S_IFMT(member.external_attr >> 16)
            kind = "folder" if member.is_dir() else "file" if mode in (0, stat.S_IFREG) else "other"
            yield Member(member.filename, kind, member.file_size, functools.partial(packed.open, member))


def _damaged(archive: Path, error: Exception) -> DataError:
    return DataError(f"{archive} is damaged or no archive: {error}")


def _unsafe(member: Member) -> str | None:
    path = PurePosixPath(member.name)
    if member.kind == "other":
        return f"member '{member.name}' is a link or a special file; only plain files are unpacked"
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        return f"member '{member.name}' points outside the archive"
    if member.size < 0:
        return f"member '{member.name}' has a negative size"
    return None
