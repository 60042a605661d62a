"""Errors that are the user's to mend: the command line prints them and exits with 2."""

import difflib
import errno
from collections.abc import Iterable


class UsageError(ValueError):
    """Bad input: the message names the place, what is wrong and the valid choices."""


_MACHINE = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EROFS: "read_only",
    errno.EIO: "disk",
    errno.ESTALE: "disk",
    errno.ENXIO: "disk",
    errno.ENODEV: "disk",
    errno.ENOTCONN: "disk",
    errno.ETIMEDOUT: "disk",
    errno.ENOMEM: "out_of_memory",
    errno.EMFILE: "too_many_files",
    errno.ENFILE: "too_many_files",
}
_PLACE = {
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOTEMPTY,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
    errno.EBUSY,
    errno.ETXTBSY,
    errno.EFBIG,
    errno.EXDEV,
}


def machine_fault(error: BaseException) -> str | None:
    """What the machine lacks: disk_full, read_only, disk, out_of_memory or too_many_files; None for every other error."""
    return _MACHINE.get(error.errno or 0) if isinstance(error, OSError) else None


def os_error_words(error: OSError) -> str | None:
    """An error of a file or a disk that is the user's to mend, with the place; None for one that is no fault of place or machine."""
    if error.errno not in _MACHINE and error.errno not in _PLACE:
        return None
    return f"{error.strerror}: {error.filename or 'results or cache folder'}"


def unknown(what: str, name: object, choices: Iterable[str]) -> str:
    """Wording for a name that is none of ``choices``, with the nearest match."""
    names = sorted(choices)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown {what} '{name}'{hint} (valid: {', '.join(names) or 'none'})"
