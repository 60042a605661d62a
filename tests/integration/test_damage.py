"""Files of a finished results folder are cut, zeroed or of another shape: every command goes on, and only what was damaged is redone."""

import json
import random
import shutil
import sys
from pathlib import Path

import pytest

from benchmark.cli import app
from benchmark.storage.run_folder import RunFolder
from tests.integration.sweeping import steady
from tests.integration.test_cli import sweep_file

ROUNDS, DAMAGES = 10, 20
SETTINGS = {
    "methods": ["fine_tuning", "linear_probe"],
    "seeds": 4,
    "training": {"steps": 4, "batch_size": 8, "image_size": 32, "log_every": 2},
    "linearity": {"pairs": 4, "lambdas": 3},
}
SHAPES = [b"[]", b"null", b'"text"', b"7", b"{}", b'{"reason": null}']

pytestmark = pytest.mark.slow


def command(*arguments: str) -> int:
    """The exit code of a command in this process; an exception that would be a traceback fails the test."""
    before, sys.argv = sys.argv, ["smilebench", *arguments]
    try:
        app.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def damage(path: Path, rng: random.Random) -> str:
    content = path.read_bytes()
    kind = rng.choice(["cut", "zeroed", "shape", "noise"])
    if kind == "cut":
        path.write_bytes(content[: rng.randrange(len(content))] if content else b"")
    elif kind == "zeroed":
        path.write_bytes(bytes(len(content)))
    elif kind == "shape":
        path.write_bytes(rng.choice(SHAPES))
    else:
        path.write_bytes(rng.randbytes(max(1, len(content))))
    return f"{kind} {path.parent.name}/{path.name}"


def test_two_hundred_damages(images: Path, backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(0)
    file = sweep_file(tmp_path, images, backbone, **SETTINGS)
    whole = tmp_path / "whole"
    assert command("sweep", file, "--out", str(whole), "--workers", "1") == 0
    records = {path.parent.name: steady(json.loads(path.read_text())) for path in whole.glob("runs/*/record.json")}
    redone = 0
    for number in range(ROUNDS):
        out = tmp_path / f"damaged{number}"
        shutil.copytree(whole, out)
        files = sorted(path for path in out.rglob("*") if path.is_file() and path.suffix != ".log")
        in_runs = [path for path in files if "runs" in path.parts]
        chosen = rng.sample(in_runs, DAMAGES - 3) + rng.sample(files, 3)
        done = [damage(path, rng) for path in dict.fromkeys(chosen)]
        kept = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json") if path not in chosen}
        lost = [run for run_id in records if (run := RunFolder(out / "runs" / run_id)).record() != json.loads(_record(whole, run_id))]
        capsys.readouterr()
        for verb in ("status", "plan"):
            assert command(verb, file, "--out", str(out)) == 0, done
            shown = capsys.readouterr()
            assert "Traceback" not in shown.out + shown.err, done
            if any(run.record() is None for run in lost):
                assert "record.json is damaged" in " ".join(shown.out.split()), done
        assert command("report", file, "--out", str(out)) in (0, 2), done
        assert command("sweep", file, "--out", str(out), "--workers", "1") == 0, (done, capsys.readouterr())
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err, done
        assert {path: path.stat().st_mtime_ns for path in kept} == kept, done
        for run_id in records:
            run = RunFolder(out / "runs" / run_id)
            assert run.record() is not None, (run_id, done)
            assert steady(run.record() or {}) == records[run_id], (run_id, done)
        redone += len(lost)
        with capsys.disabled():
            print(f"{(number + 1) * DAMAGES} damages, {redone} records redone", flush=True)
        shutil.rmtree(out)
    print(f"{ROUNDS * DAMAGES} damages; {redone} damaged records were redone")
    assert redone > 0


def _record(out: Path, run_id: str) -> str:
    return (out / "runs" / run_id / "record.json").read_text()
