"""SIGKILL to runner and workers at random moments of a real sweep: nothing finished is lost or redone, and the records stay the same."""

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.integration.sweeping import Sweep, children
from tests.integration.test_cli import sweep_file

KILLS, RESUMED = 20, 8
SETTINGS = {
    "methods": ["fine_tuning", "delta", "smile", "rifle"],
    "seeds": 2,
    "training": {"steps": 1000, "batch_size": 8, "image_size": 32, "log_every": 50},
    "linearity": {"pairs": 64, "lambdas": 5},
    "runtime": {"checkpoint_seconds": 0.5},
}

pytestmark = pytest.mark.slow


class Killed(Sweep):
    """A sweep whose processes are killed, and what its checkpoints were worth then."""

    def wait_for_a_claim(self) -> None:
        before = len(list(self.folder.glob(CLAIMS)))
        while self.process.poll() is None and len(list(self.folder.glob(CLAIMS))) == before:
            time.sleep(0.02)

    def kill(self, whom: str) -> None:
        """SIGKILL to the ``runner``, to one ``worker``, or to ``all``."""
        workers = children(self.process.pid)
        targets = {"runner": [self.process.pid], "worker": workers[:1], "all": [self.process.pid, *workers]}[whom]
        for pid in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if whom != "worker":
            self.process.wait()
            while any(Path(f"/proc/{pid}").exists() for pid in workers):
                time.sleep(0.02)

    def unsaved_seconds(self) -> list[float]:
        """Age of the newest checkpoint of every run that is training and has saved since it was last claimed."""
        now, ages = time.time(), []
        for path in self.folder.glob("results/small/runs/*/checkpoint/step.json"):
            claims = path.parent.parent / "claims"
            last = max(int(claim.name) for claim in claims.iterdir() if claim.name.isdecimal())
            saved, claimed = path.stat().st_mtime, json.loads((claims / str(last)).read_text())["time"]
            training = json.loads(path.read_text())["step"] < SETTINGS["training"]["steps"]
            if training and saved > claimed and not (claims / f"{last}.end").exists():
                ages.append(now - saved)
        return ages


CLAIMS = "results/small/runs/*/claims/*[0-9]"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes through /proc")
def test_twenty_kills_lose_nothing_and_change_nothing(images: Path, backbone: str, tmp_path: Path) -> None:
    rng = random.Random(0)
    file = sweep_file(tmp_path, images, backbone, **SETTINGS)
    whole = Killed(file, tmp_path / "whole")
    assert whole.start().wait() == 0
    expected, kills, resumed, unsaved = whole.records(), 0, [], []
    while kills < KILLS:
        sweep = Killed(file, tmp_path / f"cut{kills}")
        while len(sweep.records()) < len(expected):
            if sweep.process is None or sweep.process.poll() is not None:
                sweep.start()
                sweep.wait_for_a_claim()
            time.sleep(rng.uniform(0, 5))
            if kills < KILLS and sweep.process.poll() is None:
                unsaved += sweep.unsaved_seconds()
                sweep.kill(rng.choice(["runner", "worker", "all", "all"]))
                sweep.nothing_is_lost_or_redone()
                kills += 1
        assert sweep.start().wait() == 0, (sweep.folder / "out.txt").read_text()
        assert sweep.records() == expected
        resumed += sweep.resumed_at()
    # How old a checkpoint may be is held by tests/training/test_checkpoint.py, in steps: here the ages are also those of a busy machine.
    print(f"{kills} kills; resumed at {resumed}; age of checkpoints at a kill, seconds: {[round(age, 1) for age in unsaved]}")
    assert sum(step > 0 for step in resumed) >= RESUMED


MANY = 100
SHORT = {
    **SETTINGS,
    "methods": ["fine_tuning", "linear_probe", "l2_sp", "mixup", "smile", "rifle"],
    "training": {**SETTINGS["training"], "steps": 150},
    "runtime": {"checkpoint_seconds": 0.1},
}


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        return [pid, *(each for child in children(pid) for each in tree(child))]
    except (FileNotFoundError, ProcessLookupError):
        return []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes through /proc")
def test_a_hundred_kills_of_any_process_lose_nothing(images: Path, backbone: str, tmp_path: Path) -> None:
    """At any moment: while Python starts, before a claim, between two runs, while the report is drawn."""
    rng = random.Random(1)
    file = sweep_file(tmp_path, images, backbone, **SHORT)
    whole = Killed(file, tmp_path / "whole")
    assert whole.start().wait() == 0
    expected, kills, sweeps = whole.records(), {"runner": 0, "worker": 0}, 0
    assert len(expected) == 12
    while sum(kills.values()) < MANY:
        sweep, sweeps = Killed(file, tmp_path / f"cut{sweeps}"), sweeps + 1
        while len(sweep.records()) < len(expected) and sum(kills.values()) < MANY:
            if sweep.process is None or sweep.process.poll() is not None:
                sweep.start()
            time.sleep(rng.uniform(0, 3))
            pids = tree(sweep.process.pid)
            if sweep.process.poll() is None and pids:
                pid = rng.choice(pids)
                workers = pids[1:]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                kills["runner" if pid == sweep.process.pid else "worker"] += 1
                if pid == sweep.process.pid:
                    sweep.process.wait()
                    while any(Path(f"/proc/{worker}").exists() for worker in workers):
                        time.sleep(0.02)
                sweep.nothing_is_lost_or_redone()
        if sweep.process is not None:
            sweep.process.wait()
        assert sweep.finish() == 0, sweep.shown
        sweep.nothing_is_lost_or_redone()
        assert sweep.records() == expected
        assert not list(sweep.out.glob("runs/*/.tmp-*"))
    print(f"{kills} kills in {sweeps} sweeps of {len(expected)} runs: 0 lost, 0 redone, records equal")
