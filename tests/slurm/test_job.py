"""A job's process, disturbed as a cluster does it: nothing is lost, and it goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.slurm import start_python
from benchmark.slurm.submissions import Submissions
from benchmark.storage.run_folder import STALE_SECONDS, claim, read_json
from tests.slurm.jobbing import AGAIN, end, spec, start
from tests.sweep.fake import release
from tests.sweep.sweeping import make, record, run, steps_done, total, wait_for


def logged(folder: Path, run_id: str, text: str) -> bool:
    log = run(folder, run_id).log_path
    return log.exists() and text in log.read_text()


def tell(process: subprocess.Popen, number: int) -> None:
    """Signal the process and, as a cluster does, all that it started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in [process.pid, *map(int, children)]:
        os.kill(pid, number)


def test_a_job_carries_out_its_runs_and_notes_its_end(tmp_path):
    runs = make(tmp_path, {"a": {}, "b": {"error": "nan"}})
    code, shown = end(start(spec(tmp_path, runs)))
    assert code == 1, shown
    assert record(tmp_path, "a")["total"] == total(10)
    assert read_json(run(tmp_path, "a").claims / "1")["job"] == "77_0"
    assert run(tmp_path, "b").failure()["kind"] == "nan"
    note = Submissions(tmp_path).note("entry", 0)
    assert (note["job"], note["starts"], note["ended"]["code"]) == ("77_0", [[0, 0]], 1)


def test_a_signal_while_training_saves_and_the_next_start_goes_on(tmp_path):
    runs = make(tmp_path, {"a": {"steps": 2000, "seconds": 0.01, "every": 10000}, "b": {}})
    task = spec(tmp_path, runs)
    process = start(task)
    wait_for(lambda: logged(tmp_path, "a", "did step 5"))
    tell(process, signal.SIGUSR2)
    code, shown = end(process)
    assert code == AGAIN, shown
    saved = run(tmp_path, "a").saved_step()
    assert saved >= 5
    assert run(tmp_path, "a").state() == "interrupted"
    make(tmp_path, {"a": {"steps": 2000, "seconds": 0, "every": 10000}})
    code, shown = end(start(task))
    assert code == 0, shown
    assert set(steps_done(tmp_path, "a").values()) == {1}
    assert record(tmp_path, "a")["total"] == total(2000)
    assert record(tmp_path, "b")["total"] == total(10)
    assert Submissions(tmp_path).note("entry", 0)["starts"] == [[0, 0], [0, saved]]


@pytest.mark.parametrize(("point", "resumes_at"), [("setup", 0), ("evaluate", 9), ("files", 9), ("link", 9)])
def test_a_signal_where_no_step_ends_cuts_off_and_loses_nothing(tmp_path, point, resumes_at):
    runs = make(tmp_path, {"a": {"steps": 9, "pause": point}})
    task = spec(tmp_path, runs, grace=0.3)
    process = start(task)
    wait_for(lambda: logged(tmp_path, "a", f"pauses at {point}"))
    tell(process, signal.SIGUSR2)
    code, shown = end(process)
    assert code == AGAIN, shown
    assert read_json(run(tmp_path, "a").claims / "1.end")["reason"] == "cut off"
    assert not run(tmp_path, "a").record_path.exists()
    code, shown = end(start(task))
    assert code == 0, shown
    assert record(tmp_path, "a")["total"] == total(9)
    assert logged(tmp_path, "a", f"resumed at step {resumes_at}") == bool(resumes_at)
    assert set(steps_done(tmp_path, "a").values()) == {1}
    assert not list(run(tmp_path, "a").path.glob(".tmp-*"))


def test_a_signal_after_the_record_needs_no_other_start(tmp_path):
    runs = make(tmp_path, {"a": {"pause": "record"}})
    process = start(spec(tmp_path, runs, grace=0.3))
    wait_for(lambda: logged(tmp_path, "a", "pauses at record"))
    tell(process, signal.SIGUSR2)
    code, shown = end(process)
    assert code == 0, shown
    assert record(tmp_path, "a")["total"] == total(10)


def test_a_signal_during_import_has_the_job_queued_again(tmp_path):
    runs = make(tmp_path, {"a": {}})
    task = spec(tmp_path, runs)
    importing = tmp_path / "importing"
    process = start(task, SMILEBENCH_PROGRAM="tests.slurm.slow_program", SMILEBENCH_TEST_IMPORT=str(importing))
    wait_for(importing.exists)
    tell(process, signal.SIGUSR2)
    code, shown = end(process)
    assert code == AGAIN, shown
    assert run(tmp_path, "a").state() == "new"
    assert end(start(task))[0] == 0


