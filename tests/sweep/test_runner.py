import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from benchmark.storage.run_folder import claim, read_json
from benchmark.sweep import worker
from benchmark.sweep.order import Order, SweepOutcome
from benchmark.sweep.progress import View
from benchmark.sweep.runner import run_local
from benchmark.sweep.worker import PROGRAM
from benchmark.sweep.worker_process import WorkerProcess
from tests.sweep.fake import release
from tests.sweep.sweeping import FAKE, ROOT, make, record, run, steps_done, sweep, total


def test_every_run_is_done_once_and_a_second_command_does_nothing(tmp_path, monkeypatch):
    runs = make(tmp_path, {f"r{n}": {} for n in range(6)})
    outcome, shown = sweep(tmp_path, runs)
    assert outcome == SweepOutcome(0, done=tuple(runs))
    assert "6/6" in shown
    for run_id in runs:
        assert record(tmp_path, run_id) == {"run_id": run_id, "total": total(10)}
        assert set(steps_done(tmp_path, run_id).values()) == {1}
        assert {path.name for path in run(tmp_path, run_id).path.iterdir()} == {
            "config.yaml",
            "record.json",
            "curves.jsonl",
            "log.txt",
            "claims",
        }
    assert not list((tmp_path / "logs").iterdir())
    monkeypatch.setattr("benchmark.sweep.runner.WorkerProcess", None)
    assert sweep(tmp_path, runs)[0] == outcome


@pytest.mark.parametrize(("point", "resumes_at"), [("setup", 0), ("checkpoint", 0), ("files", 9), ("link", 9), ("record", None)])
def test_a_kill_at_any_point_loses_no_more_than_since_the_last_checkpoint(tmp_path, point, resumes_at):
    runs = make(tmp_path, {"a": {"die": point}, "b": {}})
    outcome, _ = sweep(tmp_path, runs)
    assert outcome.exit_code == 0
    assert record(tmp_path, "a")["total"] == total(10)
    assert read_json(run(tmp_path, "a").claims / "1.death")["cause"] == "SIGKILL"
    again = {step for step, times in steps_done(tmp_path, "a").items() if times == 2}
    assert again == {"setup": set(), "checkpoint": {1, 2, 3}, "files": {10}, "link": {10}, "record": set()}[point]
    log = run(tmp_path, "a").log_path.read_text()
    assert ("resumed at" in log) == bool(resumes_at)
    assert not list(run(tmp_path, "a").path.glob(".tmp-*"))


def test_what_a_finished_run_left_behind_is_removed_by_the_next_command(tmp_path):
    runs = make(tmp_path, {"a": {"die": "record"}})
    sweep(tmp_path, runs, workers=1)
    assert (run(tmp_path, "a").path / "checkpoint").exists()
    sweep(tmp_path, runs)
    assert not (run(tmp_path, "a").path / "checkpoint").exists()


def test_a_failed_run_names_its_reason_and_stops_no_other(tmp_path):
    errors = ["nan", "disk", "data", "bug", "exit"]
    runs = make(tmp_path, {**{error: {"error": error} for error in errors}, "good": {}})
    outcome, shown = sweep(tmp_path, runs)
    assert outcome.exit_code == 1
    assert outcome.done == ("good",)
    assert outcome.failed == {
        "nan": "loss is not finite at step 2",
        "disk": "OSError: [Errno 28] No space left on device",
        "data": "cannot read a.png",
        "bug": "KeyError: 'x'",
        "exit": "SystemExit: 3",
    }
    kinds = {error: run(tmp_path, error).failure()["kind"] for error in errors}
    assert kinds == {"nan": "nan", "disk": "disk_full", "data": "data", "bug": "error", "exit": "error"}
    assert "fake.py" in run(tmp_path, "bug").failure()["traceback"]
    assert run(tmp_path, "bug").failure()["step"] == 2
    assert "FAILED: cannot read a.png" in shown


