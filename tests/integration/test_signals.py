"""SIGINT to a real sweep: once, and every worker saves; twice, and all is over at once. Nothing is lost, and the records stay the same."""

import os
import signal
from pathlib import Path

import pytest

from tests.integration.sweeping import WAIT, Sweep, children, end, wait_for
from tests.integration.test_cli import sweep_file

SETTINGS = {
    "methods": ["fine_tuning", "delta"],
    "seeds": 2,
    "training": {"steps": 250, "batch_size": 8, "image_size": 32, "log_every": 50},
    "linearity": {"pairs": 16, "lambdas": 3},
    "runtime": {"checkpoint_seconds": 0.3},
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes through /proc")]


@pytest.fixture(scope="module")
def file(images: Path, backbone: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return sweep_file(tmp_path_factory.mktemp("sweep"), images, backbone, **SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(file: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    whole = Sweep(file, tmp_path_factory.mktemp("whole"))
    assert whole.finish() == 0, whole.shown
    return whole.records()


def one_done_and_others_training(sweep: Sweep) -> bool:
    states = sweep.states()
    saved = [run.saved_step() for run in sweep.runs().values() if run.state() == "running"]
    return "done" in states and len(saved) == 2 and all(0 < step < 200 for step in saved)


def suspended_while_training(sweep: Sweep, workers: list[int]) -> bool:
    """Suspend the workers; let them go on where one has ended its run by then, or is between a checkpoint and the note of its step."""
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    if one_done_and_others_training(sweep):  # and so have a note
        saved = sweep.out.glob("runs/*/checkpoint/*.pt")
        if all(file.stat().st_mtime_ns <= (file.parent / "step.json").stat().st_mtime_ns for file in saved):
            return True
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    return False


@pytest.mark.parametrize("signals", [1, 2])
def test_sigint_stops_a_sweep_which_resumes_to_the_same_records(signals: int, file: str, undisturbed: dict, tmp_path: Path) -> None:
    sweep = Sweep(file, tmp_path / "cut")
    process = sweep.start()
    try:
        wait_for(lambda: one_done_and_others_training(sweep))
        workers = children(process.pid)
        before = {run.run_id: run.saved_step() for run in sweep.runs().values()}
        if signals == 2:
            wait_for(lambda: suspended_while_training(sweep, workers))  # so that they cannot end by themselves before the second
        process.send_signal(signal.SIGINT)
        if signals == 2:
            wait_for(lambda: "stopping: " in sweep.shown)  # two that are sent at once may arrive as one
            process.send_signal(signal.SIGINT)
        code = process.wait(WAIT)
    finally:
        end(process)
    sweep.nothing_is_lost_or_redone()
    assert len(workers) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    after = {run.run_id: run.saved_step() for run in sweep.runs().values() if run.state() == "interrupted"}
    assert after
    if signals == 1:
        assert code == 75
        assert f"{4 - len(sweep.finished)} runs are not finished; the same command resumes them" in sweep.shown
        assert all(step > before[run_id] for run_id, step in after.items())  # saved on the signal, not on the clock
    else:
        assert code == 130
        assert "the same command resumes from the last checkpoints" in sweep.shown
        assert all(step >= before[run_id] for run_id, step in after.items())
    assert sweep.finish() == 0, sweep.shown
    sweep.nothing_is_lost_or_redone()
    assert {step for step in sweep.resumed_at() if step} >= set(after.values())
    assert sweep.records() == undisturbed
