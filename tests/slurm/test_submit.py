"""What is submitted, what is not submitted twice, and what is given up, with Slurm's commands replaced."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from benchmark.config import grid, weights
from benchmark.devices import Gpu
from benchmark.errors import UsageError
from benchmark.perf import scale
from benchmark.slurm import jobs, submit
from benchmark.slurm.submissions import Submissions
from benchmark.storage.liveness import identity
from benchmark.storage.run_folder import RunFolder, claim, read_json, write_json, write_record
from benchmark.sweep import plan
from datasets.arena import find, prepare
from datasets.base import DataError, open_dataset
from tests.commands import command
from tests.slurm.fake_slurm import FakeSlurm
from tests.sweep.sweeping import wait_for

ROOT = Path(__file__).parents[2]
RUNNER = """
import signal, subprocess, sys, time
worker = "import sys, time, pathlib; from benchmark.storage.run_folder import claim; claim(pathlib.Path(sys.argv[1]), 'x'); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", worker, sys.argv[1]])
signal.signal(signal.SIGTERM, lambda *_: (child.kill(), sys.exit(75)))
time.sleep(60)
"""
"""A local command and its worker, which holds the run that is named."""


class World:
    """A sweep of six runs, its results folder, and a cluster."""

    def __init__(self, slurm: FakeSlurm, file: Path, out: Path) -> None:
        self.slurm, self.file, self.out = slurm, file, out

    def sweep(self, *assignments: str, wait: bool = False, shown: io.StringIO | None = None) -> tuple[int, str]:
        shown = shown or io.StringIO()
        code = submit.run(grid.load(str(self.file), assignments), self.out, None, wait, Console(file=shown, width=300))
        return code, shown.getvalue()

    def cancel(self) -> tuple[int, str]:
        shown = io.StringIO()
        code = jobs.cancel(grid.load(str(self.file)), self.out, Console(file=shown, width=300))
        return code, shown.getvalue()

    def status(self) -> str:
        shown = io.StringIO()
        jobs.show_jobs(self.out, Console(file=shown, width=300))
        return shown.getvalue()

    @property
    def submissions(self) -> list[dict]:
        found = [read_json(path) for path in (self.out / "slurm" / "submissions").glob("*.json")]
        return sorted(found, key=lambda entry: entry["time"])

    def run(self, n: int) -> RunFolder:
        """The run that the first submission gave to its task ``n``."""
        return RunFolder(self.out / "runs" / self.submissions[0]["tasks"][n][0])


@pytest.fixture
def world(images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("HOME", str(tmp_path))
    content = {
        "name": "small",
        "backbone": backbone,
        "datasets": [{"name": "tiny", "use": f"folder:{images}"}],
        "seeds": 3,
        "methods": ["fine_tuning", "smile"],
        "training": {"steps": 6, "batch_size": 8, "image_size": 32},
        "runtime": {"device": "cpu"},
        "slurm": {"runs_per_task": 2, "retries": 1},
    }
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(content))
    return World(FakeSlurm(tmp_path / "bin", monkeypatch), file, tmp_path / "out")


def test_a_submission_is_one_array_and_says_how_to_go_on(world):
    code, shown = world.sweep("slurm.partition=gpu", "slurm.setup=['module load x']", "slurm.sbatch={constraint: a100, exclusive: true}")
    assert code == 0
    (script,) = world.slurm.scripts()
    for line in (
        "#SBATCH --array=0-2%3",
        "#SBATCH --partition=gpu",
        "#SBATCH --constraint=a100",
        "#SBATCH --exclusive",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --time=240",
        "#SBATCH --cpus-per-task=1",
        "module load x",
        f"export SMILEBENCH_CACHE={os.environ['SMILEBENCH_CACHE']}",
    ):
        assert line in script.splitlines()
    assert script.index("export PYTHONPATH=") < script.index("module load x") < script.index("srun ")
    assert "srun --unbuffered" in script
    assert "--cpus-per-task 1 " in script
    assert (world.out / "slurm" / "jobs").is_dir()
    assert f"--output={world.out}/slurm/jobs/%A_%a_0_log.out" in script
    assert "submitted job 100: 3 tasks, 6 runs" in shown
    assert "smilebench status" in shown
    assert all(world.run(n).config_path.is_file() for n in range(3))


def test_what_waits_or_runs_is_not_submitted_again(world):
    world.sweep()
    world.slurm.running(0, 1, 2, state="PENDING")
    code, shown = world.sweep()
    assert code == 0
    assert "6 runs are in jobs that wait or run: 100" in shown
    world.slurm.running(1)
    code, shown = world.sweep()
    assert len(world.slurm.scripts()) == 2
    first, second = world.submissions
    assert [run for task in second["tasks"] for run in task] == [*first["tasks"][0], *first["tasks"][2]]
    assert "2 runs are in jobs that wait or run: 100" in shown
    assert "job 100_0 ended: without a word" in shown


def test_runs_are_given_up_after_the_retries_with_what_is_known(world):
    for _ in range(2):
        assert world.sweep()[0] == 0
    world.slurm.set("accounting", "\n".join(f"10{job}_{n}|OUT_OF_MEMORY" for job in range(2) for n in range(3)))
    code, shown = world.sweep()
    assert code == 1
    assert len(world.slurm.scripts()) == 2
    assert shown.count("not finished: tiny-1-") == 6
    assert "ended: OUT_OF_MEMORY (" in shown
    assert "6 runs were submitted up to 2 times without progress" in shown
    assert "add slurm.retries=2" in shown
    assert world.sweep("slurm.retries=2")[0] == 0
    assert len(world.slurm.scripts()) == 3


def test_progress_is_no_failed_attempt(world):
    for step in (10, 20, 30):
        world.sweep()
        for run in (world.out / "runs").iterdir():
            (run / "checkpoint").mkdir(exist_ok=True)
            write_json(run / "checkpoint" / "step.json", {"step": step})
    assert world.sweep()[0] == 0
    assert len(world.slurm.scripts()) == 4


@pytest.mark.parametrize(
    ("code", "said", "expected"), [(2, "method 'x': refused", 2), (1, "stopped early: all alike", 75), (75, "", 75), (0, "", 75)]
)
def test_waiting_ends_with_the_jobs_and_what_they_said(world, monkeypatch, code, said, expected):
    world.slurm.set("live", "")

    def all_jobs_end(seconds):
        submitted = Submissions(world.out)
        for entry in submitted.all():
            for n in range(len(entry.tasks)):
                write_json(submitted.note_path(entry.id, n), {"ended": {"code": code, "message": said}})
        if world.slurm.scripts():
            world.slurm.set("queue", "")

    monkeypatch.setattr(time, "sleep", all_jobs_end)
    found, shown = world.sweep(wait=True)
    assert found == expected
    assert said in shown
    assert ("6 runs are not finished; the same command resumes them" in shown) == (expected == 75)


def test_ending_the_wait_leaves_the_jobs_alone(world, monkeypatch):
    world.slurm.set("live", "")

    def interrupted(seconds):
        if world.slurm.scripts():
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    code, shown = world.sweep(wait=True)
    assert code == 75
    assert "the jobs go on" in shown
    assert not world.slurm.asked("scancel")


def test_a_failed_run_is_submitted_again_then_reported(world):
    world.sweep()
    run = world.run(0)
    for attempt in (1, 2):
        claim(run.path, f"s{attempt}").fail({"reason": "loss is not finite", "kind": "nan", "traceback": "", "step": 5})
        code, shown = world.sweep()
        assert "loss is not finite" in shown
    assert code == 1
    assert run.state() == "failed"
    assert len(world.slurm.scripts()) == 2


def test_what_others_work_on_is_left_to_them(world):
    world.sweep()
    own = claim(world.run(0).path, "a local command")
    _, shown = world.sweep()
    assert "1 runs are in the hands of other processes" in shown
    assert own.run.run_id not in [run for task in world.submissions[1]["tasks"] for run in task]


def test_arrays_and_the_limit_of_jobs(world):
    code, shown = world.sweep("slurm.runs_per_task=1", "slurm.max_array_size=2", "slurm.max_submit_jobs=5")
    assert code == 0
    assert [re.search(r"--array=(\S+)", script) and re.search(r"--array=(\S+)", script).group(1) for script in world.slurm.scripts()] == [
        "0-1%2",
        "0-1%2",
        None,
    ]
    assert "1 runs do not fit below the limit of jobs" in shown
    assert [entry["job"] for entry in world.submissions] == ["100", "101", "102"]


def test_a_command_that_died_between_sbatch_and_its_note_is_made_good(world):
    world.sweep()
    world.slurm.running(0, 1, 2)
    (path,) = (world.out / "slurm" / "submissions").iterdir()
    write_json(path, {**read_json(path), "job": None, "by": {**identity(), "pid_start": "0"}})
    world.sweep()
    assert len(world.slurm.scripts()) == 1
    assert world.submissions[0]["job"] == "100"
    write_json(path, {**read_json(path), "job": None})
    world.slurm.set("queue", "")
    world.sweep()
    assert len(world.slurm.scripts()) == 2
    assert [entry["job"] for entry in world.submissions] == ["101"]


def test_a_submission_that_another_command_forgot_meanwhile_is_remembered_whole(world):
    submissions = Submissions(world.out)
    submissions.prepare()
    entry = submissions.open("small", [["a", "b"], ["c"]], {"a": 1, "b": 2, "c": 3})
    submissions.drop(entry)
    assert submissions.update(entry, job="7") == submissions.all()[0]
    assert world.submissions[0] == {**world.submissions[0], "job": "7", "tasks": [["a", "b"], ["c"]], "steps": {"a": 1, "b": 2, "c": 3}}


def test_a_job_that_another_command_cancelled_meanwhile_stays_cancelled(world):
    submissions = Submissions(world.out)
    submissions.prepare()
    entry = submissions.open("small", [["a"]], {"a": 0})
    submissions.update(entry, job="7", cancelled=True)
    assert submissions.update(entry, job="7").cancelled
    assert submissions.all()[0].cancelled


def test_a_command_that_lives_is_given_time_to_submit(world):
    submissions = Submissions(world.out)
    submissions.prepare()
    entry = submissions.open("small", [["a"]], {"a": 0})
    write_json(entry.path, {**read_json(entry.path), "time": 0})
    assert not submissions.all()[0].abandoned()
    write_json(entry.path, {**read_json(entry.path), "by": {**identity(), "machine": "another"}})
    assert submissions.all()[0].abandoned()


def test_records_that_a_network_file_system_has_not_shown_yet_are_asked_for(world, monkeypatch):
    """What such a client has found absent it answers from its cache, until the folder is opened."""
    world.sweep()
    found = grid.load(str(world.file), ())
    for config in found.runs:
        arena = find(open_dataset(config.data.source), config.data.decode)
        hashes = {"data_hash": arena.data_hash, "weights_hash": weights.parse(config.backbone).sha256}
        write_record(world.out / "runs" / config.run_id, {**scale.record(config, 1), **hashes})
    world.slurm.set("queue", "")
    opened, exists, open_ = set(), Path.exists, os.open
    monkeypatch.setattr(Path, "exists", lambda path: (path.name != "record.json" or str(path.parent) in opened) and exists(path))
    monkeypatch.setattr(os, "open", lambda path, *how, **more: opened.add(str(path)) or open_(path, *how, **more))
    monkeypatch.setattr(submit.results, "report", lambda *_: None)
    monkeypatch.setattr(submit.results, "show", lambda *_: None)
    assert submit._conclude(found, world.out, submit.for_runs(submit.resolve(found.slurm), found.runs), Console(file=io.StringIO())) == 0


def test_two_commands_at_once_do_not_submit_the_same(world):
    world.sweep()
    (path,) = (world.out / "slurm" / "submissions").iterdir()
    write_json(path, {**read_json(path), "job": None, "by": identity(), "time": time.time()})
    assert "6 runs are in jobs" in world.sweep()[1]
    assert len(world.slurm.scripts()) == 1


def test_two_commands_in_a_race_submit_every_run_once(world):
    world.sweep()  # prepares the images
    world.slurm.set("live", "")
    arguments = [sys.executable, "-m", "benchmark", "sweep", str(world.file), "--backend", "slurm", "--out", str(world.out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    racers = [subprocess.Popen(arguments, cwd=world.file.parent, env=environment, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    submitted = [run for entry in world.submissions[1:] for task in entry["tasks"] for run in task]
    assert sorted(submitted) == sorted(run.name for run in (world.out / "runs").iterdir())


def test_a_command_waits_for_its_turn_to_submit_and_takes_that_of_a_dead_one(world):
    world.sweep()  # prepares the images
    world.slurm.set("live", "")
    turn = claim(world.out / "slurm" / "turn", "another command")
    shown = io.StringIO()
    second = threading.Thread(target=lambda: world.sweep(shown=shown))
    second.start()
    wait_for(lambda: "another command submits just now" in shown.getvalue())
    second.join(0.5)
    assert second.is_alive()
    assert len(world.slurm.scripts()) == 1
    write_json(turn.run.claims / str(turn.n), {**identity(), "pid_start": "0"})
    second.join(60)
    assert len(world.slurm.scripts()) == 2
    assert shown.getvalue().count("another command submits just now") == 1


def test_who_lost_its_turn_submits_nothing_more(world, monkeypatch):
    monkeypatch.setattr("benchmark.slurm.submit.find_jobs", overtaken(world))
    _, shown = world.sweep()
    assert "another command took this one for dead" in shown
    assert world.slurm.scripts() == []


def overtaken(world):
    """``find_jobs`` that lets another command take the turn, as after a pause of this one that was long enough."""

    def find(submissions, mend=False):
        if (world.out / "slurm" / "turn" / "claims" / "1").exists():
            write_json(world.out / "slurm" / "turn" / "claims" / "2", identity())
        return jobs.find_jobs(submissions, mend)

    return find


def test_what_is_not_prepared_is_told_before_anything_is_submitted(world):
    with pytest.raises(UsageError, match=r"backbone resnet18.a1_in1k is not prepared; run: smilebench backbones prepare"):
        world.sweep("backbone=resnet18.a1_in1k")
    assert not world.slurm.asked("sbatch")


@pytest.mark.parametrize("how", ["zeros", "one bit"])
def test_decoded_images_that_became_others_are_told_before_anything_is_submitted(world, how, tmp_path, monkeypatch):
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path / "cache"))
    data = grid.load(str(world.file)).runs[0].data
    file = prepare(open_dataset(data.source), data.decode).path / "train.bin"
    content = bytearray(file.read_bytes())
    if how == "zeros":
        content = bytearray(len(content))
    else:
        content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.bin: its checksum differs"):
        world.sweep()
    assert not world.slurm.asked("sbatch")


def test_without_squeue_the_accounting_is_asked(world):
    world.sweep()
    world.slurm.set("queue", None)
    world.slurm.set("accounting", "100_0|RUNNING\n100_1|PENDING\n100_2|NODE_FAIL")
    world.sweep()
    assert world.submissions[1]["tasks"] == [world.submissions[0]["tasks"][2]]


def test_without_any_answer_jobs_are_taken_to_be_there_until_they_are_cancelled(world):
    world.sweep()
    world.slurm.set("queue", None)
    world.slurm.set("accounting", None)
    _, shown = world.sweep()
    assert "neither squeue nor sacct answers" in shown
    assert len(world.slurm.scripts()) == 1
    assert "not known" in world.status()
    submitted = Submissions(world.out)
    submitted.note_path(submitted.all()[0].id, 1).write_text(json.dumps({"ended": {"code": 75, "message": "m"}}))
    world.sweep()
    assert world.submissions[1]["tasks"] == [world.submissions[0]["tasks"][1]]
    world.slurm.set("refusal", "scancel: error: no controller")
    code, shown = world.cancel()
    assert code == 0
    assert shown.count("only forgotten") == 2


def test_what_sbatch_refuses_is_told_and_not_remembered_as_a_job(world):
    world.slurm.set("refusal", "sbatch: error: invalid partition specified: gpu")
    with pytest.raises(UsageError, match="invalid partition specified"):
        world.sweep()
    world.slurm.set("refusal", None)
    for entry in (world.out / "slurm" / "submissions").iterdir():  # as after the end of that command
        write_json(entry, {**read_json(entry), "by": {**identity(), "pid_start": "0"}})
    assert world.sweep()[0] == 0
    assert [entry["job"] for entry in world.submissions] == ["100"]


def test_cancel_ends_whole_arrays_and_is_no_failed_attempt(world):
    for _ in range(3):
        world.sweep()
        job = 99 + len(world.slurm.scripts())
        world.slurm.running(0, 2, job=job)
        code, shown = world.cancel()
        assert code == 0
        assert f"cancelled job {job}: 3 tasks, of which 0 waited and 2 ran" in shown
        assert world.slurm.asked("scancel")[-1] == f"scancel {job}"
    assert len(world.slurm.scripts()) == 3
    assert "nothing of this sweep" not in shown


def test_a_cancel_that_slurm_refuses_is_not_remembered(world):
    world.sweep()
    world.slurm.running(0)
    world.slurm.set("refusal", "scancel: error: Access/permission denied")
    code, shown = world.cancel()
    assert code == 1
    assert "permission denied" in shown
    assert not world.submissions[0]["cancelled"]


def test_cancel_tells_a_local_command_to_stop(world):
    world.sweep()
    world.slurm.running()
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(world.run(0).path)], cwd=ROOT)
    wait_for(lambda: world.run(0).last_claim())
    code, shown = world.cancel()
    assert code == 0
    assert f"told process {runner.pid}, which works on 1 runs here" in shown
    assert runner.wait(60) == 75


def test_cancel_names_a_command_on_another_machine(world):
    world.sweep()
    world.slurm.running()
    claim(world.run(0).path, "x")
    path = world.run(0).claims / "1"
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "elsewhere", "host": "box7", "parent": 4242}))
    assert "process 4242 on box7" in world.cancel()[1]


def test_cancelling_nothing_says_so(world):
    assert world.cancel() == (0, "nothing of this sweep waits or runs\n")


def test_status_names_jobs_that_wait_and_those_that_ended_early(world):
    assert world.status() == ""
    world.sweep()
    world.slurm.running(0, 1)
    world.slurm.set("accounting", "100_2|TIMEOUT")
    assert world.status().splitlines() == [
        "job 100: 3 tasks: 2 running, 1 ended",
        f"job 100_2 ended, and left runs unfinished: TIMEOUT ({world.out}/slurm/jobs/100_2_0_log.out)",
    ]


def smilebench(world: World, *arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    program = f"import sys; from benchmark.cli.app import main; sys.argv[1:] = {list(arguments)!r}\ntry: main()\nfinally: {code or 'pass'}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    submit = [sys.executable, "-c", program]
    return subprocess.run(submit, cwd=world.file.parent, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_submission_and_dry_run_load_no_torch_and_a_dry_run_changes_nothing(world):
    check = "print('LOADED', sorted({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    world.sweep("slurm.runs_per_task=3")  # prepares the images
    (world.out / "slurm").rename(world.out.parent / "before")
    before = sorted(world.out.rglob("*"))
    arguments = ["sweep", str(world.file), "--backend", "slurm", "--out", str(world.out)]
    dry = smilebench(world, *arguments, "--dry-run", code=check)
    assert "#SBATCH --array=0-2%3" in dry.stdout, dry.stdout + dry.stderr
    assert "LOADED []" in dry.stdout
    assert sorted(world.out.rglob("*")) == before
    done = smilebench(world, *arguments, code=check)
    assert "submitted job 101" in done.stdout, done.stdout + done.stderr
    assert "LOADED []" in done.stdout


def test_plan_says_how_a_sweep_would_be_submitted(world):
    found = smilebench(world, "plan", str(world.file), "slurm.runs_per_task=1", "slurm.max_array_size=4")
    assert "on Slurm: 6 jobs of up to 1 runs in 2 arrays of 4, 2, at most 64 at once" in found.stdout, found.stderr
    other = smilebench(world, "plan", str(world.file), "slurm.gpus=1")
    assert other.returncode == 0
    assert "not on Slurm as it is: slurm.gpus is 1" in other.stdout


@pytest.mark.parametrize("name", ["%j", "50%", "%%", "a\nb"])
def test_a_results_folder_that_slurm_would_read_as_another_is_refused_before_anything_is_written(world, name):
    out = world.out.parent / "all" / name
    sweep = grid.load(str(world.file), ["slurm.cpus=1"], out)
    shown = io.StringIO()
    console = Console(file=shown, width=300)
    for call in (lambda: submit.run(sweep, out, None, False, console), lambda: submit.dry_run(sweep, out, None, console)):
        with pytest.raises(UsageError, match=r"(?s)results folder .*choose another --out"):
            call()
    assert not out.parent.exists()
    assert not world.slurm.scripts()
    submit.describe(plan.make(sweep, out), console)
    assert shown.getvalue().startswith("not on Slurm as it is: results folder ")


@pytest.mark.parametrize("folder", ["elsewhere", "[v2] it's $HOME"])
def test_the_commands_that_a_submission_prints_are_of_its_own_results(world, folder, capsys):
    """Cut out of the output and read as a shell does: ``cancel`` finds the jobs in the folder that was asked for."""
    out = world.out.parent / folder
    given = ["seeds=1", "methods=[fine_tuning]", "overrides=[]"]
    prepare(open_dataset(grid.load(str(world.file)).runs[0].data.source), grid.load(str(world.file)).runs[0].data.decode)
    code, shown = command(capsys, "sweep", world.file, *given, "--backend", "slurm", "--out", out)
    assert code == 0, shown
    name = re.search(r"--job-name=(\S+)", world.slurm.scripts()[0]).group(1)
    world.slurm.set("queue", f"100|{name}|RUNNING")  # one run is a plain job, not an array
    printed = re.findall(r"(?:follow|cancel|did not finish): smilebench (.*?)(?= cancel: | report, or |$)", shown)
    verbs = [shlex.split(line) for line in printed]
    assert [words[0] for words in verbs] == ["status", "cancel", "sweep"]
    for words in verbs:
        assert words[1:5] == [str(world.file), *given]
        assert words[words.index("--out") + 1] == str(out)
    code, shown = command(capsys, *verbs[1])
    assert (code, "cancelled job 100" in shown) == (0, True)
    assert world.slurm.asked("scancel") == ["scancel 100"]


def test_what_was_submitted_from_a_machine_without_a_gpu_is_the_same_runs_on_one_with(world, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    world.file.write_text(yaml.safe_dump({**yaml.safe_load(world.file.read_text()), "runtime": {}}))
    assert command(capsys, "sweep", world.file, "--backend", "slurm", "--out", world.out)[0] == 0
    submitted = {run.name for run in (world.out / "runs").iterdir()}
    write_record(next((world.out / "runs").iterdir()), {})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr("benchmark.devices.gpu", lambda cache: Gpu("A100", (8, 0), 2**36))
    assert {run.run_id for run in grid.load(str(world.file), out=world.out).runs} == submitted
    assert command(capsys, "status", world.file, "--out", world.out)[1].startswith("5 queued, 0 running, 0 interrupted, 0 failed, 1 done")


def test_options_of_slurm_are_refused_for_the_local_backend(world):
    for option in ("--wait", "--dry-run"):
        done = smilebench(world, "sweep", str(world.file), option)
        assert done.returncode == 2
        assert f"{option} goes with --backend slurm" in " ".join(done.stderr.split())


def test_logs_of_a_run_show_its_jobs(world):
    world.sweep()
    run_ids = [run for task in world.submissions[0]["tasks"] for run in task]
    log = Submissions(world.out).log("100_0")
    log.write_text("\n".join(f"line {n}" for n in range(300)))
    found = smilebench(world, "logs", run_ids[0], "--results", str(world.out.parent)).stdout
    assert "its last 200 lines of 300" in found
    assert "line 299" in found
    assert "line 99\n" not in found


@pytest.mark.parametrize("absent", ["srun", "sbatch"])
def test_a_login_node_without_all_of_slurms_programs_is_told_so_before_anything_is_written(world, absent):
    (world.slurm.folder / absent).unlink()
    for arguments in (["sweep", str(world.file), "--backend", "slurm", "--out", str(world.out)], ["plan", str(world.file)], ["doctor"]):
        done = smilebench(world, *arguments)
        assert done.returncode == 2, (arguments, done.stdout + done.stderr)
        assert f"no jobs can be submitted from here: {absent} not found on PATH" in " ".join((done.stdout + done.stderr).split())
        assert "Traceback" not in done.stderr
    assert not world.out.exists()
    assert not (world.file.parent / "results").exists()


def test_a_machine_that_has_nothing_of_slurm_plans_and_is_in_order(world):
    for program in world.slurm.folder.iterdir():
        program.unlink()
    assert smilebench(world, "plan", str(world.file)).returncode == 0
    doctor = smilebench(world, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "Slurm: not on this machine" in doctor.stdout