def test_a_failed_run_is_tried_again_by_the_next_command(tmp_path):
    runs = make(tmp_path, {"a": {"error": "nan"}})
    assert sweep(tmp_path, runs)[0].exit_code == 1
    make(tmp_path, {"a": {}})
    assert sweep(tmp_path, runs)[0].exit_code == 0
    assert read_json(run(tmp_path, "a").path / "failures" / "1.json")["kind"] == "nan"


def test_temporary_files_in_a_finished_run_are_removed_by_the_next_command(tmp_path):
    runs = make(tmp_path, {"a": {}})
    sweep(tmp_path, runs, workers=1)
    for folder in (run(tmp_path, "a").path, run(tmp_path, "a").claims):
        for name in (".tmp-old", ".tmp-new"):
            (folder / name).write_text("{")
        os.utime(folder / ".tmp-old", (0, 0))
    sweep(tmp_path, runs, workers=1)
    assert sorted(path.parent.name for path in (tmp_path / "runs").rglob(".tmp-*")) == ["a", "claims"]
    assert {path.name for path in (tmp_path / "runs").rglob(".tmp-*")} == {".tmp-new"}


@pytest.mark.parametrize("fits_alone", [True, False])
def test_out_of_memory_is_tried_once_more_alone(tmp_path, fits_alone):
    runs = make(tmp_path, {"big": {"error": "memory", "fits_alone": fits_alone}, **{f"r{n}": {"seconds": 0.01} for n in range(4)}})
    outcome, _ = sweep(tmp_path, runs)
    assert outcome.exit_code == (0 if fits_alone else 1)
    assert outcome.failed == ({} if fits_alone else {"big": "MemoryError: no room"})
    log = run(tmp_path, "big").log_path.read_text()
    assert log.count("train with") == 2
    assert log.rindex("train with 0 others") > log.index("out of memory")
    assert read_json(run(tmp_path, "big").claims / "1.end")["reason"] == "out_of_memory"


@pytest.mark.parametrize("words", ['{"event": "done", "run_', "a library's own last words\n[1, 2]\n"])
def test_what_a_dying_process_leaves_half_said_holds_nothing_up(tmp_path, words):
    runs = make(tmp_path, {"a": {"die": "checkpoint", "last_words": words}, "b": {}})
    outcome, _ = sweep(tmp_path, runs, workers=1)
    assert outcome == SweepOutcome(0, done=("a", "b"))
    assert read_json(run(tmp_path, "a").claims / "1.death")["cause"] == "SIGKILL"


def test_running_out_of_memory_in_an_earlier_command_postpones_nothing(tmp_path):
    runs = make(tmp_path, {"a": {}, "b": {}})
    claim(run(tmp_path, "a").path, "an earlier command").end("out_of_memory")
    outcome, shown = sweep(tmp_path, runs)
    assert outcome.exit_code == 0
    assert "postponed" not in shown
    assert len(list(run(tmp_path, "a").claims.glob("[0-9]"))) == 2


def test_a_run_that_kills_its_process_is_given_up_with_the_signal_named(tmp_path):
    runs = make(tmp_path, {"bad": {"die": "checkpoint", "times": 9}, "good": {}})
    outcome, _ = sweep(tmp_path, runs)
    assert outcome.exit_code == 1
    assert outcome.failed == {"bad": "died 2 times without progress at step 0: SIGKILL, SIGKILL"}
    assert outcome.done == ("good",)


def test_a_refusal_comes_before_any_compute(tmp_path):
    runs = make(tmp_path, {"a": {}, "b": {"error": "refuse"}})
    outcome, _ = sweep(tmp_path, runs)
    assert (outcome.exit_code, outcome.message) == (2, "method 'x': refused")
    assert [run(tmp_path, run_id).state() for run_id in runs] == ["new", "new"]


def test_a_defect_of_one_method_fails_its_runs_alone(tmp_path):
    runs = make(tmp_path, {"a": {"error": "crash"}, "b": {}})
    outcome, _ = sweep(tmp_path, runs, workers=1)
    assert outcome.exit_code == 1
    assert outcome.failed == {"a": "KeyError: 'a defect'"}
    assert outcome.done == ("b",)


