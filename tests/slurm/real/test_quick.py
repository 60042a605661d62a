"""The sweep that ``make bench`` runs, shortened, through an array of several tasks: the same records as on this machine."""

from pathlib import Path

import pytest
import yaml

from benchmark.config.grid import find
from tests.slurm.real.cluster import Cluster
from tests.slurm.real.test_sweep import Sweep

pytestmark = pytest.mark.slow


def shortened(folder: Path) -> str:
    """``quick`` at one seed, five steps and four pairs."""
    content = yaml.safe_load(find("quick").read_text())
    content |= {"seeds": 1, "linearity": {"pairs": 4, "lambdas": 3}, "slurm": {"time": 20, "runs_per_task": 2, "mem": "1500M"}}
    content["training"] |= {"steps": 5}
    path = folder / "quick.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_quick_through_an_array_gives_the_records_of_this_machine(cluster: Cluster, environment: dict[str, str], tmp_path: Path) -> None:
    file = shortened(tmp_path)
    sweep, local = Sweep(file, tmp_path / "cluster", environment), Sweep(file, tmp_path / "here", environment)
    done = sweep.command("sweep", "--backend", "slurm", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    (submission,) = sweep.submissions()
    assert [len(task) for task in submission["tasks"]] == [2] * 5
    assert local.command("sweep").returncode == 0
    assert len(local.records()) == 10
    assert sweep.records() == local.records()
