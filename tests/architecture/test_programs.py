"""Fast tests find no program of the machine but those that the project's set-up needs, and slow ones may not be skipped silently."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import BASIC, REQUIRED

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "slurmctld", "chromium", "google-chrome", "latex", "pdflatex", "gcc")
CALLS = """
import os, subprocess, pytest
from tests.programs import lacking

@pytest.mark.parametrize("name", {names})
def test_fast(name):
    subprocess.run([name], check=True)

@pytest.mark.slow
@pytest.mark.parametrize("name", {names})
def test_slow(name):
    subprocess.run([name], check=True)

@pytest.mark.slow
def test_lacking():
    lacking("chromium", "it is not here")
"""


@pytest.fixture
def tests_that_call(tmp_path: Path) -> Path:
    """Tests that call programs of Slurm and others, all of which are on this machine."""
    (tmp_path / "bin").mkdir()
    for name in FOREIGN:
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    path = tmp_path / "test_calls.py"
    path.write_text(CALLS.format(names=FOREIGN))
    return path


def outcome(file: Path, required: str) -> str:
    """The last line of pytest over all of them, fast and slow: how many failed, passed, were skipped."""
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--noconftest", "-p", "tests.programs", "-m", "", "-rN"]
    own = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", REQUIRED: required}
    environment = {**os.environ, **own, "PATH": f"{file.parent}/bin:{os.environ['PATH']}"}
    done = subprocess.run([*command, "--tb=no", str(file)], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[-1]


def test_a_fast_test_that_reaches_for_a_program_of_the_machine_fails(tests_that_call: Path) -> None:
    each = len(FOREIGN)
    assert outcome(tests_that_call, "slurm").startswith(f"{each} failed, {each} passed, 1 skipped"), "fast ones fail, slow ones find them"


def test_a_slow_test_fails_for_want_of_a_program_that_was_installed_for_it(tests_that_call: Path) -> None:
    each = len(FOREIGN)
    assert outcome(tests_that_call, "slurm,chromium").startswith(f"{each + 1} failed, {each} passed")


def test_this_test_finds_the_basic_programs_alone() -> None:
    (folder,) = os.environ["PATH"].split(os.pathsep)
    assert set(os.listdir(folder)) <= set(BASIC)
