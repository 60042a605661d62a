"""Stopping early when every run fails for one reason, and only then."""

import errno

import pytest

from benchmark.sweep.failures import StopEarly
from benchmark.sweep.order import Policy
from tests.sweep import sweeping
from tests.sweep.sweeping import make, run


def told(rule, *failures):
    for n, (kind, reason) in enumerate(failures):
        rule.failed(f"r{n}", kind, reason)
    return rule.reason()


def test_it_stops_at_the_limit_and_names_number_and_reason():
    same = ("error", "KeyError: 'x'")
    assert told(StopEarly(3), same, same) is None
    assert told(StopEarly(3), same, same, same) == ("stopped early: the first 3 runs all failed alike and none is done (KeyError: 'x')")
    assert told(StopEarly(None), *[same] * 50) is None


@pytest.mark.parametrize(
    ("failures", "alike"),
    [
        ([("nan", "loss is not finite at step 7: ce"), ("nan", "loss is not finite at step 12: ce")], True),
        ([("nan", "loss is not finite at step 7: ce"), ("nan", "loss is not finite at step 7: l2_sp")], False),
        ([("error", "no file"), ("data", "no file")], False),
        (
            [("disk_full", "[Errno 28] no space: /r0/claims/.tmp-0a1b"), ("disk_full", "[Errno 28] no space: /r1/claims/.tmp-ffee")],
            True,
        ),
        ([("error", "one line\nthen this"), ("error", "one line\nthen that")], True),
    ],
)
def test_alike_means_the_same_kind_and_words(failures, alike):
    assert (told(StopEarly(2), *failures) is not None) == alike


def test_one_run_that_is_done_keeps_it_whole(tmp_path):
    same = [("error", "x")] * 9
    assert told(StopEarly(3, done=True), *same) is None
    rule = StopEarly(3)
    rule.succeeded()
    assert told(rule, *same) is None


def test_processes_share_it_through_a_folder(tmp_path):
    first, second = StopEarly(3, folder=tmp_path), StopEarly(3, folder=tmp_path)
    assert told(first, ("error", "x"), ("error", "x")) is None
    second.failed("other", "error", "x")
    assert "first 3 runs" in second.reason()
    assert "first 3 runs" in StopEarly(3, folder=tmp_path).reason()
    first.succeeded()
    assert StopEarly(3, folder=tmp_path).reason() is None


def sweep(folder, runs, limit):
    """With one worker, so that the order is that of ``runs``."""
    return sweeping.sweep(folder, runs, workers=1, policy=Policy(give_up_after=limit))


def test_a_local_sweep_stops_and_says_what_was_not_run(tmp_path):
    runs = make(tmp_path, {f"r{n}": {"error": "bug", "lingers": n == 2} for n in range(8)})
    outcome, _ = sweep(tmp_path, runs, 3)
    assert outcome.exit_code == 1
    assert outcome.message.startswith("stopped early: the first 3 runs all failed alike")
    assert outcome.message.endswith("5 runs were not run or not finished")
    assert len(outcome.failed) == 3
    assert outcome.unfinished == ("r3", "r4", "r5", "r6", "r7")
    assert [run(tmp_path, run_id).state() for run_id in runs[3:]] == ["new"] * 5


def test_a_local_sweep_with_one_good_run_goes_on(tmp_path):
    runs = make(tmp_path, {"good": {}, **{f"r{n}": {"error": "bug"} for n in range(5)}})
    outcome, _ = sweep(tmp_path, runs, 3)
    assert outcome.done == ("good",)
    assert len(outcome.failed) == 5


def test_deaths_count_as_failures_do(tmp_path):
    runs = make(tmp_path, {f"r{n}": {"die": "setup", "times": 9} for n in range(6)})
    outcome, _ = sweep(tmp_path, runs, 3)
    assert outcome.exit_code == 1
    assert "stopped early: the first 3 runs all failed alike and none is done (its process died (SIGKILL))" in outcome.message
    assert [run(tmp_path, run_id).last_claim() for run_id in runs[4:]] == [None, None]


def test_deaths_between_which_a_run_got_on_count_for_nothing(tmp_path):
    runs = make(tmp_path, {f"r{n}": {"die": "files", "times": 2} for n in range(2)})
    outcome, _ = sweep(tmp_path, runs, 1)
    assert (outcome.exit_code, outcome.done) == (0, tuple(runs))
    assert [run(tmp_path, run_id).last_claim().n for run_id in runs] == [3, 3]


def test_failures_that_cannot_be_shared_count_for_their_own_process(tmp_path):
    rule = StopEarly(2, folder=tmp_path / "absent")
    assert "the first 2 runs all failed alike" in told(rule, ("disk_full", "no space"), ("disk_full", "no space"))
    rule.succeeded()
    assert rule.reason() is None


def test_what_others_share_and_cannot_be_read_stops_nothing(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.ESTALE, "stale file handle")

    rule = StopEarly(2, folder=tmp_path)
    assert told(rule, ("data", "no file")) is None
    monkeypatch.setattr("benchmark.sweep.failures.read_json", refuse)
    assert rule.reason() is None
    rule.failed("r1", "data", "no file")
    assert "the first 2 runs all failed alike" in rule.reason()


def test_deaths_beside_a_run_that_is_done_stop_nothing(tmp_path):
    runs = make(tmp_path, {"good": {}, **{f"r{n}": {"die": "setup", "times": 9} for n in range(4)}})
    outcome, _ = sweep(tmp_path, runs, 2)
    assert outcome.done == ("good",)
    assert len(outcome.failed) == 4
