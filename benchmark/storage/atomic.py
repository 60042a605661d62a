"""Files that are whole or absent, on local disks and on NFS; their identity; and the clock of the file system that holds them."""

import contextlib
import functools
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from benchmark.errors import UsageError

TEMP = ".tmp-"
_LITTER_SECONDS = 300.0
"""A temporary file that nothing was written to for this long has lost its process; the longest write takes seconds."""

Check = Callable[[], None]


@contextlib.contextmanager
def replacing(path: Path, *, check: Check | None = None, exclusive: bool = False, durable: bool = True) -> Iterator[BinaryIO]:
    """Write ``path`` whole or not at all: under a temporary name beside it, renamed when the block ends without an error.

    check: called just before the rename; its exception prevents it. exclusive: FileExistsError when ``path`` exists.
    durable: flush to the disk before the rename.
    """
    temp = path.parent / f"{TEMP}{secrets.token_hex(8)}"
    try:
        with open(temp, "xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if check is not None:
            check()
        if exclusive:
            _link(temp, path)
        else:
            _rename(temp, path, check)
        if durable:
            _flush_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # on a disk that is ill: what went wrong before is what the caller is to hear
            temp.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Bring a rename to the disk. Some network file systems open no folder or flush none: there the server has done it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _rename(temp: Path, path: Path, check: Check | None) -> None:
    """Rename; a temporary file that is gone was removed by whoever took over, which ``check`` then says."""
    try:
        os.replace(temp, path)
    except FileNotFoundError:
        if check is not None:
            check()
        raise


def _link(temp: Path, path: Path) -> None:
    """Hard link; NFS may answer a repeated request with "exists" although the link is the one just made."""
    try:
        os.link(temp, path)
    except FileExistsError:
        if not os.path.samefile(temp, path):
            raise


def write_text(path: Path, text: str, check: Check | None = None, **how: bool) -> None:
    """Write ``text`` to ``path`` as UTF-8 with :func:`replacing`."""
    with replacing(path, check=check, **how) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any, check: Check | None = None, **how: bool) -> None:
    """Write ``value`` to ``path`` as JSON with :func:`replacing`; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", check, **how)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``; None when there is none, or when what is there is no whole JSON object: half a file, a list, a folder."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def remove_litter(folders: Iterable[Path]) -> None:
    """Remove from ``folders`` the temporary files of processes that died while they wrote; those of live ones are younger."""
    for folder in folders:
        try:
            found = [folder / name for name in os.listdir(folder) if name.startswith((TEMP, ".probe-"))]
        except OSError:
            continue
        for path in found:
            with contextlib.suppress(OSError):
                if clock(folder) - path.stat().st_mtime > _LITTER_SECONDS and path.is_file():
                    path.unlink()


@functools.cache
def file_sha256(path: Path) -> str:
    """Hex sha256 of a file, read once per process."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def check_writable(folder: Path) -> None:
    """Refuse a results folder in which runs could not be claimed; on a full disk an empty file may still find room."""
    probe = folder / f".probe-{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(probe, " " * 4096, exclusive=True, durable=False)
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        raise UsageError(f"results cannot be written to {folder}: {error.strerror}") from error


def see_anew(folders: Iterable[Path]) -> None:
    """Open ``folders``: an NFS client then asks the server what is in them. A file that it has found absent it may else take for absent for
    a minute after another host has written it.
    """
    for folder in folders:
        with contextlib.suppress(OSError):
            os.close(os.open(folder, os.O_RDONLY))


def clock(folder: Path) -> float:
    """Now, by the clock of the file system that holds ``folder``, about which its hosts agree; where it is read-only, by this host's."""
    probe = folder / f"{TEMP}{secrets.token_hex(8)}"
    try:
        with open(probe, "xb") as file:
            now = os.fstat(file.fileno()).st_mtime
        probe.unlink(missing_ok=True)
    except OSError:
        return time.time()
    return now
