"""Downloading official files: resumed where they broke off, from the first mirror that delivers what the checksum says."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
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
            _download(url, part, progress, checked=bool(source.md5))
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


def _download(url: str, part: Path, progress: Callable[[int, int | None], None], checked: bool) -> None:
    """Bring ``part`` to the whole of ``url``, continuing after what it holds where the server can.

    checked: a checksum will tell whether the bytes are right. Without one the server must say what it sends, and how much.
    """
    held = part.stat().st_size if part.exists() else 0
    try:
        response = _ask(url, held)
        if held and response.status == 206 and "Content-Range" not in response.headers and not checked:
            response.close()
            held, response = 0, _ask(url, 0)
    except urllib.error.HTTPError as error:
        error.close()
        # 416: the server has no byte after those held, so the file is whole, or was another file's beginning: the checksum tells.
        if error.code == 416 and held:
            return
        raise
    with response:
        held, total = _place_of(response, held)
        if total is None and not checked and not response.chunked:
            raise ConnectionError("does not say how long the file is, and there is no checksum to tell whether it came whole")
        _room_for(part, total, held)
        with part.open("ab" if held else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                held += len(block)
                progress(held, total)
    if total is not None and held < total:
        raise ConnectionError(f"broke off after {held} of {total} bytes; run the command again to continue")
    if total is not None and held > total:
        part.unlink()
        raise ConnectionError(f"sent {held} bytes of a file of {total}")


def _ask(url: str, held: int) -> HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "smilebench"} | ({"Range": f"bytes={held}-"} if held else {}))
    return urllib.request.urlopen(request, timeout=TIMEOUT)


def _place_of(response: HTTPResponse, held: int) -> tuple[int, int | None]:
    """Where the bytes to come begin, and how long the file is if that is known; ConnectionError where the server contradicts itself."""
    stated = response.headers.get("Content-Length")
    if stated is not None and not (stated.isascii() and stated.isdecimal()):
        raise ConnectionError(f"states a length of '{stated}'")
    length = int(stated) if stated is not None else None
    if response.status != 206:
        return 0, length
    sent = response.headers.get("Content-Range")
    if sent is None:
        return held, None if length is None else held + length
    # A server may send the whole file again where it was asked for the rest.
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", sent.strip())
    if match is None or int(match[1]) not in (0, held) or (length is not None and length != int(match[2]) - int(match[1]) + 1):
        raise ConnectionError(f"sent '{sent}' (of length {stated}) where bytes from {held} on were asked for")
    return int(match[1]), int(match[2]) + 1 if match[3] == "*" else int(match[3])


def _room_for(part: Path, total: int | None, held: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - held > free:
        raise DataError(f"{part.parent} has {free} bytes free, but {total - held} are to come")
