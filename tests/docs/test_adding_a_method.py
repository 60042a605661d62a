"""The walk through adding a method, done as it is written: its files are written, its commands run, its outputs looked for."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

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


def run(command: str, folder: Path) -> str:
    program, *arguments = shlex.split(command)
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*PROGRAMS[program], *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_files(folder: Path) -> None:
    for _, path, text in BLOCKS:
        if path:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)


def follow(folder: Path, *, sweeps: bool) -> int:
    """Run the page's commands, those that train a sweep or the others; how many there were."""
    write_files(folder)
    count = 0
    for command, expected in (pair for kind, _, text in BLOCKS if kind == "console" for pair in commands(text)):
        if command == "export PYTHONPATH=$PWD" or command.startswith("smilebench sweep ") != sweeps:
            continue
        shown = run(command, folder)
        for line in expected:
            assert line in shown
        count += 1
    return count


def test_every_block_is_a_file_or_a_console() -> None:
    assert {(kind, bool(path)) for kind, path, _ in BLOCKS} == {("python", True), ("yaml", True), ("console", False)}


def test_the_page_holds_up_to_the_sweep(tmp_path: Path) -> None:
    assert follow(tmp_path, sweeps=False) == 3


@pytest.mark.slow
def test_the_sweep_of_the_page_gives_a_report_with_its_method(tmp_path: Path) -> None:
    assert follow(tmp_path, sweeps=True) == 1
    assert len(list(tmp_path.glob("trial/runs/*/record.json"))) == 4
    assert "mypkg.hint:Hint+mixup" in (tmp_path / "trial" / "tables" / "main.md").read_text()
