"""The command that a report gives to redo a cell stands for exactly the runs of that cell."""

import shlex
import threading
import time
from pathlib import Path

import pytest

from benchmark.config import grid
from benchmark.config.grid import Sweep
from benchmark.report.build import STATE
from benchmark.sweep import results
from tests.commands import command as typed


def load(command: str) -> Sweep:
    """The sweep that a command line stands for, its ``--out`` left out."""
    words = shlex.split(command)
    words = words[: words.index("--out")] if "--out" in words else words
    assert words[0] == "smilebench"
    return grid.single(words[2:]) if words[1] == "train" else grid.load(words[2], words[3:])


@pytest.mark.parametrize(
    "command",
    [
        "smilebench sweep quick",
        "smilebench sweep ablation_smile",
        "smilebench sweep quick 'methods=[delta, smile, fine_tuning]' smile.alpha=0.5 delta.n_batches=2 training.steps=7 seeds=2",
        "smilebench sweep paper fractions=[0.15,1.0] seeds=[3] 'datasets=[{name: cub200, use: cub200, keep_aspect: true}, digits]'",
    ],
)
def test_redoing_a_cell_gives_its_runs_and_no_others(command: str) -> None:
    sweep = load(command)
    commands = results.redo_commands(sweep)
    cells = {(run.dataset, run.fraction, run.method) for run in sweep.runs}
    assert len(commands) == len(cells)
    for dataset, fraction, method in sorted(cells):
        again = load(commands[f"{dataset}/{fraction:g}/{method}"])
        wanted = [r.run_id for r in sweep.runs if (r.dataset, r.fraction, r.method) == (dataset, fraction, method)]
        assert [run.run_id for run in again.runs] == wanted


def test_one_run_can_be_redone_alone() -> None:
    sweep = grid.load("quick")
    run = next(r for r in sweep.runs if r.method == "smile_weak" and r.seed == 2)
    (again,) = load(results.redo_command(sweep, run.dataset, run.fraction, run.method, [run.seed])).runs
    assert again.run_id == run.run_id


def test_a_single_training_is_redone_by_its_own_command() -> None:
    sweep = load("smilebench train method=smile dataset=digits seed=4 fraction=0.15 smile.alpha=0.5")
    (command,) = results.redo_commands(sweep).values()
    assert [run.run_id for run in load(command).runs] == [run.run_id for run in sweep.runs]


@pytest.mark.parametrize("folder", ["elsewhere", "[v2] a folder"])
def test_the_command_of_a_report_is_of_its_own_results(folder: str, tmp_path: Path) -> None:
    given = ["seeds=1", "methods=[fine_tuning]", "overrides=[]"]
    info, _ = results.asked_for(grid.load("quick", given, tmp_path / folder))
    assert shlex.split(info.command) == ["smilebench", "sweep", "quick", *given, "--out", str(tmp_path / folder)]


def test_the_command_leaves_the_finished_records_alone() -> None:
    assert results.redo_commands(grid.load("quick"))["digits/0.15/smile"].endswith("--out results/quick-redo")


@pytest.mark.parametrize("settings", ["training.steps=7", "seeds=[9]"])
def test_settings_that_find_none_of_the_records_do_not_empty_a_report(
    settings: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "runs" / grid.load("quick").runs[0].run_id / "record.json"
    record.parent.mkdir(parents=True)
    for file in (record, tmp_path / STATE, tmp_path / "report.html"):
        file.write_text("{}")
    code, shown = typed(capsys, "report", "quick", settings, "--out", tmp_path)
    assert code == 2
    assert "none of its 1 finished runs is of 'quick' as it stands" in shown
    assert (tmp_path / "report.html").read_text() == "{}"
    assert typed(capsys, "report", "quick", "--out", tmp_path)[0] == 0


def test_loading_begins_once_and_has_ended_when_the_command_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended, printed = [], [], []

    def load_slowly() -> None:
        begun.append(threading.current_thread())
        time.sleep(0.2)
        ended.append(threading.current_thread())
        raise ImportError("left to the report")

    monkeypatch.setattr(results, "_load", load_slowly)
    monkeypatch.setattr(threading, "excepthook", printed.append)
    monkeypatch.setattr(results.processes, "begin", lambda: None)
    with results.loading() as load:
        load()
        load()
    assert len(begun) == 1
    assert ended == begun != [threading.current_thread()]
    assert not printed
