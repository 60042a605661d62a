"""Folders that appear complete or not at all."""

import contextlib
import errno
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from datasets.base import DataError


@contextlib.contextmanager
def building(target: Path) -> Iterator[Path]:
    """A new folder under a temporary name; when the block ends well it is renamed to ``target``, else removed.

    Two processes may build the same target at once: the first to finish publishes, the other's copy is dropped. What a
    killed process of this host left behind for ``target`` is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    temporary = target.parent / f".{target.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        with full_disk_named(target.parent):
            yield temporary
            try:
                os.rename(temporary, target)
            except OSError:
                if not target.is_dir():
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Within, a full disk is a DataError that names ``folder``."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"the disk of {folder} is full; free some space, or set SMILEBENCH_CACHE to another disk") from error
        raise


def _remove_abandoned(target: Path) -> None:
    name = re.compile(re.escape(f".{target.name}.{socket.gethostname()}.") + r"(\d+)\.[0-9a-f]{8}")
    for entry in target.parent.iterdir():
        match = name.fullmatch(entry.name)
        if match and not _alive(int(match[1])):
            shutil.rmtree(entry, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
