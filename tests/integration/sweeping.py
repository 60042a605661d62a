"""The ``sweep`` command on small real runs, in processes of its own that may be signalled and killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmark.storage.run_folder import RunFolder
from tests.integration.test_cli import ROOT
from tests.training.test_run import VARYING

WAIT = 180.0
"""Seconds after which a test gives up; on an idle machine none waits for a tenth of it."""


class Sweep:
    """One results folder, and the ``sweep`` commands that work on it, each of which prints to ``out.txt``.

    folder: where the command is run. out: the sweep's results folder. environment: added to the command's.
    """

    def __init__(self, file: str, folder: Path, workers: int = 2, out: Path | None = None, **environment: str) -> None:
        self.file, self.folder, self.workers = file, folder, workers
        self.out = out or folder / "results" / "small"
        self.finished: dict[Path, int] = {}
        self.process: subprocess.Popen | None = None
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **environment}
        folder.mkdir(exist_ok=True)

    def start(self) -> subprocess.Popen:
        command = [sys.executable, "-m", "benchmark", "sweep", self.file, "--workers", str(self.workers), "--out", str(self.out)]
        with (self.folder / "out.txt").open("a") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=self._environment, stdout=log, stderr=log)
        return self.process

    def finish(self) -> int:
        """Start the command and wait for its exit code."""
        return self.start().wait(WAIT)

    @property
    def shown(self) -> str:
        """All that was printed, without line breaks."""
        return " ".join((self.folder / "out.txt").read_text().split())

    def runs(self) -> dict[str, RunFolder]:
        return {path.name: RunFolder(path) for path in sorted(self.out.glob("runs/*"))}

    def states(self) -> list[str]:
        return [run.state() for run in self.runs().values()]

    def nothing_is_lost_or_redone(self) -> None:
        done = {run.record_path: run.record_path.stat().st_mtime_ns for run in self.runs().values() if run.record_path.exists()}
        assert self.finished.items() <= done.items()
        self.finished = done

    def records(self) -> dict[str, dict[str, Any]]:
        """What the records say, without what no two runs share."""
        found = {run_id: run.record_path for run_id, run in self.runs().items() if run.record_path.exists()}
        return {run_id: steady(json.loads(path.read_text())) for run_id, path in found.items()}

    def resumed_at(self) -> list[int]:
        logs = "\n".join(run.log_path.read_text() for run in self.runs().values() if run.log_path.exists())
        return [int(step) for step in re.findall(r"resumed at step (\d+) of", logs)]


def steady(record: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in VARYING}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition: Callable[[], Any], seconds: float = WAIT) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
    return found


def end(process: subprocess.Popen) -> None:
    """For a test's last lines, whatever happened in it."""
    for pid in [*(children(process.pid) if process.poll() is None else []), process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
