"""Places that a user names: missing, of another kind, looped, too long, in brackets; and users without a home."""

import functools
import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from benchmark.cli import doctor
from benchmark.terminal import Terminal
from tests.commands import command

SWEEP = {
    "name": "x",
    "datasets": ["digits"],
    "methods": ["fine_tuning"],
    "seeds": 1,
    "training": {"steps": 2, "batch_size": 8, "image_size": 32},
    "runtime": {"device": "cpu"},
}
Smilebench = Callable[..., tuple[int, str]]


@pytest.fixture
def smilebench(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smilebench:
    """Commands in an empty folder that holds ``x.yaml`` alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(SWEEP))
    return functools.partial(command, capsys)


def place(kind: str, folder: Path) -> Path:
    """A results folder that cannot be one."""
    path = folder / "place"
    if kind == "file":
        path.write_text("text")
    elif kind == "below a file":
        path.write_text("text")
        path /= "out"
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "long":
        path = folder / ("n" * 300)
    elif kind == "device":
        path = Path(os.devnull)
    return path


@pytest.mark.parametrize("kind", ["missing", "file", "below a file", "loop", "long", "device"])
@pytest.mark.parametrize("verb", ["plan", "status", "report", "figures", "cancel", "compare"])
def test_a_results_folder_that_is_none_is_said_in_a_line(verb: str, kind: str, smilebench: Smilebench, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    out = place(kind, tmp_path)
    code, shown = smilebench(verb, "x.yaml", "--out", out)
    assert code == 2 or (code == 0 and verb in ("plan", "status", "cancel")), shown
    assert code == 0 or shown.startswith("error: ")
    assert {path.name for path in tmp_path.iterdir()} <= {*before, "place"}


@pytest.mark.parametrize("verb", ["report", "figures"])
@pytest.mark.parametrize(
    ("arguments", "name", "folder"), [(("quick",), "quick", "results/quick"), (("x.yaml", "--out", "rezults"), "x", "rezults")]
)
def test_a_report_of_runs_that_are_not_there_names_the_sweep_and_the_folder(
    verb: str, arguments: tuple[str, ...], name: str, folder: str, smilebench: Smilebench, tmp_path: Path
) -> None:
    code, shown = smilebench(verb, *arguments)
    assert (code, shown.startswith(f"error: no run of '{name}' under {folder} yet")) == (2, True), shown
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


@pytest.mark.parametrize("kind", ["file", "below a file", "device"])
def test_nothing_runs_where_no_result_can_be_written(kind: str, smilebench: Smilebench, tmp_path: Path) -> None:
    code, shown = smilebench("sweep", "x.yaml", "--out", place(kind, tmp_path))
    assert (code, shown.startswith("error: results cannot be written to ")) == (2, True)


@pytest.mark.parametrize("home", ["/proc/none", "/dev/null", "relative"])
def test_a_home_that_is_no_folder_stops_neither_doctor_nor_plan(home: str, smilebench: Smilebench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(doctor, "_ASK_TORCH", "import sys; sys.exit('not asked')")
    code, shown = smilebench("doctor")
    assert "home: " in shown
    assert code in (0, 2)  # 2 where Slurm's programs are here in part
    assert smilebench("plan", "x.yaml")[0] == 0


@pytest.mark.parametrize("home", [None, ""])
def test_a_user_whom_the_system_does_not_know_plans_and_looks(
    home: str | None, smilebench: Smilebench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under an arbitrary number."""

    def nobody(*_: object) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(doctor, "_ASK_TORCH", "import sys; sys.exit('not asked')")
    for arguments in (("plan", "x.yaml"), ("plan", "quick"), ("status", "x.yaml"), ("doctor",), ("list", "backbones"), ("data", "list")):
        code, shown = smilebench(*arguments)
        assert code == 0 or arguments == ("doctor",), shown


@pytest.mark.parametrize("kind", ["file", "dangling", "device"])
def test_doctor_says_where_the_cache_is_no_folder(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(os.devnull) if kind == "device" else tmp_path / "cache"
    if kind == "file":
        path.write_text("text")
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    monkeypatch.setenv("SMILEBENCH_CACHE", str(path))
    ((well, said),) = doctor._lines(doctor._cache)
    assert not well
    assert f"{path} is no folder" in said
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path / "new" / "cache"))
    ((well, said),) = doctor._lines(doctor._cache)
    assert well


@pytest.mark.parametrize("name", ["[/v2]", "[bold]x[/bold]", ":smile:[x"])
def test_a_folder_in_brackets_is_planned_prepared_and_printed_by_its_name(
    name: str, images: Path, smilebench: Smilebench, tmp_path: Path
) -> None:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "x.yaml", folder / "x.yaml")
    code, shown = smilebench("plan", folder / "x.yaml", "--out", folder / "out")
    assert code == 0
    assert f"{folder.relative_to(tmp_path) / 'x.yaml'}) -> {folder / 'out'}" in shown
    shutil.copytree(images, folder / "d")
    (folder / "d" / "train" / "class0" / "[b].gif").write_bytes(b"")
    code, shown = smilebench("data", "prepare", f"folder:{folder / 'd'}", "--resize", 16)
    assert code == 0, shown
    assert "".join(f"folder:{folder / 'd'}: 36 train".split()) in "".join(shown.split())
    code, shown = smilebench("status", folder / "x.yaml", "--out", folder / "none")
    assert (code, shown.startswith("1 queued")) == (0, True)


def test_every_command_line_prints_to_a_console_that_takes_text_as_text() -> None:
    from benchmark import terminal

    assert isinstance(terminal.console, Terminal)
    assert isinstance(terminal.errors, Terminal)
