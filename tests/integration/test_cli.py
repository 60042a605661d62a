"""The command line as a user meets it: bad input, failing runs, and a small sweep from nothing to its report."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def smilebench(*arguments: str, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmark", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


def sweep_file(folder: Path, images: Path, backbone: str, **changes: Any) -> str:
    content = {
        "name": "small",
        "backbone": backbone,
        "datasets": [{"name": "tiny", "use": f"folder:{images}"}],
        "seeds": 2,
        "methods": ["fine_tuning", "smile"],
        "training": {"steps": 6, "batch_size": 8, "image_size": 32, "log_every": 2},
        "linearity": {"pairs": 4, "lambdas": 3},
        **changes,
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def two_classes(folder: Path, classes: int = 2) -> Path:
    for split in ("train", "test"):
        for label in range(classes):
            (folder / split / f"c{label}").mkdir(parents=True)
            for n in range(4):
                Image.new("RGB", (40, 40), (60 * n, 90 * label, 0)).save(folder / split / f"c{label}" / f"{n}.png")
    return folder


def test_a_sweep_from_nothing_to_its_report_and_again(images: Path, backbone: str, tmp_path: Path) -> None:
    sweep = sweep_file(tmp_path, images, backbone)
    before = smilebench("plan", sweep, cwd=tmp_path)
    assert "4 new" in before.stdout
    assert not (tmp_path / "results").exists()
    first = smilebench("sweep", sweep, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "report.html" in first.stdout
    out = tmp_path / "results" / "small"
    assert {"runs.csv", "runs.parquet", "tables", "figures", "report.html"} <= {path.name for path in out.iterdir()}
    records = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")}
    drawn = (out / "report.html").stat().st_mtime_ns
    second = smilebench("sweep", sweep, cwd=tmp_path, timeout=120)
    assert second.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")} == records
    assert len(records) == 4
    assert not list(out.glob("runs/*/checkpoint"))
    assert (out / "report.html").stat().st_mtime_ns == drawn
    assert "4 done" in smilebench("status", sweep, cwd=tmp_path).stdout
    run_id = next(iter(records)).parent.name
    assert "done" in smilebench("logs", run_id, cwd=tmp_path).stdout
    explained = smilebench("explain", sweep, "smile", cwd=tmp_path).stdout
    assert "2 of 2 runs finished" in explained
    assert all(path.parent.name in explained for path in records if "-smile-" in path.parent.name)
    assert run_id in smilebench("explain", sweep, run_id, cwd=tmp_path).stdout


@pytest.mark.slow
def test_a_run_that_turns_nan_fails_with_its_reason_and_the_others_finish(images: Path, backbone: str, tmp_path: Path) -> None:
    diverge = [{"match": {"method": "smile"}, "set": {"training.lr": 1e30}}]
    done = smilebench("sweep", sweep_file(tmp_path, images, backbone, seeds=1, overrides=diverge), cwd=tmp_path)
    assert done.returncode == 1
    assert "loss is not finite at step" in done.stdout
    failure = json.loads(next((tmp_path / "results/small/runs").glob("*smile*/failure.json")).read_text())
    assert failure["kind"] == "nan"
    assert len(list((tmp_path / "results/small/runs").glob("*fine_tuning*/record.json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep", "nothing"], ["unknown sweep 'nothing'", "quick"]),
        (["sweep", "{sweep}", "training.stepz=1"], ["training.stepz", "did you mean 'steps'"]),
        (["plan", "{sweep}", "methods=[fine_tuning,l2_sp+mixup+cutmix]"], ["both mix inputs"]),
        (["sweep", "{sweep}", "datasets=[{name: x, use: 'folder:/nowhere'}]"], ["/nowhere"]),
        (["train", "method=smile"], ["datasets", "missing"]),
        (["describe", "smiel"], ["did you mean 'smile'"]),
        (["backbones", "verify", "resnet18.a1_in1k"], ["is not prepared", "smilebench backbones prepare resnet18.a1_in1k"]),
        (["explain", "{sweep}", "tiny/1/smiel"], ["no cell or run 'tiny/1/smiel'", "nearest: tiny/1/smile", "methods: fine_tuning, smile"]),
        (["logs", "nothing"], ["no run 'nothing'"]),
    ],
)
def test_bad_input_exits_with_2_and_says_why(arguments: list[str], words: list[str], images: Path, backbone: str, tmp_path: Path) -> None:
    sweep = sweep_file(tmp_path, images, backbone)
    done = smilebench(*[part.replace("{sweep}", sweep) for part in arguments], cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in " ".join(done.stderr.split()), done.stderr
    assert not list(tmp_path.glob("results/*/runs/*/claims"))


def test_a_folder_with_one_class_or_a_broken_image_is_refused_before_any_run(backbone: str, tmp_path: Path) -> None:
    one = two_classes(tmp_path / "one", classes=1)
    done = smilebench("sweep", sweep_file(tmp_path, one, backbone), cwd=tmp_path)
    assert done.returncode == 2
    assert "class" in done.stderr
    broken = two_classes(tmp_path / "broken")
    (broken / "train/c1/2.png").write_bytes(b"no image")
    done = smilebench("sweep", sweep_file(tmp_path, broken, backbone), cwd=tmp_path)
    assert done.returncode == 2
    assert "train/c1/2.png" in done.stderr.replace("\n", "")
    assert not list(tmp_path.glob("results/*/runs/*/claims"))


@pytest.mark.slow
def test_weights_of_another_architecture_are_refused_before_any_run(images: Path, backbone: str, tmp_path: Path) -> None:
    other = backbone.replace("test_resnet@", "test_efficientnet@")
    done = smilebench("sweep", sweep_file(tmp_path, images, other), cwd=tmp_path)
    assert done.returncode == 2
    assert "does not fit test_efficientnet" in " ".join((done.stdout + done.stderr).split())
    assert not list(tmp_path.glob("results/*/runs/*/claims"))


def test_an_output_that_cannot_be_written_is_refused(images: Path, backbone: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, no folder")
    done = smilebench("sweep", sweep_file(tmp_path, images, backbone), "--out", str(tmp_path / "taken"), cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def test_another_package_called_datasets_is_named(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, "-P", "-m", "benchmark", "doctor"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not SmileBench's" in " ".join(done.stderr.split())


def test_train_carries_out_one_run_and_reports_it(images: Path, backbone: str, tmp_path: Path) -> None:
    settings = ["training.steps=4", "training.batch_size=8", "training.image_size=32", "linearity.pairs=0", "pretrained=false"]
    data = f"dataset={{name: tiny, use: 'folder:{images}'}}"
    arguments = ["train", "method=smile", data, f"backbone={backbone}", "seed=3", *settings]
    done = smilebench(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("results/single/runs/*/record.json")
    record = json.loads(path.read_text())
    assert (record["method"], record["seed"], record["steps"], record["linearity"]) == ("smile", 3, 4, None)
    assert "report.html" in done.stdout
    again = smilebench(*arguments, cwd=tmp_path, timeout=120)
    assert again.returncode == 0
    assert record == json.loads(path.read_text())
