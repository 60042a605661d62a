"""A sweep on a real Slurm: time limits, requeues, cancelled tasks, a lost node, a run that fails; then everything is there, bit for bit."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.slurm.real.cluster import Cluster
from tests.training.test_run import VARYING

pytestmark = pytest.mark.slow
SLOW = {"name": "slow", "use": "slow:Slow"}
SLEEP, SLOW_STEPS = 0.1, 510
"""A slow run takes 51 s of sleep; two of them in one task exceed its limit of a minute, of which 20 to 50 s are usable, twice."""
TURN = 900
"""Seconds to wait for the next start of a task. It goes to the end of the queue each time, behind the others, each of which may use its
limit up and then does the same: on one node, and with few cores for it all, minutes.
"""


def sweep_file(folder: Path, images: Path, backbone: str, **changes: Any) -> str:
    content = {
        "name": "small",
        "backbone": backbone,
        "datasets": [{"name": "tiny", "use": f"folder:{images}"}],
        "seeds": 4,
        "methods": [
            "fine_tuning",
            "smile",
            "delta",
            {"name": "slow", "use": "slow:Slow"},
            {"name": "diverging", "use": "mixup"},
        ],
        "training": {"steps": 20, "batch_size": 8, "image_size": 32, "log_every": 5},
        "linearity": {"pairs": 4, "lambdas": 3},
        "runtime": {"checkpoint_seconds": 2.0},
        "overrides": [
            {"match": {"method": "slow"}, "set": {"training.steps": SLOW_STEPS}},
            {"match": {"method": "diverging"}, "set": {"training.lr": 1e30}},
        ],
        "slurm": {"time": 1, "signal_seconds": 10, "runs_per_task": 2, "mem": "512M"},
        **changes,
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


class Sweep:
    """The command, and what it left in ``out``."""

    def __init__(self, file: str, out: Path, environment: dict[str, str]) -> None:
        self.file, self.out, self.environment = file, out, environment

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmark", *arguments, self.file, "--out", str(self.out)]
        environment = {**self.environment, **variables}
        return subprocess.run(command, cwd=self.out.parent, env=environment, capture_output=True, text=True, timeout=2 * TURN, check=False)

    def runs(self, name: str) -> list[Path]:
        return sorted((self.out / "runs").glob(f"*-{name}-*"))

    def submissions(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.out / "slurm" / "submissions").glob("*.json"))]

    def starts(self, job: str) -> list[list[int]]:
        notes = [json.loads(path.read_text()) for path in (self.out / "slurm" / "notes").glob("*.json")]
        return next((note["starts"] for note in notes if note["job"] == job), [])

    def progress(self, run_ids: list[str]) -> list[int]:
        """Of a task, as its job notes it at each start: finished runs, and the steps saved of the others."""
        unfinished = [run for run_id in run_ids if not ((run := self.out / "runs" / run_id) / "record.json").exists()]
        return [len(run_ids) - len(unfinished), sum(map(steps, unfinished))]

    def records(self) -> dict[str, dict[str, Any]]:
        found = {path.parent.name: json.loads(path.read_text()) for path in self.out.glob("runs/*/record.json")}
        return {run_id: {key: value for key, value in record.items() if key not in VARYING} for run_id, record in found.items()}


def wait_for(condition: Callable[[], Any], seconds: float = 120, said: Callable[[], str] = str) -> Any:
    """What ``condition`` returns once it is true. said: what is known when it never is."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"waited in vain\n{said()}"
        time.sleep(0.2)
    return found


def steps(run: Path) -> int:
    """Of its newest checkpoint."""
    saved = run / "checkpoint" / "step.json"
    return json.loads(saved.read_text())["step"] if saved.exists() else 0


@pytest.fixture
def sweeps(environment: dict[str, str], images: Path, backbone: str, tmp_path: Path) -> tuple[Sweep, Sweep]:
    """One for the cluster, one of the same runs for this machine."""
    file = sweep_file(tmp_path, images, backbone)
    return Sweep(file, tmp_path / "cluster", environment), Sweep(file, tmp_path / "here", environment)


def test_a_disturbed_sweep_ends_as_on_this_machine(cluster: Cluster, sweeps: tuple[Sweep, Sweep]) -> None:
    sweep, local = sweeps
    first = sweep.command("sweep", "--backend", "slurm", SMILEBENCH_TEST_SLEEP=str(SLEEP))
    assert first.returncode == 0, first.stdout + first.stderr
    (submission,) = sweep.submissions()
    assert len(submission["tasks"]) == 10
    again = sweep.command("sweep", "--backend", "slurm")
    assert again.returncode == 0
    assert "20 runs are in jobs that wait or run" in " ".join(again.stdout.split()), again.stdout
    assert len(sweep.submissions()) == 1

    limited, disturbed = submission["tasks"][:2]
    assert all("-slow-" in run_id for run_id in [*limited, *disturbed])
    job = f"{submission['job']}_1"

    def goes_on(starts: int, before: list[int]) -> None:
        """There is another start after so many, with no less than what was saved, and it gets further."""
        start = wait_for(lambda: sweep.starts(job)[starts:], TURN, said=cluster.state)[0]
        assert start >= before > [0, 0]
        wait_for(lambda: sweep.progress(disturbed) > start, TURN, said=cluster.state)

    wait_for(lambda: sweep.progress(disturbed) > [0, 0], TURN, said=cluster.state)
    wait_for(lambda: cluster.call("scontrol", "requeue", job).returncode == 0)  # refused while a time limit has just ended it
    goes_on(len(sweep.starts(job)), sweep.progress(disturbed))
    shown = sweep.command("status").stdout
    assert f"job {submission['job']}: 10 tasks" in shown, shown

    for node in ("sim1", "sim2"):  # daemons that die and come back are not noticed
        cluster.stop(f"slurmd-{node}", 9)
        cluster.start_node(node)
    node = wait_for(lambda: cluster.call("squeue", "-h", "-j", job, "-t", "RUNNING", "-o", "%N").stdout.strip(), TURN)
    starts = len(sweep.starts(job))
    cluster.crash(node)
    goes_on(starts, sweep.progress(disturbed))
    cluster.start_node(node)

    assert cluster.call("scancel", job).returncode == 0
    wait_for(lambda: cluster.call("squeue", "-h", "-j", job, "-o", "%T").stdout.strip() not in ("RUNNING", "PENDING"))
    rows = cluster.call("sacct", "-n", "-P", "-X", "-j", submission["job"], "-o", "JobID,State").stdout.splitlines()
    assert not [row for row in rows if "CANCELLED" in row and not row.startswith(f"{job}|")]

    followed = sweep.command("sweep", "--backend", "slurm", "--wait")
    assert followed.returncode == 1, followed.stdout + followed.stderr  # what was cancelled is submitted again; one method fails
    assert len(sweep.starts(f"{submission['job']}_0")) >= 3, sweep.starts(f"{submission['job']}_0")  # two time limits at least

    last = sweep.command("sweep", "--backend", "slurm", "--wait")
    text = " ".join((last.stdout + last.stderr).split())
    assert last.returncode == 1, text
    assert "failed: tiny-1-diverging-s0" in text, text
    assert "loss is not finite" in text
    here = local.command("sweep")
    assert here.returncode == 1
    assert len(local.records()) == 16
    assert sweep.records() == local.records()
    assert sum(json.loads(path.read_text())["resumes"] for path in sweep.out.glob("runs/*/record.json")) >= 3
