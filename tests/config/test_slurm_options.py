"""The slurm block, the user's file under it, and what is refused in which words."""

from pathlib import Path

import pytest

from benchmark.config import grid
from benchmark.config.run_config import Runtime, validate
from benchmark.config.slurm_options import Slurm, cpus_per_task, for_runs, gpu_count, minutes, resolve, workers_per_task
from benchmark.errors import UsageError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config" / "smilebench"
    folder.mkdir(parents=True)
    return folder / "slurm.yaml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(90, 90), ("90", 90), ("90:30", 90), ("4:00:00", 240), ("1:30:59", 90), ("1-0", 1440), ("2-12", 3600), ("1-02:30", 1590)],
)
def test_time_limits_are_read_as_slurm_does(text, expected):
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "1h", "0", "-5", "1:2:3:4", "unlimited"])
def test_other_time_limits_are_refused(text):
    with pytest.raises(ValueError, match="minute"):
        minutes(text)


def test_gpus_may_name_a_type():
    assert [gpu_count(value) for value in (None, 0, 2, "3", "a100:4")] == [0, 0, 2, 3, 4]
    with pytest.raises(ValueError, match="type:number"):
        gpu_count("a100")


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["slurm.partion=x"], [": slurm.partion: ", "did you mean 'partition'"]),
        (["slurm.time=soon"], [": slurm.time: ", "hours:minutes:seconds"]),
        (["slurm.cpus=0"], [": slurm.cpus: ", "greater than or equal to 1"]),
        (["slurm.mem=lots"], [": slurm.mem: "]),
        (["slurm.sbatch={output: x}"], [": slurm.sbatch: ", "sbatch's output is set by SmileBench"]),
        (["slurm.sbatch={gpus-per-node: 1}"], [": slurm.sbatch: ", "is written as slurm.gpus"]),
        (["slurm.sbatch={cpus_per_task: 1}"], ["is written as slurm.cpus"]),
        (["give_up_after=0"], [": give_up_after: "]),
    ],
)
def test_bad_options_are_refused_with_the_place(assignments, words):
    with pytest.raises(UsageError) as error:
        grid.load("quick", assignments)
    for word in words:
        assert word in str(error.value)


def test_a_bad_user_file_is_named_with_its_key(home):
    for text, words in {
        "partitoin: x": [str(home), "partitoin", "did you mean 'partition'"],
        "time: [1]": [str(home), "time"],
        "- 1": [str(home), "mapping"],
        "a: {": [str(home), "not valid YAML"],
        'partition: "a\\nrm -rf x"': [str(home), "partition"],
        'sbatch: {comment: "a\\nrm -rf x"}': [str(home), "sbatch", "line break"],
    }.items():
        home.write_text(text)
        with pytest.raises(UsageError) as error:
            resolve(Slurm())
        for word in words:
            assert word in str(error.value)


def test_the_sweep_is_over_the_users_file(home):
    home.write_text("{partition: gpu, account: lab, time: 60, setup: [module load cuda], sbatch: {constraint: a100, nice: 5}}")
    found = resolve(grid.load("quick", ["slurm.time=8:00:00", "slurm.sbatch={nice: 9}"]).slurm)
    assert (found.partition, found.account, found.time, found.setup) == ("gpu", "lab", 480, ["module load cuda"])
    assert found.sbatch == {"constraint": "a100", "nice": 9}
    assert resolve(Slurm(time=60)).time == 60


def test_a_limit_that_leaves_no_time_to_work_is_refused():
    with pytest.raises(UsageError, match=r"slurm.time, slurm.signal_seconds: .* told to stop after 0 s"):
        resolve(Slurm(time=2))
    assert resolve(Slurm(time=1, signal_seconds=10)).limit_seconds == 60


def test_how_jobs_are_submitted_is_no_part_of_a_runs_identity():
    plain = [run.run_id for run in grid.load("quick").runs]
    assert [run.run_id for run in grid.load("quick", ["slurm.time=60", "slurm.gpus=0", "give_up_after=9"]).runs] == plain


def test_gpus_and_the_runs_device_must_agree():
    cpu, gpu = (grid.load("quick", [f"runtime.device={device}"]).runs for device in ("cpu", "cuda"))
    assert for_runs(Slurm(), gpu).gpus == 1
    assert for_runs(Slurm(gpus="a100:2"), gpu).gpus == "a100:2"
    assert for_runs(Slurm(), cpu).gpus is None
    with pytest.raises(UsageError, match=r"runtime: \{device: cuda\}"):
        for_runs(Slurm(gpus=1), cpu)
    with pytest.raises(UsageError, match=r"slurm.gpus is 0"):
        for_runs(Slurm(gpus=0), gpu)


def test_workers_follow_gpus_or_cpus():
    assert workers_per_task(Slurm(gpus=2, cpus=16), Runtime(), None) == 2
    assert workers_per_task(Slurm(cpus=8), Runtime(threads=2), None) == 4
    assert workers_per_task(Slurm(), Runtime(threads=4), None) == 1
    assert workers_per_task(Slurm(gpus=2), Runtime(), 5) == 5


def test_workers_that_share_a_gpu_do_so_in_jobs_too_and_get_cpus():
    assert workers_per_task(Slurm(gpus="a100:2"), Runtime(workers_per_gpu=3), None) == 6
    assert cpus_per_task(Slurm(gpus=1), Runtime(), None) == 4
    assert cpus_per_task(Slurm(gpus=2), Runtime(workers_per_gpu=2), None) == 16
    assert cpus_per_task(Slurm(gpus=1, cpus=6), Runtime(), None) == 6
    assert cpus_per_task(Slurm(), Runtime(threads=3), None) == 3


def test_the_time_to_save_leaves_some_to_be_queued_again():
    assert Slurm(signal_seconds=120).grace == 100
    assert Slurm(signal_seconds=10).grace == 7
    assert validate(Slurm, {}, "x").grace > 60
