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
    fields = _stat(who.get("pid"))
    if fields is None or fields[_START] != who.get("pid_start"):
        return True
    return fields[0] in ("Z", "X") and int(fields[1]) != who.get("parent")


def known_alive(who: Mapping[str, Any]) -> bool:
    """Whether the process of :func:`identity` ``who`` certainly lives and is not paused; False when it ran on another machine."""
    here = machine()
    if here is None or who.get("machine") != here:
        return False
    fields = _stat(who.get("pid"))
    return fields is not None and fields[_START] == who.get("pid_start") and fields[0] not in ("Z", "X", "T", "t")


def rebooted_since(who: Mapping[str, Any]) -> bool:
    """Whether a host of the same name as this one has started anew since; no proof, as two hosts may share a name."""
    there, here = str(who.get("machine")).split(), (machine() or "").split()
    return len(there) == len(here) == 3 and there[0] == here[0] and there[1] != here[1]


def living_parent(who: Mapping[str, Any]) -> int | None:
    """The pid of the command that started the process ``who``, where both live on this machine and can be signalled; else None.

    A process whose parent has died belongs to another one, mostly to pid 1, which must not be signalled in its place.
    """
    fields = _stat(who.get("pid")) if known_alive(who) else None
    parent = int(fields[1]) if fields is not None else 0
    return parent if parent > 1 and parent == who.get("parent") else None


_START = 19


def _stat(pid: object) -> list[str] | None:
    """What Linux tells of a process after its name: state, parent, ..., start time in ticks since boot (:data:`_START`)."""
    try:
        if not isinstance(pid, int):
            return None
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
