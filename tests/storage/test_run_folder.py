import json
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from benchmark.storage import liveness, run_folder
from benchmark.storage.run_folder import Claim, ClaimLost, RunFolder, claim, read_json, write_json, write_record


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "r")
    folder.create("steps: 1\n")
    return folder


def take(run: RunFolder, session: str = "s") -> Claim:
    own = claim(run.path, session)
    assert own is not None
    return own


def kill_owner(run: RunFolder, n: int) -> None:
    """Make claim ``n`` look as if its process had died."""
    info = json.loads((run.claims / str(n)).read_text())
    (run.claims / str(n)).write_text(json.dumps({**info, "pid_start": "0"}))


def move_owner(run: RunFolder, n: int, age: float) -> None:
    """Make claim ``n`` look like one of another machine that beat ``age`` seconds ago."""
    info = json.loads((run.claims / str(n)).read_text())
    (run.claims / str(n)).write_text(json.dumps({**info, "machine": "elsewhere"}))
    os.utime(run.claims / str(n), (time.time() - age,) * 2)


def contents(run: RunFolder) -> dict[str, tuple[bytes, int]]:
    files = [path for path in run.path.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_the_state_follows_from_the_files(run):
    assert RunFolder(run.path.parent / "never made").state() == "new"
    assert run.state() == "new"
    own = take(run)
    assert run.state() == "running"
    own.end("interrupted")
    assert run.state() == "interrupted"
    take(run).fail({"reason": "because", "kind": "error", "traceback": "", "step": 3})
    assert run.state() == "failed"
    assert run.failure()["reason"] == "because"
    run.retry()
    assert run.state() == "interrupted"
    own = take(run)
    write_record(run.path, {"a": 1}, own.check)
    assert run.state() == "done"  # even before the claim has ended
    own.end("done")
    assert run.state() == "done"


@pytest.mark.parametrize("finish", ["record", "failure", "nothing"])
def test_only_a_free_run_can_be_claimed(run, finish):
    own = take(run)
    assert claim(run.path, "other") is None
    if finish == "record":
        write_record(run.path, {}, own.check)
    if finish == "failure":
        own.fail({"reason": "r", "kind": "error", "traceback": "", "step": 0})
    else:
        own.end("done")
    assert (claim(run.path, "other") is None) == (finish != "nothing")


def test_one_of_many_claims_at_once_wins(run):
    for n in range(1, 6):
        barrier, won = threading.Barrier(8), []

        def compete(barrier=barrier, won=won):
            barrier.wait()
            won.append(claim(run.path, "s"))

        threads = [threading.Thread(target=compete) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (own,) = [each for each in won if each is not None]
        assert own.n == n
        own.end("interrupted")


def test_a_dead_process_is_stale_at_once(run):
    child = subprocess.Popen(["sleep", "60"])
    take(run)
    info = json.loads((run.claims / "1").read_text())
    start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    (run.claims / "1").write_text(json.dumps({**info, "pid": child.pid, "pid_start": start, "parent": os.getpid()}))
    assert run.state() == "running"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    orphan = {**info, "pid": child.pid, "pid_start": start, "parent": -1}
    assert run.state() == "running"  # a zombie: its parent has not yet seen how it died
    assert liveness.known_dead(orphan)
    child.wait()
    assert run.state() == "interrupted"
    assert take(run, "other").n == 2


def test_a_reused_pid_is_another_process(run):
    take(run)
    kill_owner(run, 1)
    assert run.state() == "interrupted"


@pytest.mark.parametrize(
    ("age", "expected"), [(0, "running"), (run_folder.STALE_SECONDS - 20, "running"), (run_folder.STALE_SECONDS + 20, "interrupted")]
)
def test_elsewhere_the_heartbeat_decides(run, age, expected):
    take(run)
    move_owner(run, 1, age)
    assert run.state() == expected
    assert (claim(run.path, "other") is None) == (expected == "running")


def test_the_heartbeat_is_judged_by_the_file_systems_clock(run, monkeypatch):
    take(run)
    move_owner(run, 1, 0)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert run.state() == "running"


def test_a_beat_keeps_a_claim_alive_and_shows_progress(run):
    own = take(run)
    move_owner(run, 1, 2 * run_folder.STALE_SECONDS)
    own.beat({"step": 4})
    assert run.state() == "running"
    assert read_json(run.progress_path) == {"step": 4}


def test_a_lost_claim_writes_nothing(run):
    lost = take(run)
    move_owner(run, 1, 2 * run_folder.STALE_SECONDS)
    take(run, "other")
    before = contents(run)
    for act in (
        lost.check,
        lambda: lost.beat({"step": 1}),
        lambda: lost.fail({"reason": "late"}),
        lambda: lost.end("done"),
        lambda: write_record(run.path, {"late": True}, lost.check),
    ):
        with pytest.raises(ClaimLost):
            act()
    assert contents(run) == before


@pytest.mark.parametrize("checked_before", [True, False])
def test_a_process_paused_while_publishing_loses(run, checked_before):
    """The take-over happens just before, or just after, the last look at the claim."""
    lost = take(run)
    winner = []

    def paused():
        if checked_before:
            lost.check()
        move_owner(run, 1, 2 * run_folder.STALE_SECONDS)
        winner.append(take(run, "other"))
        if not checked_before:
            lost.check()

    with pytest.raises(ClaimLost):
        write_record(run.path, {"by": "lost"}, paused)
    assert run.state() == "running"
    write_record(run.path, {"by": "winner"}, winner[0].check)
    assert read_json(run.record_path) == {"by": "winner"}


def test_a_record_published_during_the_take_over_counts(run, monkeypatch):
    own = take(run)
    move_owner(run, 1, 2 * run_folder.STALE_SECONDS)
    settle = run_folder._settle

    def late(*args):
        write_record(run.path, {"by": "first"})
        return settle(*args)

    monkeypatch.setattr(run_folder, "_settle", late)
    assert claim(run.path, "other") is None
    assert run.state() == "done"
    with pytest.raises(ClaimLost):
        own.check()


def test_there_is_one_record(run):
    write_record(run.path, {"n": 1})
    with pytest.raises(ClaimLost):
        write_record(run.path, {"n": 2})
    assert read_json(run.record_path) == {"n": 1}


def test_a_new_owner_clears_what_a_killed_one_left(run):
    take(run)
    (run.path / f"{run_folder.TEMP}half").write_text("{")
    kill_owner(run, 1)
    take(run)
    assert not list(run.path.glob(f"{run_folder.TEMP}*"))


def test_a_kill_while_claiming_leaves_the_run_free(run):
    run.claims.mkdir()
    (run.claims / f"{run_folder.TEMP}half").write_text('{"host": "a')
    assert run.state() == "new"
    assert take(run).n == 1


def test_a_damaged_claim_is_judged_by_its_heartbeat(run):
    take(run)
    (run.claims / "1").write_text("")
    assert run.state() == "running"
    os.utime(run.claims / "1", (0, 0))
    assert run.state() == "interrupted"
    assert take(run).n == 2


def test_a_dropped_claim_is_free_at_once(run):
    take(run).drop()
    assert run.state() == "interrupted"
    assert take(run).n == 2


def die(run: RunFolder, session: str, cause: str = "SIGSEGV") -> None:
    own = take(run, session)
    run.note_death(own.n, cause)
    kill_owner(run, own.n)


def save(run: RunFolder, step: int) -> None:
    (run.path / "checkpoint").mkdir(exist_ok=True)
    write_json(run.path / "checkpoint" / "step.json", {"step": step})


def test_two_deaths_without_progress_fail_the_run(run):
    save(run, 7)
    die(run, "s", "SIGSEGV")
    die(run, "s", "SIGKILL")
    assert run.state() == "interrupted"
    assert claim(run.path, "s") is None
    assert run.state() == "failed"
    assert run.failure()["reason"] == "died 2 times without progress at step 7: SIGSEGV, SIGKILL"
    assert run.failure()["kind"] == "killed"
    run.retry()
    assert take(run, "next command").start_step == 7


@pytest.mark.parametrize("spared", ["progress", "other session", "orderly end"])
def test_other_deaths_do_not(run, spared):
    die(run, "s")
    if spared == "progress":
        save(run, 3)
        die(run, "s")
    elif spared == "other session":
        die(run, "t")
    else:
        take(run, "s").end("interrupted")
    assert take(run, "s").n == 3


def test_failures_are_kept_when_tried_again(run):
    for n in (1, 2):
        take(run).fail({"reason": f"reason {n}", "kind": "error", "traceback": "", "step": 0})
        run.retry()
        assert read_json(run.path / "failures" / f"{n}.json")["reason"] == f"reason {n}"
    run.retry()
    assert run.state() == "interrupted"


def test_a_finished_run_keeps_its_config(run):
    run.create("steps: 2\n")
    assert run.config_path.read_text() == "steps: 2\n"
    write_record(run.path, {})
    run.create("steps: 3\n")
    assert run.config_path.read_text() == "steps: 2\n"
