"""Unpacking downloaded archives without trusting them."""

import functools
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from datasets.base import DataError
from datasets.files import building

# RuntimeError and NotImplementedError are zipfile's, for an encrypted member and an unknown compression.
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
)

ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".zip")


def extract(archive: Path, target: Path, *, max_bytes: int) -> None:
    """Unpack ``archive`` (zip, or tar with any compression) into the new folder ``target``, which appears complete or not at all.

    Only folders and plain files inside ``target`` are accepted. A link, a device, an absolute path or ``..`` refuses the whole
    archive; so do more than ``max_bytes`` unpacked. Owners, modes and times are not restored.
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
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        # gzip and bz2 report damage as an OSError without a number; one with a number is the disk's.
        raise _damaged(archive, error) from error


class Member(NamedTuple):
    """One entry of an archive; kind: ``folder``, ``file`` or ``other``. size: bytes it says to unpack to, and can at most."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]


def _tar_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive) as tar:
        for member in tar:
            kind = "folder" if member.isdir() else "file" if member.isreg() else "other"
            yield Member(member.name, kind, member.size, functools.partial(tar.extractfile, member))
        # The compressor's checksum stands behind tar's end mark; only reading on to there compares it.
        while tar.fileobj.read(1 << 20):
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