def test_a_signal_while_python_starts_waits_for_its_handler():
    code = "import signal; signal.signal(12, lambda *_: print('told')); signal.pthread_sigmask(signal.SIG_UNBLOCK, {12}); print('end')"
    command = [sys.executable, "-I", "-S", start_python.__file__, "-c", f"import os; os.kill(os.getpid(), 12); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["told", "end"]


def test_three_starts_without_progress_fail_what_was_begun_and_nothing_else(tmp_path):
    runs = make(tmp_path, {"a": {"pause": "setup", "times": 9}, "b": {}})
    task = spec(tmp_path, runs, grace=0.1)
    for n in range(3):
        process = start(task)
        wait_for(lambda n=n: (log := run(tmp_path, "a").log_path).exists() and log.read_text().count("pauses at setup") == n + 1)
        tell(process, signal.SIGUSR2)
        assert end(process)[0] == AGAIN
    code, shown = end(start(task))
    assert code == 1, shown
    failure = run(tmp_path, "a").failure()
    assert failure["kind"] == "no_progress"
    assert "started 3 times again without progress at step 0" in failure["reason"]
    assert record(tmp_path, "b")["total"] == total(10)


def test_starts_with_progress_are_not_counted(tmp_path):
    runs = make(tmp_path, {"a": {"steps": 3000, "seconds": 0.005, "every": 10000}})
    task = spec(tmp_path, runs)
    log = run(tmp_path, "a").log_path
    for _ in range(5):
        before = log.read_text().count("did step") if log.exists() else 0
        process = start(task)
        wait_for(lambda before=before: log.exists() and log.read_text().count("did step") > before)
        tell(process, signal.SIGUSR2)
        code, shown = end(process)
        assert code == AGAIN, shown
    assert not run(tmp_path, "a").failure()


def test_being_cancelled_saves_and_asks_for_nothing(tmp_path):
    runs = make(tmp_path, {"a": {"steps": 3000, "held": 2, "every": 10000}})
    process = start(spec(tmp_path, runs))
    wait_for(lambda: logged(tmp_path, "a", "held at step 2"))
    for _ in range(2):  # both while the job waits for its worker
        tell(process, signal.SIGTERM)
        time.sleep(0.05)
    release(run(tmp_path, "a").path)
    code, shown = end(process)
    assert code == 75, shown
    assert run(tmp_path, "a").saved_step() >= 1
    assert read_json(run(tmp_path, "a").claims / "1.end")["reason"] == "interrupted"
    assert Submissions(tmp_path).note("entry", 0)["ended"]["code"] == 75


def test_runs_that_others_hold_are_left_to_them(tmp_path):
    runs = make(tmp_path, {"a": {}, "b": {}})
    claim(run(tmp_path, "a").path, "someone else")
    code, shown = end(start(spec(tmp_path, runs)))
    assert code == 75
    assert "left to it" in shown
    assert record(tmp_path, "b")["total"] == total(10)
    assert run(tmp_path, "a").last_claim().n == 1


def test_what_the_same_job_left_behind_on_a_lost_node_is_taken_over_when_stale(tmp_path):
    runs = make(tmp_path, {"a": {}})
    task = spec(tmp_path, runs)
    claim(run(tmp_path, "a").path, task.policy.session)
    first = run(tmp_path, "a").claims / "1"
    first.write_text(json.dumps({**json.loads(first.read_text()), "machine": "lost"}))
    process = start(task)
    time.sleep(1.5)
    assert process.poll() is None
    os.utime(first, (time.time() - 2 * STALE_SECONDS,) * 2)
    assert end(process)[0] == 0
    assert record(tmp_path, "a")["total"] == total(10)


def test_a_failure_is_not_tried_again_by_the_same_job(tmp_path):
    runs = make(tmp_path, {"a": {"error": "nan"}})
    task = spec(tmp_path, runs)
    assert [end(start(task))[0] for _ in range(2)] == [1, 1]
    assert run(tmp_path, "a").last_claim().n == 1


def test_memory_that_ran_out_before_a_restart_is_tried_alone_after_it(tmp_path):
    runs = make(tmp_path, {"a": {"error": "memory", "fits_alone": True}, "b": {"steps": 2000, "seconds": 0.01, "every": 10000}})
    task = spec(tmp_path, runs)
    process = start(task)
    wait_for(lambda: logged(tmp_path, "b", "did step 3"))
    tell(process, signal.SIGUSR2)
    assert end(process)[0] == AGAIN
    make(tmp_path, {"b": {"steps": 2000, "seconds": 0, "every": 10000}})
    code, shown = end(start(task))
    assert code == 0, shown


def test_tasks_of_one_submission_stop_when_all_fail_alike(tmp_path):
    runs = make(tmp_path, {f"r{n}": {"error": "bug", "lingers": n == 3} for n in range(9)})
    first = spec(tmp_path, runs[:2], give_up_after=4)
    assert end(start(first))[0] == 1
    code, _ = end(start(spec(tmp_path, runs[2:6], give_up_after=4, shared=first.policy.shared, n=1)))
    assert code == 1
    assert [run(tmp_path, run_id).state() for run_id in runs[2:6]] == ["failed", "failed", "new", "new"]
    code, _ = end(start(spec(tmp_path, runs[6:], give_up_after=4, shared=first.policy.shared, n=2)))
    assert code == 1
    assert [run(tmp_path, run_id).state() for run_id in runs[6:]] == ["new"] * 3
    said = Submissions(tmp_path).note("entry", 2)["ended"]["message"]
    assert "the first 4 runs all failed alike" in said
    assert "3 runs were not run" in said
