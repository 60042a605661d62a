"""A job's process without a cluster: ``python -m tests.slurm.jobbing SPEC``. Where submitit would queue it again, it exits with 99."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmark.slurm import job
from benchmark.slurm.submissions import Submissions
from benchmark.sweep.order import Order, Policy

AGAIN = 99
ROOT = Path(__file__).parents[2]


def spec(folder: Path, runs: list[str], n: int = 0, workers: int = 1, **changes: Any) -> job.JobTask:
    """The task of ``runs`` (of the fake program) under ``folder``. changes: of its policy."""
    shared = str(Submissions(folder).prepare())
    common = {"wait": False, "retry": False, "patient": True, "give_up_after": 5, "shared": shared, "grace": 20.0}
    policy = Policy(**{"session": f"slurm-entry-{n}", **common, **changes})
    return job.JobTask("entry", n, Order(str(folder), tuple(runs), "cpu", workers, 1), policy)


def start(task: job.JobTask, **variables: str) -> subprocess.Popen:
    """The job's process; it prints what a job's log would hold."""
    command = [sys.executable, "-m", "tests.slurm.jobbing", json.dumps(dataclasses.asdict(task))]
    environment = {**os.environ, "SMILEBENCH_PROGRAM": "tests.sweep.fake", **variables}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process: subprocess.Popen, seconds: float = 60) -> tuple[int, str]:
    """Exit code and output."""
    shown, _ = process.communicate(timeout=seconds)
    return process.returncode, shown


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: None)  # as submitit does
    signal.signal(signal.SIGUSR2, lambda *_: sys.exit(AGAIN))
    given = json.loads(sys.argv[1])
    order = Order(**{**given["order"], "runs": tuple(given["order"]["runs"])})
    sys.exit(job.carry_out(job.JobTask(given["submission"], given["n"], order, Policy(**given["policy"])), "77_0").exit_code)
