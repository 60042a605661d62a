"""The disk of a real sweep fills up, or becomes read-only, in its middle: runs fail with that reason, and the rerun completes."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.sweeping import WAIT, Sweep, end, wait_for
from tests.integration.test_cli import sweep_file

SETTINGS = {
    "methods": ["fine_tuning", "mixup"],
    "seeds": 2,
    "training": {"steps": 120, "batch_size": 8, "image_size": 32, "log_every": 20},
    "linearity": {"pairs": 4, "lambdas": 3},
    "runtime": {"checkpoint_seconds": 0.2},
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def file(images: Path, backbone: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return sweep_file(tmp_path_factory.mktemp("sweep"), images, backbone, **SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(file: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    whole = Sweep(file, tmp_path_factory.mktemp("whole"))
    assert whole.finish() == 0, whole.shown
    return whole.records()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Mounts a small file system of its own on a folder; undone after the test."""
    mounted = []

    def on(folder: Path) -> None:
        folder.mkdir(parents=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a file system of its own cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)

    yield on
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, mode: str) -> bool:
    """False while a file in it is being written."""
    return subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], capture_output=True, check=False).returncode == 0


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as target:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    target.write(bytes(size))


def in_the_middle(sweep: Sweep) -> bool:
    """One run is done and another has saved."""
    return "done" in sweep.states() and any(run.saved_step() for run in sweep.runs().values() if run.state() == "running")


def completes(sweep: Sweep, undisturbed: dict[str, dict]) -> None:
    sweep.nothing_is_lost_or_redone()
    assert sweep.finished
    assert sweep.finish() == 0, sweep.shown
    sweep.nothing_is_lost_or_redone()
    assert sweep.records() == undisturbed
    assert not list(sweep.out.glob("runs/*/**/.tmp-*"))


def test_a_disk_that_fills_up(mount: Callable[[Path], None], file: str, undisturbed: dict, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    mount(disk)
    sweep = Sweep(file, tmp_path / "cut", workers=1, out=disk / "small")
    process = sweep.start()
    try:
        wait_for(lambda: in_the_middle(sweep))
        fill(disk / "filler")
        assert process.wait(WAIT) == 1, sweep.shown
    finally:
        end(process)
    assert sweep.shown.count("No space left on device") >= 3
    assert "the report could not be written: No space left on device" in sweep.shown
    sweep.nothing_is_lost_or_redone()
    assert sweep.finish() == 2, sweep.shown  # refused before any run
    assert "Traceback" not in sweep.shown, sweep.shown
    (disk / "filler").unlink()
    completes(sweep, undisturbed)


def test_a_results_folder_that_becomes_read_only(mount: Callable[[Path], None], file: str, undisturbed: dict, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root may remount")
    sweep = Sweep(file, tmp_path / "cut", workers=1)
    mount(sweep.out / "runs")
    process = sweep.start()
    try:
        wait_for(lambda: in_the_middle(sweep))
        wait_for(lambda: remount(sweep.out / "runs", "ro"))
        assert process.wait(WAIT) == 1, sweep.shown
    finally:
        end(process)
    assert sweep.shown.count("Read-only file system") >= 3
    sweep.nothing_is_lost_or_redone()
    assert sweep.finish() == 2, sweep.shown
    assert "Traceback" not in sweep.shown, sweep.shown
    assert remount(sweep.out / "runs", "rw")
    completes(sweep, undisturbed)
