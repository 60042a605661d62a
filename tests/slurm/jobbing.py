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
from benchmark.slurm.submissions import Ledger

AGAIN = 99
ROOT = Path(__file__).parents[2]


def spec(folder: Path, runs: list[str], **changes: Any) -> job.TaskSpec:
    """The task of ``runs`` (of the fake program) under ``folder``."""
    fuse = Ledger(folder).prepare()
    program = {"program": "tests.sweep.fake", "load": "tests.sweep.fake:load"}
    common = {"device": "cpu", "workers": 1, "threads": 1, "give_up_after": 5, "fuse": str(fuse), "grace": 20.0, **program}
    named = {"sweep_dir": str(folder), "submission": "entry", "n": 0, "runs": tuple(runs)}
    return job.TaskSpec(**{**named, **common, **changes})


def start(task: job.TaskSpec, **variables: str) -> subprocess.Popen:
    """The job's process; it prints what a job's log would hold."""
    command = [sys.executable, "-m", "tests.slurm.jobbing", json.dumps(dataclasses.asdict(task))]
    environment = {**os.environ, **variables}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process: subprocess.Popen, seconds: float = 30) -> tuple[int, str]:
    """Exit code and output."""
    shown, _ = process.communicate(timeout=seconds)
    return process.returncode, shown


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: None)  # as submitit does
    signal.signal(signal.SIGUSR2, lambda *_: sys.exit(AGAIN))
    given = json.loads(sys.argv[1])
    sys.exit(job.carry_out(job.TaskSpec(**{**given, "runs": tuple(given["runs"])}), "77_0").exit_code)
