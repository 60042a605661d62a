"""Unpacking downloaded archives without trusting them."""

import lzma
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from datasets.base import DataError
from datasets.files import building


def extract(archive: Path, target: Path, *, max_bytes: int, refuse: Callable[[str], str | None] = lambda name: None) -> None:
    """Unpack ``archive`` (tar, any compression) into the new folder ``target``, which appears complete or not at all.

    Only folders and plain files inside ``target`` are accepted. A link, a device, an absolute path or ``..`` refuses the whole
    archive; so do more than ``max_bytes`` unpacked, or a member for whose name ``refuse`` gives a reason. Owners, modes and times
    are not restored.
    """
    with building(target) as folder:
        _unpack(archive, folder, max_bytes, refuse)


def _unpack(archive: Path, folder: Path, max_bytes: int, refuse: Callable[[str], str | None]) -> None:
    total = 0
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                reason = _unsafe(member) or refuse(member.name)
                if reason:
                    raise DataError(f"{archive}: {reason}")
                total += member.size
                if total > max_bytes:
                    raise DataError(f"{archive}: unpacks to more than {max_bytes} bytes")
                path = folder / PurePosixPath(member.name)
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, path.open("xb") as copy:
                    shutil.copyfileobj(source, copy)
            # The compressor's checksum stands behind tar's end mark; only reading on to there compares it.
            while tar.fileobj.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, FileExistsError, NotADirectoryError) as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        # gzip and bz2 report damage as an OSError without a number; one with a number is the disk's.
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> DataError:
    return DataError(f"{archive} is damaged or not a tar archive: {error}")


def _unsafe(member: tarfile.TarInfo) -> str | None:
    path = PurePosixPath(member.name)
    if not (member.isdir() or member.isreg()):
        return f"member '{member.name}' is a link or a special file; only plain files are unpacked"
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        return f"member '{member.name}' points outside the archive"
    if member.size < 0:
        return f"member '{member.name}' has a negative size"
    return None
