"""The walk through adding a method, done as it is written: its files are written, its commands run, its outputs looked for."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
PROGRAMS = {"smilebench": [sys.executable, "-m", "benchmark"], "python": [sys.executable]}


def commands(block: str) -> list[tuple[str, list[str]]]:
    """Each command of a console block, with the lines of output shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def write_files(folder: Path) -> None:
    for _, path, text in BLOCKS:
        if path:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)


def shown() -> list[tuple[str, list[str]]]:
    """All commands of the page that need not be typed into one shell."""
    pairs = [pair for kind, _, text in BLOCKS if kind == "console" for pair in commands(text)]
    return [pair for pair in pairs if pair[0] != "export PYTHONPATH=$PWD"]


def run(command: str, folder: Path) -> str:
    program, *arguments = shlex.split(command)
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*PROGRAMS[program], *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_is_a_file_or_a_console() -> None:
    assert {(kind, bool(path)) for kind, path, _ in BLOCKS} == {("python", True), ("yaml", True), ("console", False)}


def test_the_page_holds_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    tests = [value for name, value in vars(importlib.import_module("test_hint")).items() if name.startswith("test_")]
    for test in tests:
        test()
    assert f"{len(tests)} passed" in PAGE
    told = [(command.split()[1:], lines) for command, lines in shown() if command.startswith(("smilebench describe", "smilebench plan"))]
    assert len(told) == 2
    for arguments, lines in told:
        app.app(arguments, standalone_mode=False)
        out = capsys.readouterr().out
        assert all(line in out for line in lines)


@pytest.mark.slow
def test_every_command_of_the_page_runs_as_written(tmp_path: Path) -> None:
    write_files(tmp_path)
    for command, lines in shown():
        out = run(command, tmp_path)
        assert all(line in out for line in lines)
    assert len(list(tmp_path.glob("trial/runs/*/record.json"))) == 4
    assert "mypkg.hint:Hint+mixup" in (tmp_path / "trial" / "tables" / "main.md").read_text()
