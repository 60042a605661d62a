"""A sweep on a real Slurm that is cancelled, pre-empted, and helped by a local command at the same time."""

import json
from pathlib import Path

import pytest

from tests.slurm.real.cluster import Cluster
from tests.slurm.real.test_sweep import SLOW, Sweep, steps, sweep_file, wait_for

pytestmark = pytest.mark.slow


def test_cancelled_preempted_and_shared_with_a_local_command(
    cluster: Cluster, environment: dict[str, str], images: Path, backbone: str, tmp_path: Path
) -> None:
    options = {"time": 5, "signal_seconds": 30, "runs_per_task": 1, "mem": "256M"}
    changes = {"methods": [SLOW], "baseline": "slow", "seeds": 6, "slurm": options, "runtime": {"checkpoint_seconds": 1.0}}
    overrides = [{"match": {"method": "slow"}, "set": {"training.steps": 150}}]
    file = sweep_file(tmp_path, images, backbone, **changes, overrides=overrides)
    sweep = Sweep(file, tmp_path / "out", environment)
    slow = {"SMILEBENCH_TEST_SLEEP": "0.1"}

    assert sweep.command("sweep", "--backend", "slurm", **slow).returncode == 0
    runs = wait_for(lambda: sweep.runs("slow"))
    wait_for(lambda: any(steps(run) for run in runs))
    cancelled = sweep.command("cancel")
    assert cancelled.returncode == 0, cancelled.stderr
    assert "6 tasks" in cancelled.stdout
    wait_for(lambda: not cluster.call("squeue", "-h").stdout)
    assert "0 running" in sweep.command("status").stdout
    saved = {run: steps(run) for run in runs}
    assert any(saved.values())

    assert sweep.command("sweep", "--backend", "slurm", **slow).returncode == 0
    job = sweep.submissions()[-1]["job"]
    wait_for(lambda: any(steps(run) > saved[run] for run in runs))
    urgent = cluster.call("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--wrap=sleep 3", "--output=/dev/null")
    assert urgent.returncode == 0, urgent.stderr
    wait_for(lambda: any(len(sweep.starts(f"{job}_{n}")) > 1 for n in range(6)))

    local = sweep.command("sweep", "--workers", "2")
    assert local.returncode == 0, local.stdout + local.stderr
    sessions = set()
    for run in runs:
        record = json.loads((run / "record.json").read_text())
        assert record["steps"] == 150
        claims = [json.loads(path.read_text()) for path in (run / "claims").iterdir() if path.name.isdecimal()]
        sessions |= {claim["session"].startswith("slurm-") for claim in claims}
        assert sum(log.count("interrupted at step") for log in [(run / "log.txt").read_text()]) < len(claims)
    assert sessions == {True, False}
    wait_for(lambda: not cluster.call("squeue", "-h").stdout)
    last = sweep.command("sweep", "--backend", "slurm")
    assert last.returncode == 0
    assert "6 done" in last.stdout
    assert len(sweep.submissions()) == 2
