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
    settle = run_folder._take_over

    def late(*args):
        write_record(run.path, {"by": "first"})
        return settle(*args)

    monkeypatch.setattr(run_folder, "_take_over", late)
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


def test_a_run_that_somebody_works_on_keeps_its_config(run):
    run.create("steps: 2\n")
    own = take(run)
    run.create("steps: 3\n")
    assert run.config_path.read_text() == "steps: 2\n"
    own.end("interrupted")
    run.create("steps: 3\n")
    assert run.config_path.read_text() == "steps: 3\n"


@pytest.mark.parametrize(
    "content", ['"x"', '{"reason": null}', '{"reason": ""}', "[]", '{"reason": "half', "\0" * 40, '{"reason": 7, "claim": "x"}']
)
def test_a_damaged_failure_is_a_failure(run, content):
    take(run)
    run.failure_path.write_text(content)
    assert run.state() == "failed"
    assert run.failure()["reason"] == "failure.json is damaged"
    run.retry()
    assert run.state() != "failed"


@pytest.mark.parametrize("content", ["[]", "null", "3", '{"a": 1', "\0" * 40, "[" * 100_000])
def test_a_record_that_is_no_object_is_none(run, content):
    run.record_path.write_text(content)
    assert run.record() is None


def test_a_folder_in_place_of_a_file_is_damage(run):
    run.record_path.mkdir()
    assert run.record() is None
    assert run.saved_step() == 0


@pytest.mark.parametrize("content", ["{}", "[]", '{"step": null}', '{"step": "7"}', '{"step": -1}', '{"step": tr'])
def test_a_damaged_checkpoint_note_is_step_zero(run, content):
    (run.path / "checkpoint").mkdir()
    (run.path / "checkpoint" / "step.json").write_text(content)
    assert run.saved_step() == 0


@pytest.mark.parametrize(("gone", "own"), [((1,), 4), ((1, 2), 4), ((2,), 4)])
def test_missing_claims_are_no_reason_to_fail(run, gone, own):
    for _ in range(3):
        take(run).end("interrupted")
    for n in gone:
        (run.claims / str(n)).unlink()
    assert take(run).n == own
    assert run.state() == "running"
    assert claim(run.path, "other") is None


@pytest.mark.parametrize("content", ["", "[]", '{"session": "s"}', '{"session": "s", "start_step": null, "pid": "x"}'])
def test_a_torn_claim_is_taken_over_when_it_is_stale(run, content):
    take(run)
    (run.claims / "1").write_text(content)
    os.utime(run.claims / "1", (time.time() - 2 * run_folder.STALE_SECONDS,) * 2)
    assert run.state() == "interrupted"
    assert take(run).n == 2


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_damaged_end_is_an_end(run, content):
    take(run)
    (run.claims / "1.end").write_text(content)
    assert run.state() == "interrupted"
    assert take(run).n == 2


def test_a_take_over_that_fails_leaves_no_live_claim(run, monkeypatch):
    take(run).end("interrupted")

    def broken(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "_take_over", broken)
        with pytest.raises(OSError, match="Input/output"):
            claim(run.path, "s")
    assert run.state() == "interrupted"
    assert take(run).n == 3


@pytest.mark.parametrize("ahead", [2, 1000])
def test_a_heartbeat_far_in_the_future_is_of_before_the_clock_was_set_back(run, ahead, monkeypatch):
    monkeypatch.setattr(run_folder, "_DOUBT_SECONDS", 0.01)
    take(run)
    move_owner(run, 1, -ahead * run_folder.STALE_SECONDS)
    assert run.state() == "interrupted"
    assert take(run).n == 2


def test_a_heartbeat_a_little_ahead_is_one(run):
    take(run)
    move_owner(run, 1, -run_folder.STALE_SECONDS / 2)
    assert run.state() == "running"
    assert claim(run.path, "other") is None


def test_an_owner_that_beats_after_the_clock_was_set_back_keeps_its_run(run, monkeypatch):
    own = take(run)
    move_owner(run, 1, -1e6)
    monkeypatch.setattr(run_folder.time, "sleep", lambda _: own.beat())
    assert claim(run.path, "other") is None


@pytest.mark.parametrize("age", [200, 1e6])
def test_a_live_process_of_this_machine_is_not_robbed_when_the_clock_jumps(run, age, monkeypatch):
    if liveness.machine() is None:
        pytest.skip("this system does not tell its processes apart")
    own = take(run)
    os.utime(run.claims / "1", (time.time() - age,) * 2)
    assert run.state() == "running"
    monkeypatch.setattr(run_folder.time, "sleep", lambda _: own.beat())
    assert claim(run.path, "other") is None
    os.utime(run.claims / "1", (time.time() - age,) * 2)
    monkeypatch.setattr(run_folder.time, "sleep", lambda _: None)  # it lives, and does not beat: it cannot work on the run
    assert claim(run.path, "other").n == 2


def test_a_claim_of_this_hosts_last_boot_is_soon_stale(run, monkeypatch):
    take(run)
    info = json.loads((run.claims / "1").read_text())
    host, _, names = str(info["machine"]).split()
    (run.claims / "1").write_text(json.dumps({**info, "machine": f"{host} another-boot {names}"}))
    assert run.state() == "running"  # a host of the same name may beat
    os.utime(run.claims / "1", (time.time() - run_folder.STALE_SECONDS / 2,) * 2)
    assert run.state() == "interrupted"


def test_a_parent_is_signalled_only_while_its_child_is_its_own():
    who = liveness.identity()
    if liveness.machine() is None:
        pytest.skip("this system does not tell its processes apart")
    assert liveness.living_parent(who) == (os.getppid() if os.getppid() > 1 else None)
    assert liveness.living_parent({**who, "parent": 1}) is None
    assert liveness.living_parent({**who, "parent": who["parent"] + 1}) is None
    assert liveness.living_parent({**who, "pid_start": "0"}) is None
    assert liveness.living_parent({**who, "machine": "elsewhere"}) is None
    assert liveness.living_parent({}) is None
