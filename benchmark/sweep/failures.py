"""Why a run failed, in the words of ``failure.json``; and when a sweep stops because all its runs fail alike."""

import contextlib
import re
import traceback
from pathlib import Path
from typing import Any

from benchmark.errors import machine_fault
from benchmark.storage.atomic import read_json, write_json

KINDS = {
    "Diverged": "nan",
    "FloatingPointError": "nan",
    "MemoryError": "out_of_memory",
    "OutOfMemoryError": "out_of_memory",
    "DataError": "data",
}
"""Exception class -> kind. By name: torch, methods and data sets are imported by the worker alone, after its threads are set."""

_USER_ERRORS = {"UsageError", "DataError", "MethodError"}
_OUT_OF_MEMORY = (
    "can't allocate memory",  # torch's CPU allocator, in a plain RuntimeError
    "not enough memory",
    "out of memory",  # CUDA's own error, outside torch's allocator
    "STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN and others, for their workspaces
    "Cannot allocate memory",
)
_DEVICE = ("CUDA error", "CUBLAS_STATUS_", "CUDNN_STATUS_", "device-side assert", "cuda runtime error", "NCCL error")
"""What is said once the device's context is broken: every later call of the process fails as well."""


def describe(error: BaseException) -> dict[str, Any]:
    """reason: for a table. kind: nan, out_of_memory, data, device, error, or one of :func:`benchmark.errors.machine_fault`. traceback: the
    full text.
    """
    message = _text(error).strip() or "no message"
    kind = _kind(error)
    reason = message if kind in ("nan", "data") or is_user_error(error) else f"{type(error).__name__}: {message}"
    return {"reason": reason[:2000], "kind": kind, "traceback": _trace(error)}


def _trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as second:  # its own text cannot be made
        return f"{type(error).__name__}, whose traceback cannot be written: {type(second).__name__}"


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
        if (fault := machine_fault(link)) is not None:
            return fault
        if isinstance(link, RuntimeError) and any(words in _text(link) for words in _OUT_OF_MEMORY):
            return "out_of_memory"
        kinds = [KINDS[name] for name in _names(link) if name in KINDS]
        if kinds:
            return kinds[0]
        if isinstance(link, RuntimeError) and any(words in _text(link) for words in _DEVICE):
            return "device"
    return "error"


def _text(error: BaseException) -> str:
    """An error's message; foreign code may fail to say it."""
    try:
        return str(error)
    except Exception:
        return ""


def _names(error: BaseException) -> list[str]:
    return [c.__name__ for c in type(error).__mro__]


class StopEarly:
    """Asks for a stop when the first ``limit`` runs to end have all failed alike and none is done. limit: None never asks.

    done: some run of the sweep is done already. folder: where the jobs of one submission share what they have seen; None for one process.
    """

    def __init__(self, limit: int | None, done: bool = False, folder: Path | None = None) -> None:
        self._limit = limit
        self._done = done
        self._folder = folder
        self._failures: dict[str, dict[str, str]] = {}

    def succeeded(self) -> None:
        """A run is done."""
        if self._folder is not None and not self._done:
            with contextlib.suppress(OSError):  # the disk that fails the runs; to share is not what the runs are for
                (self._folder / "done").touch()
        self._done = True

    def failed(self, run_id: str, kind: str, reason: str) -> None:
        """A run has failed. kind, reason: as in ``failure.json``."""
        self._failures[run_id] = {"alike": f"{kind}: {_general(reason, run_id)}", "reason": reason}
        if self._folder is not None and self._limit is not None and len(self._failures) <= self._limit:
            with contextlib.suppress(OSError):
                write_json(self._folder / f"{run_id}.json", self._failures[run_id], durable=False)

    def reason(self) -> str | None:
        """Why to stop, or None."""
        if self._limit is None or self._done:
            return None
        if self._folder is not None:
            with contextlib.suppress(OSError):
                if (self._folder / "done").exists():
                    return None
                self._failures |= {path.stem: found for path in self._folder.glob("*.json") if (found := read_json(path))}
        if len(self._failures) < self._limit or len({failure["alike"] for failure in self._failures.values()}) > 1:
            return None
        reason = next(iter(self._failures.values()))["reason"].splitlines()[0]
        return f"stopped early: the first {len(self._failures)} runs all failed alike and none is done ({reason})"


def _general(reason: str, run_id: str) -> str:
    """The first line of a reason without what differs between runs: the run's name, temporary names, numbers."""
    line = (reason.splitlines() or [""])[0].replace(run_id, "RUN")
    return re.sub(r"\d+", "#", re.sub(r"\.tmp-[0-9a-f]+", "TEMP", line))