def test_a_refusal_is_heard_beside_a_defect(tmp_path):
    runs = make(tmp_path, {"a": {"error": "crash"}, "b": {"error": "refuse"}})
    outcome, _ = sweep(tmp_path, runs)
    assert (outcome.exit_code, outcome.message) == (2, "method 'x': refused")


def test_a_training_program_that_cannot_be_imported_ends_the_sweep(tmp_path, monkeypatch):
    runs = make(tmp_path, {"a": {}, "b": {}})
    monkeypatch.setattr("tests.sweep.sweeping.FAKE", "tests.sweep.missing")
    outcome, _ = sweep(tmp_path, runs, workers=1)
    assert outcome.exit_code == 1
    assert "workers die before their first run" in outcome.message
    assert "No module named 'tests.sweep.missing'" in outcome.message


def test_a_run_folder_that_cannot_be_claimed_fails_with_the_reason(tmp_path):
    runs = make(tmp_path, {"a": {}, "b": {}})
    run(tmp_path, "a").claims.symlink_to("/sys/kernel")  # a folder in which not even root can create files
    outcome, _ = sweep(tmp_path, runs)
    assert outcome.exit_code == 1
    assert "claims/.tmp-" in outcome.failed["a"]
    assert outcome.done == ("b",)


def test_a_worker_sets_its_threads_and_hides_other_devices(tmp_path):
    runs = make(tmp_path, {"a": {"show": ["OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE"]}})
    sweep(tmp_path, runs)
    log = run(tmp_path, "a").log_path.read_text()
    assert json.dumps({"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}) in log


def test_collecting_between_runs_does_not_look_at_what_is_imported(tmp_path):
    runs = make(tmp_path, {"a": {}})
    sweep(tmp_path, runs)
    assert "what is imported is left out of collections" in run(tmp_path, "a").log_path.read_text()


def test_a_worker_ends_with_all_its_last_words_and_takes_nothing_apart(tmp_path):
    sweep(tmp_path, make(tmp_path, {"a": {"prints": True}}), workers=1)
    (log,) = tmp_path.glob("logs/*/worker-0.log")
    assert sorted(log.read_text().splitlines()) == ["words of C", "words of Python", "words of a handler"]


def test_the_handler_that_ends_a_worker_is_the_first_of_all():
    code = "import atexit, sys, benchmark.sweep.worker; sys.exit(atexit._ncallbacks())"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_runs_begin_before_what_only_a_report_needs_is_imported():
    code = "import sys, benchmark.sweep.carry_out; sys.exit(bool({'scipy.stats', 'pandas', 'matplotlib'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_runner_does_not_import_torch():
    code = "import sys, benchmark.sweep.runner, benchmark.sweep.status, benchmark.sweep.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_broken_device_keeps_its_reason_and_the_next_runs_get_a_fresh_process(tmp_path):
    runs = make(tmp_path, {"a": {"error": "cuda"}, "b": {}, "c": {"error": "cuda"}, "d": {}})
    outcome, _ = sweep(tmp_path, runs, workers=1)
    assert outcome.done == ("b", "d")
    assert outcome.failed == dict.fromkeys("ac", "RuntimeError: CUDA error: device-side assert triggered")
    assert "fake.py" in run(tmp_path, "a").failure()["traceback"]
    pids = [read_json(run(tmp_path, run_id).claims / "1")["pid"] for run_id in runs]
    assert pids[0] != pids[1] == pids[2] != pids[3]
    assert not list((tmp_path / "runs").glob("*/claims/*.death"))


def test_a_device_that_breaks_behind_another_error_costs_that_run_alone(tmp_path):
    runs = make(tmp_path, {"a": {"error": "unsaid"}, "b": {}})
    outcome, _ = sweep(tmp_path, runs, workers=1)
    assert (outcome.done, outcome.failed) == (("b",), {"a": "KeyError: 'x'"})
    pids = [read_json(run(tmp_path, run_id).claims / "1")["pid"] for run_id in runs]
    assert pids[0] != pids[1]


@pytest.mark.parametrize(("pause", "where"), [("setup", ""), ("checkpoint", "at step 4 (train)"), ("evaluate", "at step 10 (train)")])
def test_a_run_that_hangs_fails_and_the_others_are_done(pause, where, tmp_path, monkeypatch):
    monkeypatch.setenv("SMILEBENCH_HANG_SECONDS", "1.5")
    monkeypatch.setenv("SMILEBENCH_STALE_SECONDS", "1.6")  # looked at every 0.2 s
    runs = make(tmp_path, {"a": {"pause": pause, "every": 4}, "b": {}})
    outcome, _ = sweep(tmp_path, runs, workers=1)
    assert outcome.done == ("b",)
    assert "hangs: no progress for" in outcome.failed["a"]
    assert where in outcome.failed["a"]
    assert "in point" in run(tmp_path, "a").failure()["traceback"]
    assert run(tmp_path, "a").failure()["kind"] == "hang"


@pytest.mark.parametrize("listed", ["", "-1", "NoDevFiles"])
def test_without_a_gpu_a_sweep_for_one_is_refused(tmp_path, monkeypatch, listed):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    runs = make(tmp_path, {"a": {}})
    outcome, _ = sweep(tmp_path, runs, workers=1, device="cuda")
    assert (outcome.exit_code, outcome.unfinished) == (2, ("a",))
    assert f"no GPU is visible here (CUDA_VISIBLE_DEVICES is '{listed}')" in outcome.message


def test_a_run_that_is_waited_for_is_named_with_its_holder(tmp_path, monkeypatch):
    runs = make(tmp_path, {"a": {}, "b": {}})
    own = claim(run(tmp_path, "a").path, "another command")
    note = View.note

    def noted(view: View, text: str) -> None:
        note(view, text)
        if "waits for" in text:
            threading.Timer(1.5, own.end, ["interrupted"]).start()

    monkeypatch.setattr(View, "note", noted)
    outcome, shown = sweep(tmp_path, runs, workers=1)
    assert outcome.exit_code == 0
    assert shown.count("a: waits for process") == 1
    assert f"process {os.getpid()} on" in shown


def test_a_damaged_failure_of_an_earlier_command_is_tried_again(tmp_path):
    runs = make(tmp_path, {"a": {}})
    run(tmp_path, "a").failure_path.write_text('{"reason": null}')
    assert sweep(tmp_path, runs)[0].exit_code == 0


def test_a_worker_without_a_run_is_let_go_with_the_last_run(tmp_path, monkeypatch):
    """What waits for another's run to end looks again only seconds later, and the report would wait for it."""
    runs = make(tmp_path, {"long": {"steps": 300}, "short": {}})
    told, stop = [], WorkerProcess.stop
    monkeypatch.setattr(WorkerProcess, "stop", lambda worker: told.append(worker.index) or stop(worker))
    outcome, _ = sweep(tmp_path, runs)
    assert outcome == SweepOutcome(0, done=tuple(runs))
    assert set(told) == {0, 1}


def test_a_worker_that_is_ready_only_after_the_last_run_is_let_go(tmp_path, monkeypatch):
    runs = make(tmp_path, {"a": {}, "b": {}})
    done, ready, listen = threading.Semaphore(0), threading.Event(), WorkerProcess.listen

    def late(worker: WorkerProcess, put: Callable[[WorkerProcess, dict[str, Any] | None], None]) -> None:
        """Worker 1 is heard only after both runs have ended, the end of worker 0 only after that."""

        def hold(worker: WorkerProcess, event: dict[str, Any] | None) -> None:
            if worker.index == 1 and event == {"event": "ready"}:
                assert all(done.acquire(timeout=20) for _ in runs)
            if worker.index == 0 and event is None:
                assert ready.wait(timeout=20)
            put(worker, event)
            if event is not None and event["event"] == "done":
                done.release()
            if worker.index == 1:
                ready.set()

        listen(worker, hold)

    monkeypatch.setattr(WorkerProcess, "listen", late)
    assert sweep(tmp_path, runs)[0] == SweepOutcome(0, done=tuple(runs))


def test_workers_that_die_while_they_start_change_nothing_once_all_runs_are_done(tmp_path, monkeypatch):
    runs = make(tmp_path, {"a": {}, "b": {}, "c": {}})
    done, listen = [threading.Semaphore(0) for _ in range(2)], WorkerProcess.listen

    def late(worker: WorkerProcess, put: Callable[[WorkerProcess, dict[str, Any] | None], None]) -> None:
        """Workers 1 and 2 die in place of being ready, when all runs have ended."""

        def hold(worker: WorkerProcess, event: dict[str, Any] | None) -> None:
            if worker.index > 0 and event == {"event": "ready"}:
                assert all(done[worker.index - 1].acquire(timeout=20) for _ in runs)
                worker.cut_off()
                return
            put(worker, event)
            if event is not None and event["event"] == "done":
                for each in done:
                    each.release()

        listen(worker, hold)

    monkeypatch.setattr(WorkerProcess, "listen", late)
    assert sweep(tmp_path, runs, workers=3)[0] == SweepOutcome(0, done=tuple(runs))


def test_runs_are_carried_out_on_the_device_of_the_command_that_does_them(tmp_path):
    """Another command may have asked for the same runs on another device since."""
    runs = make(tmp_path, {"a": {"device": "cuda"}})
    assert sweep(tmp_path, runs, workers=1)[0].exit_code == 0
    assert "on cpu" in run(tmp_path, "a").log_path.read_text()


@pytest.mark.parametrize("why", ["hangs", "its command is suspended", "it was suspended itself"])
def test_a_silent_run_hangs_unless_something_was_suspended(tmp_path, monkeypatch, why):
    make(tmp_path, {"a": {}})
    monkeypatch.setattr(worker, "HANG_SECONDS", 50.0 if why == "it was suspended itself" else 0.05)
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.02)
    given_up, clock, late = threading.Event(), time.monotonic, [0.0]
    monkeypatch.setattr(worker.RunSession, "_give_up", lambda *_: given_up.set())
    monkeypatch.setattr(worker.time, "monotonic", lambda: clock() + late[0])
    own = claim(run(tmp_path, "a").path, "s")
    with worker.RunSession(own, SimpleNamespace(telling=why == "its command is suspended", stop=False)) as session:
        session.log("the last for long")
        late[0] = 3600.0 if why == "it was suspended itself" else 0.0
        assert given_up.wait(20 if why == "hangs" else 0.5) == (why == "hangs")


def test_an_event_is_told_whole_though_the_pipe_takes_it_in_parts(monkeypatch):
    taken = []

    def write(_: int, part: bytes) -> int:
        taken.append(part[:100])
        return len(taken[-1])

    parent = worker.Parent.__new__(worker.Parent)
    parent._events = -1
    monkeypatch.setattr(worker.os, "write", write)
    parent.tell("failed", reason="x" * 2000)
    monkeypatch.undo()
    assert json.loads(b"".join(taken)) == {"event": "failed", "reason": "x" * 2000}
    assert not parent.telling


def test_a_core_that_gets_free_before_the_last_run_ends_is_told_of(tmp_path, monkeypatch):
    runs = make(tmp_path, {"long": {"held": 1}, "short": {}})
    finished = []
    monkeypatch.setenv(PROGRAM, FAKE)
    order = Order(str(tmp_path), tuple(runs), "cpu", 2, 1)

    def idle() -> None:
        finished.append({name for name in runs if run(tmp_path, name).record_path.exists()})
        release(run(tmp_path, "long").path)

    run_local(order, View(Console(quiet=True)), idle=idle)
    assert finished[0] == {"short"}
