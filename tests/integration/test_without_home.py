"""A whole sweep by a user whom the system does not know, as in a container that runs under an arbitrary number."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.sweeping import ROOT, Sweep
from tests.integration.test_cli import sweep_file

pytestmark = pytest.mark.slow

NOBODY = """import pwd


def nobody(*_):
    raise KeyError("getpwuid(): uid not found")


pwd.getpwuid = nobody
"""


@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_a_user_without_a_home_carries_out_a_sweep(home: str | None, images: Path, backbone: str, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NOBODY)
    sweep = Sweep(
        sweep_file(tmp_path, images, backbone, seeds=1), tmp_path, workers=1, PYTHONPATH=f"{tmp_path / 'site'}:{ROOT}", HOME=home or ""
    )
    if home is None:
        del sweep._environment["HOME"]
        asked = [sys.executable, "-c", "import pathlib; pathlib.Path.home()"]
        assert b"Could not determine home" in subprocess.run(asked, env=sweep._environment, capture_output=True, check=False).stderr
    assert sweep.finish() == 0, sweep.shown
    assert sweep.states() == ["done", "done"]
    assert (sweep.out / "report.html").is_file()
    assert "Traceback" not in sweep.shown
