"""Sweeps in a process of their own, disturbed from outside."""

import contextlib
import os
import random
import signal
import time

import pytest

from benchmark.storage.run_folder import STALE_SECONDS, claim, read_json, write_record
from tests.sweep.fake import release
from tests.sweep.sweeping import make, record, run, start, steps_done, sweep, total, wait_for


def owner(folder, run_id, n=1):
    """Process id of a claim, once there is one."""
    return wait_for(lambda: read_json(run(folder, run_id).claims / str(n)))["pid"]


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def steps_begun(folder, run_id, words="did step"):
    log = run(folder, run_id).log_path
    return log.exists() and words in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_saves_and_stops_and_the_same_command_resumes(tmp_path, number):
    runs = make(tmp_path, {run_id: {"steps": 2000, "seconds": 0.01, "every": 10000} for run_id in "ab"} | {"c": {}})
    process = start(tmp_path, runs)
    wait_for(lambda: steps_begun(tmp_path, "a") and steps_begun(tmp_path, "b"))
    process.send_signal(number)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "the same command resumes" in shown
    assert [run(tmp_path, run_id).state() for run_id in runs] == ["interrupted", "interrupted", "new"]
    assert run(tmp_path, "a").saved_step() > 0
    make(tmp_path, {run_id: {"steps": 2000, "seconds": 0, "every": 10000} for run_id in "ab"})
    assert sweep(tmp_path, runs)[0].exit_code == 0
    for run_id in "ab":
        assert record(tmp_path, run_id)["total"] == total(2000)
        assert set(steps_done(tmp_path, run_id).values()) == {1}


def test_a_second_signal_stops_at_once_and_nothing_is_lost(tmp_path):
    runs = make(tmp_path, {"a": {}, "b": {"steps": 3, "seconds": 60}})
    process = start(tmp_path, runs)
    wait_for(lambda: run(tmp_path, "a").state() == "done")
    pid = owner(tmp_path, "b")
    process.send_signal(signal.SIGINT)
    assert any("stopping: " in line for line in process.stdout)  # heard: the next is not taken for the same
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert gone(pid)
    assert [run(tmp_path, run_id).state() for run_id in runs] == ["done", "interrupted"]


def test_workers_save_and_leave_when_the_runner_is_killed(tmp_path):
    runs = make(tmp_path, {"a": {"steps": 5000, "seconds": 0.01, "every": 10000}})
    process = start(tmp_path, runs)
    wait_for(lambda: steps_begun(tmp_path, "a"))
    process.kill()
    process.communicate()
    ended = wait_for(lambda: read_json(run(tmp_path, "a").claims / "1.end"))
    assert ended["reason"] == "interrupted"
    assert run(tmp_path, "a").saved_step() > 0


def test_two_commands_at_once_share_the_runs(tmp_path):
    runs = make(tmp_path, {f"r{n}": {"steps": 30, "seconds": 0.005, "held": 1 if n == 0 else None} for n in range(10)})
    processes = [start(tmp_path, runs, workers=1) for _ in range(2)]
    owner(tmp_path, "r1")  # the command that does not hold r0
    release(run(tmp_path, "r0").path)
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    sessions = set()
    for run_id in runs:
        assert record(tmp_path, run_id)["total"] == total(30)
        assert set(steps_done(tmp_path, run_id).values()) == {1}
        sessions.add(read_json(run(tmp_path, run_id).claims / "1")["session"])
    assert len(sessions) == 2


@pytest.mark.slow
def test_a_paused_process_that_wakes_after_losing_its_claim_stops_without_writing(tmp_path):
    runs = make(tmp_path, {"a": {"steps": 400, "seconds": 0.005, "held": 2}})
    folder = run(tmp_path, "a")
    process = start(tmp_path, runs)
    wait_for(lambda: steps_begun(tmp_path, "a", "held at step 2"))
    wait_for(folder.progress_path.exists)  # the first heartbeat is over, the second 5 s away
    pid = owner(tmp_path, "a")
    os.kill(pid, signal.SIGSTOP)
    os.utime(folder.claims / "1", (time.time() - 2 * STALE_SECONDS,) * 2)
    own = claim(folder.path, "another command")
    assert own is not None
    release(folder.path)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.5)
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
    write_record(folder.path, {"by": "the winner"}, own.check)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "lost" in shown
    assert record(tmp_path, "a") == {"by": "the winner"}


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path):
    """Workers and runners are killed again and again; every record is right, and no finished run is touched."""
    rng = random.Random(0)
    runs = make(tmp_path, {f"r{n}": {"steps": 40, "seconds": 0.004, "every": 5, "held": 3 if n == 0 else None} for n in range(12)})
    finished, kills = {}, {"worker": 0, "runner": 0}
    for n in range(12):
        process = start(tmp_path, runs)
        wait_for(lambda process=process: process.poll() is not None or busy(tmp_path, runs))
        time.sleep(rng.uniform(0.0, 0.15))
        pids = wait_for(lambda process=process: process.poll() is not None or busy(tmp_path, runs))
        if n % 2 and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(pids), signal.SIGKILL)
                kills["worker"] += 1
            time.sleep(rng.uniform(0.05, 0.2))
        if process.poll() is None:
            process.kill()
            kills["runner"] += 1
        process.communicate()
        for run_id in runs:
            path = run(tmp_path, run_id).record_path
            if path.exists():
                assert finished.setdefault(run_id, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    assert min(kills.values()) >= 3
    release(run(tmp_path, "r0").path)
    outcome, shown = sweep(tmp_path, runs)
    assert outcome.exit_code == 0, shown
    for run_id in runs:
        assert record(tmp_path, run_id)["total"] == total(40)
        claims = run(tmp_path, run_id).last_claim().n
        steps = steps_done(tmp_path, run_id)
        assert set(steps) == set(range(1, 41))
        assert sum(steps.values()) - 40 <= 5 * (claims - 1)


def busy(folder, runs):
    """Process ids of the live claims."""
    claims = [each.last_claim() for each in (run(folder, run_id) for run_id in runs) if each.state() == "running"]
    return [each.info["pid"] for each in claims if each is not None and each.info]
