"""Why a run failed, in the words of ``failure.json``."""

import errno
import traceback
from typing import Any

KINDS = {
    "Diverged": "nan",
    "FloatingPointError": "nan",
    "MemoryError": "out_of_memory",
    "OutOfMemoryError": "out_of_memory",
    "DataError": "data",
}
"""Exception class -> kind. By name: torch, methods and data sets are imported by the worker alone, after its threads are set."""

_USER_ERRORS = {"UsageError", "DataError", "MethodError"}
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def describe(error: BaseException) -> dict[str, Any]:
    """reason: for a table. kind: nan, out_of_memory, data, disk_full, read_only or error. traceback: the full text."""
    message = str(error).strip() or "no message"
    kind = _kind(error)
    reason = message if kind in ("nan", "data") or is_user_error(error) else f"{type(error).__name__}: {message}"
    return {"reason": reason[:2000], "kind": kind, "traceback": "".join(traceback.format_exception(error))}


def is_user_error(error: BaseException) -> bool:
    """Whether the message alone tells the user what to mend."""
    return not _USER_ERRORS.isdisjoint(_names(error))


def _kind(error: BaseException) -> str:
    """The kind of the first telling link of the chain of causes."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for link in chain:
        if isinstance(link, OSError) and link.errno in _DISK_FULL:
            return "disk_full"
        if isinstance(link, OSError) and link.errno == errno.EROFS:
            return "read_only"
        if "can't allocate memory" in str(link):  # how torch's CPU allocator says it, in a plain RuntimeError
            return "out_of_memory"
        kinds = [KINDS[name] for name in _names(link) if name in KINDS]
        if kinds:
            return kinds[0]
    return "error"


def _names(error: BaseException) -> list[str]:
    return [c.__name__ for c in type(error).__mro__]
