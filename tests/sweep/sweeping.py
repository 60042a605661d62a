"""Sweeps of fake runs: made, carried out here or in a process of their own, and looked at afterwards."""

import io
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

from rich.console import Console

from benchmark.storage.run_folder import RunFolder
from benchmark.sweep.order import ATTENDED, Order, Policy, SweepOutcome
from benchmark.sweep.progress import View
from benchmark.sweep.runner import run_local
from benchmark.sweep.worker import PROGRAM

ROOT = Path(__file__).parents[2]
FAKE = "tests.sweep.fake"


def make(folder: Path, configs: dict[str, dict[str, Any]]) -> list[str]:
    for run_id, config in configs.items():
        RunFolder(folder / "runs" / run_id).create(json.dumps(config))
    return list(configs)


def sweep(folder: Path, run_ids: list[str], workers: int = 2, policy: Policy = ATTENDED, **order: Any) -> tuple[SweepOutcome, str]:
    """The outcome, and what the user saw. order: threads, device."""
    shown = io.StringIO()
    return _sweep(folder, run_ids, workers, shown, policy, **order), shown.getvalue()


def _sweep(folder: Path, run_ids: list[str], workers: int, shown: TextIO, policy: Policy = ATTENDED, **order: Any) -> SweepOutcome:
    named = Order(**{"out": str(folder), "runs": tuple(run_ids), "device": "cpu", "workers": workers, "threads": 1, **order})
    with mock.patch.dict(os.environ, {PROGRAM: FAKE}):
        return run_local(named, View(Console(file=shown, width=200)), policy)


def start(folder: Path, run_ids: list[str], workers: int = 2) -> subprocess.Popen:
    """The same in a process of its own, which may be killed, and prints what the user sees as it comes."""
    command = [sys.executable, "-m", "tests.sweep.sweeping", str(folder), str(workers), *run_ids]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(folder: Path, run_id: str) -> RunFolder:
    return RunFolder(folder / "runs" / run_id)


def total(steps: int) -> int:
    """What a fake run's record says if no step was lost or done twice."""
    return sum(step * step for step in range(steps))


def record(folder: Path, run_id: str) -> dict[str, Any]:
    return json.loads(run(folder, run_id).record_path.read_text())


def steps_done(folder: Path, run_id: str) -> Counter[int]:
    """How often each step was carried out, by the log."""
    return Counter(int(step) for step in re.findall(r"did step (\d+)", run(folder, run_id).log_path.read_text()))


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)
    return found


if __name__ == "__main__":
    result = _sweep(Path(sys.argv[1]), sys.argv[3:], int(sys.argv[2]), sys.stdout)
    print(result.message)
    sys.exit(result.exit_code)
