"""SIGTERM in the set-up pass, in evaluation and while a real run's files are written: nothing is lost, and the record is the same."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.sweeping import WAIT, Sweep, children, end, wait_for
from tests.integration.test_cli import ROOT, sweep_file

STEPS = 20
SETTINGS = {
    "methods": ["delta", "fine_tuning"],
    "seeds": 1,
    "training": {"steps": STEPS, "batch_size": 8, "image_size": 32, "log_every": 5},
    "linearity": {"pairs": 4, "lambdas": 3},
}
RUNNER = """
import sys
from pathlib import Path
from rich.console import Console
from benchmark.config import grid
from benchmark.sweep import carry_out, plan
from benchmark.sweep.order import Order
from benchmark.sweep.progress import View
from benchmark.sweep.runner import run_local
made = plan.make(grid.load(sys.argv[1]), Path(sys.argv[2]))
carry_out.create_folders(made)
outcome = run_local(Order(str(made.out), tuple(run.config.run_id for run in made.runs), "cpu", 1, 1), View(Console()))
print(outcome.message)
sys.exit(outcome.exit_code)
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes through /proc")]


@pytest.fixture(scope="module")
def file(images: Path, backbone: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return sweep_file(tmp_path_factory.mktemp("sweep"), images, backbone, **SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(file: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("whole")
    whole = Sweep(file, folder)
    assert start(whole, SMILEBENCH_CACHE=str(folder / "cache")).wait(WAIT) == 0, whole.shown
    return whole.records()


def start(sweep: Sweep, **environment: str) -> subprocess.Popen:
    """The runs of the sweep in one worker, without its report."""
    everything = {**os.environ, "PYTHONPATH": str(ROOT), "SMILEBENCH_PROGRAM": "tests.integration.held", **environment}
    command = [sys.executable, "-c", RUNNER, sweep.file, str(sweep.out)]
    with (sweep.folder / "out.txt").open("a") as log:
        return subprocess.Popen(command, cwd=sweep.folder, env=everything, stdout=log, stderr=log)


@pytest.mark.parametrize("patience", ["it may finish", "it is killed"])
@pytest.mark.parametrize("point", ["setup", "evaluation", "record"])
def test_sigterm_at_a_point_of_a_run(point: str, patience: str, file: str, undisturbed: dict, tmp_path: Path) -> None:
    sweep, held = Sweep(file, tmp_path / "cut"), tmp_path / "held"
    cache = str(tmp_path / "cache")  # of its own, so that the set-up pass is not found there
    runner = start(sweep, HOLD=point, HELD=str(held), SMILEBENCH_CACHE=cache)
    try:
        wait_for(held.exists)
        (worker,) = children(runner.pid)
        runner.send_signal(signal.SIGTERM)
        wait_for(lambda: "every worker saves a checkpoint first" in sweep.shown)
        if patience == "it may finish":
            held.unlink()
            assert runner.wait(WAIT) == 75, sweep.shown
            assert "the same command resumes them" in sweep.shown
        else:
            for pid in (runner.pid, worker):
                os.kill(pid, signal.SIGKILL)
            runner.wait()
            wait_for(lambda: not Path(f"/proc/{worker}").exists())
    finally:
        end(runner)
    (delta,) = (run for run_id, run in sweep.runs().items() if "-delta-" in run_id)
    if patience == "it may finish":
        assert delta.state() == ("done" if point == "record" else "interrupted")
    else:
        assert delta.state() == "interrupted"
    sweep.nothing_is_lost_or_redone()
    assert start(sweep, SMILEBENCH_CACHE=cache).wait(WAIT) == 0, sweep.shown
    sweep.nothing_is_lost_or_redone()
    assert sweep.records() == undisturbed
    resumed = {
        ("setup", "it may finish"): [1],
        ("evaluation", "it may finish"): [STEPS],  # a stop is heard between two batches of an evaluation
        ("evaluation", "it is killed"): [STEPS],
        ("record", "it is killed"): [STEPS],
    }
    assert sweep.resumed_at() == resumed.get((point, patience), [])
    assert not list(sweep.out.glob("runs/*/.tmp-*"))
