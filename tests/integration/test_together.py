"""Two people start the same sweep of real runs at once; one of them is paused for longer than a claim lives without a heartbeat."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.integration.sweeping import WAIT, Sweep, children, end, wait_for
from tests.integration.test_cli import sweep_file

SETTINGS = {
    "methods": ["fine_tuning", "smile"],
    "seeds": 3,
    "training": {"steps": 60, "batch_size": 8, "image_size": 32, "log_every": 20},
    "linearity": {"pairs": 4, "lambdas": 3},
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes through /proc")]


def claims(sweep: Sweep) -> dict[str, list[dict]]:
    """Who claimed each run, in order, with the time at which it was let go."""
    found = {}
    for run_id, run in sweep.runs().items():
        numbers = sorted(int(path.name) for path in run.claims.iterdir() if path.name.isdecimal())
        ends = {n: json.loads(path.read_text()) for n in numbers if (path := run.claims / f"{n}.end").exists()}
        found[run_id] = [{**json.loads((run.claims / str(n)).read_text()), "end": ends.get(n)} for n in numbers]
    return found


def test_two_commands_share_the_runs_and_both_end_well(images: Path, backbone: str, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, images, backbone, **SETTINGS)
    alone = Sweep(file, tmp_path / "alone")
    assert alone.finish() == 0, alone.shown
    one, other = (Sweep(file, tmp_path / "shared", workers=1) for _ in range(2))
    processes = [one.start(), other.start()]
    try:
        assert [process.wait(WAIT) for process in processes] == [0, 0], one.shown
    finally:
        for process in processes:
            end(process)
    assert one.records() == alone.records()
    assert len(one.records()) == 6
    for run_id, owners in claims(one).items():
        assert len(owners) == 1, run_id
        assert owners[0]["end"]["reason"] == "done"
    assert len({owners[0]["session"] for owners in claims(one).values()}) == 2
    assert one.shown.count("report: ") == 2
    assert (one.out / "report.html").read_text().rstrip().endswith("</html>")
    assert not list(one.out.rglob(".tmp-*"))


def test_a_paused_worker_that_wakes_after_losing_its_run_stops_without_writing(images: Path, backbone: str, tmp_path: Path) -> None:
    """The claim is lost by the clock alone: its process lives all the time."""
    long = {"training": {**SETTINGS["training"], "steps": 200}, "runtime": {"checkpoint_seconds": 0.3}, "seeds": 1}
    file = sweep_file(tmp_path, images, backbone, **{**SETTINGS, **long})
    stale = {"SMILEBENCH_STALE_SECONDS": "10"}
    paused, taker = (Sweep(file, tmp_path / "shared", workers=1, **stale) for _ in range(2))
    first = paused.start()
    second = None
    try:
        wait_for(lambda: any(run.saved_step() for run in paused.runs().values()))
        (worker,) = children(first.pid)
        os.kill(worker, signal.SIGSTOP)
        (lost,) = (run for run in paused.runs().values() if (run.claims / "1").exists() and not (run.claims / "1.end").exists())
        second = taker.start()
        assert second.wait(WAIT) == 0, taker.shown
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in lost.path.rglob("*") if path.is_file()}
        os.kill(worker, signal.SIGCONT)
        assert first.wait(WAIT) == 0, paused.shown
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in lost.path.rglob("*") if path.is_file()} == before
    finally:
        for process in filter(None, (first, second)):
            end(process)
    assert len(taker.records()) == 2
    owners = claims(taker)[lost.run_id]
    assert owners[0]["pid"] == worker
    assert [owner["end"] and owner["end"]["reason"] for owner in owners] == [None, "done"]
    assert re.search(rf"{re.escape(lost.run_id)}: lost", paused.shown)
    assert any(taker.resumed_at())
