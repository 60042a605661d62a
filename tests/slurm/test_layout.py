"""How runs become tasks, and tasks arrays."""

import pytest

from benchmark.config.slurm_options import Slurm
from benchmark.slurm.layout import SHARE, Limits, lay_out


def runs(count):
    return [f"r{n}" for n in range(count)]


def sizes(layout):
    return [len(task) for task in layout.tasks]


def test_an_explicit_number_of_runs_wins():
    layout = lay_out(runs(7), [1.0] * 7, Slurm(runs_per_task=3), Limits())
    assert layout.tasks == (("r0", "r1", "r2"), ("r3", "r4", "r5"), ("r6",))
    assert layout.left == ()


def test_unmeasured_runs_get_a_task_each_or_one_per_worker():
    assert sizes(lay_out(runs(4), None, Slurm(), Limits())) == [1, 1, 1, 1]
    assert sizes(lay_out(runs(5), None, Slurm(), Limits(), workers=2)) == [2, 2, 1]


def test_a_task_fills_no_more_than_its_share_of_the_time_limit():
    options = Slurm(time=60, array_parallelism=1)
    layout = lay_out(runs(100), [300.0] * 100, options, Limits())
    assert sizes(layout) == [6] * 16 + [4]
    assert layout.seconds == SHARE * 3600


def test_a_run_longer_than_that_has_a_task_of_its_own():
    assert lay_out(runs(3), [9000.0, 100.0, 100.0], Slurm(time=60, array_parallelism=1), Limits()).tasks == (("r0",), ("r1", "r2"))


def test_tasks_are_many_enough_to_use_the_cluster_and_no_shorter_than_worth_it():
    wide = lay_out(runs(64), [1000.0] * 64, Slurm(time=1440, array_parallelism=64), Limits())
    assert sizes(wide) == [1] * 64
    short = lay_out(runs(64), [60.0] * 64, Slurm(time=1440, array_parallelism=64), Limits())
    assert sizes(short) == [10] * 6 + [4]


def test_workers_side_by_side_take_more_runs_in_the_same_time():
    options = Slurm(time=60, array_parallelism=1)
    assert sizes(lay_out(runs(24), [300.0] * 24, options, Limits(), workers=2)) == [12, 12]


@pytest.mark.parametrize("seconds", [None, 1000.0])
def test_tasks_get_longer_until_all_fit_below_the_limit_of_jobs(seconds):
    given = None if seconds is None else [seconds] * 100
    layout = lay_out(runs(100), given, Slurm(time=60), Limits(jobs=30))
    assert len(layout.tasks) <= 30
    assert layout.left == ()
    assert sorted(run for task in layout.tasks for run in task) == sorted(runs(100))


def test_explicit_tasks_that_do_not_fit_are_left_for_later():
    layout = lay_out(runs(10), None, Slurm(runs_per_task=2), Limits(jobs=3))
    assert len(layout.tasks) == 3
    assert layout.left == tuple(runs(10)[6:])
    assert lay_out(runs(2), None, Slurm(), Limits(jobs=0)).left == ("r0", "r1")


def test_arrays_stay_below_the_clusters_limit():
    layout = lay_out(runs(2500), None, Slurm(), Limits(array=1001, jobs=10_000))
    assert [len(chunk) for chunk in layout.chunks] == [1001, 1001, 498]
    assert "2500 jobs of up to 1 runs in 3 arrays of 1001, 1001, 498, at most 64 at once" in layout.words(64)


def test_nothing_to_do_is_no_jobs():
    assert lay_out([], [], Slurm(), Limits()).words(64) == "no jobs"
