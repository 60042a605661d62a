"""Stops a sweep whose runs all fail for one reason: a broken set-up is found after a few runs, not after hundreds."""

import re
from pathlib import Path

from benchmark.storage.atomic import read_json, write_json


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
            (self._folder / "done").touch()
        self._done = True

    def failed(self, run_id: str, kind: str, reason: str) -> None:
        """A run has failed. kind, reason: as in ``failure.json``."""
        self._failures[run_id] = {"alike": f"{kind}: {_general(reason, run_id)}", "reason": reason}
        if self._folder is not None and self._limit is not None and len(self._failures) <= self._limit:
            write_json(self._folder / f"{run_id}.json", self._failures[run_id], durable=False)

    def reason(self) -> str | None:
        """Why to stop, or None."""
        if self._limit is None or self._done:
            return None
        if self._folder is not None:
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
