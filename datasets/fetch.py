"""Downloading official files: resumed where they broke off, from the first mirror that delivers what the checksum says."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path

from datasets.base import DataError, Source
from datasets.files import full_disk_named

BLOCK = 1 << 20
TIMEOUT = 60
"""Seconds without a byte."""

Progress = Callable[[str, int, int | None], None]


def fetch(source: Source, folder: Path, progress: Progress | None = None) -> Path:
    """``folder / source.file``, downloaded unless it is there and right. DataError says what each address answered.

    A broken download is kept as ``<file>.part`` and continued, also from another mirror; bytes that do not give the checksum are thrown
    away. One process at a time downloads to a folder. progress(file, done, total) counts bytes; total is None where the server does not
    say.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), full_disk_named(folder):
        target = folder / source.file
        if target.is_file() and _right(target, source):
            return target
        return _fetch(source, target, lambda done, total: progress(source.file, done, total) if progress else None)


def _fetch(source: Source, target: Path, progress: Callable[[int, int | None], None]) -> Path:
    part = target.with_name(target.name + ".part")
    problems = []
    for url in source.urls:
        try:
            _download(url, part, progress)
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            problems.append(f"{url}: {error}")
            continue
        if _right(part, source):
            os.replace(part, target)
            return target
        part.unlink()
        problems.append(f"{url}: its md5 is not {source.md5}")
    raise DataError(f"cannot download {source.file}: {'; '.join(problems) or 'nobody offers it'}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Within, no other process is; the system lifts the lock when this one dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _right(file: Path, source: Source) -> bool:
    if not source.md5:
        return True
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest() == source.md5


def _download(url: str, part: Path, progress: Callable[[int, int | None], None]) -> None:
    """Bring ``part`` to the whole of ``url``, continuing after what it holds where the server can."""
    held = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "smilebench"} | ({"Range": f"bytes={held}-"} if held else {}))
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        # 416: the server has no byte after those held, so the file is whole, or was another file's beginning: the checksum tells.
        if error.code == 416 and held:
            return
        raise
    with response:
        if response.status != 206:
            held = 0
        length = response.headers.get("Content-Length")
        total = held + int(length) if length else None
        _room_for(part, total, held)
        with part.open("ab" if held else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                held += len(block)
                progress(held, total)
    if total is not None and held != total:
        raise ConnectionError(f"broke off after {held} of {total} bytes; run the command again to continue")


def _room_for(part: Path, total: int | None, held: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - held > free:
        raise DataError(f"{part.parent} has {free} bytes free, but {total - held} are to come")
