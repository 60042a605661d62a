"""Whether the process that made a claim still lives, as far as this machine can tell."""

import functools
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@functools.cache
def machine() -> str | None:
    """This host, boot and pid namespace: inside it a pid means one process. None where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def identity() -> dict[str, Any]:
    """This process, for :func:`known_dead` to judge later."""
    pid = os.getpid()
    fields = _stat(pid)
    return {
        "host": socket.gethostname(),
        "machine": machine(),
        "pid": pid,
        "pid_start": fields[_START] if fields else None,
        "parent": os.getppid(),
    }


def known_dead(who: Mapping[str, Any]) -> bool:
    """Whether the process of :func:`identity` ``who`` is certainly gone; False when it ran on another machine.

    A zombie is gone, except while the parent it had is about to look at how it died.
    """
    here = machine()
    if here is None or who.get("machine") != here:
        return False
    fields = _stat(who["pid"])
    if fields is None or fields[_START] != who["pid_start"]:
        return True
    return fields[0] in ("Z", "X") and int(fields[1]) != who["parent"]


_START = 19


def _stat(pid: int) -> list[str] | None:
    """What Linux tells of a process after its name: state, parent, ..., start time in ticks since boot (:data:`_START`)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
