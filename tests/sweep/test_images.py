"""What a sweep does about its images before anything trains: own images, published lists, damaged copies."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmark.config import grid
from benchmark.errors import UsageError
from benchmark.sweep import carry_out, plan
from benchmark.training.images import load_images
from benchmark.training.seeding import Streams
from datasets.arena import find
from datasets.base import DataError, open_dataset


def sweep(datasets: list[Any], **changes: Any) -> grid.Sweep:
    raw = {
        "name": "small",
        "datasets": datasets,
        "methods": ["fine_tuning"],
        "seeds": 1,
        "training": {"steps": 2, "batch_size": 4, "image_size": 32},
        "runtime": {"device": "cpu"},
        **changes,
    }
    return grid.expand(grid.SweepFile.model_validate(raw), [], "test")


@pytest.fixture
def classes(images: Path) -> Path:
    """Class folders without a split."""
    return images / "train"


def row(path: Path, **keys: Any) -> dict[str, Any]:
    return {"name": "mine", "use": f"folder:{path}", **keys}


def test_rows_of_own_images_take_their_split(classes: Path, images: Path, tmp_path: Path) -> None:
    found = sweep([row(classes, split=0.5)])
    carry_out.prepare_data(found.runs, Console(file=io.StringIO()))
    made = plan.make(found, tmp_path / "out")
    assert made.missing == ()
    assert made.present[0] == f"folder:{classes} (decoded)"
    data = found.runs[0].data
    arena = find(open_dataset(data.source), data.decode)
    assert len(arena.split("train")) == len(arena.split("test"))
    (images / "val").symlink_to(images / "test", target_is_directory=True)
    try:
        with pytest.raises(DataError, match="has a test split"):
            open_dataset(sweep([row(images, test_from="val")]).runs[0].data.source)
    finally:
        (images / "val").unlink()


def test_the_split_is_part_of_a_runs_identity_and_its_absence_changes_none(classes: Path) -> None:
    runs = [sweep([row(classes, **keys)]).runs[0] for keys in ({}, {"split": 0.5}, {"split": 0.6}, {"test_from": "val"})]
    assert len({run.config_hash for run in runs}) == 4
    assert runs[0].identity()["data"].keys() == sweep(["digits"]).runs[0].identity()["data"].keys()
    assert not {"split", "test_from"} & runs[0].identity()["data"].keys()


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"name": "d", "use": "digits", "split": 0.5}, r"datasets\.0\.split: data set 'digits' comes with its splits"),
        ({"name": "c", "use": "cifar10", "test_from": "val"}, r"datasets\.0\.test_from: data set 'cifar10'"),
        ({"name": "m", "use": "folder:/x", "split": 1.5}, r"data\.split: 1\.5"),
        ({"name": "m", "use": "csv:/x", "split": float("nan")}, r"data\.split"),
        ({"name": "m", "use": "csv:/x", "split": 0.5, "test_from": "val"}, "exclude each other"),
    ],
)
def test_splits_that_do_not_fit_are_errors_of_usage(item: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        sweep([item])


@pytest.mark.parametrize("text", ["class0/0.png\t0\nclass1/2.png\t1\n", "train/class0/0.png\tclass0\r\ntrain/class1/2.png  class1\r\n"])
def test_a_published_list_with_tabs_is_what_a_run_trains_on(images: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "list.txt").write_bytes(text.encode())
    found = sweep([row(images)], data={"train_list": str(tmp_path / "list.txt")}, training={"steps": 2, "batch_size": 2, "image_size": 32})
    plan.make(found, tmp_path / "out")
    carry_out.prepare_data(found.runs, Console(file=io.StringIO()))
    (run,) = found.runs
    loaded = load_images(run, Streams(run.dataset, run.fraction, run.seed))
    assert {loaded.train.keys[i] for i in loaded.train_index} == {"class0/0.png", "class1/2.png"}


@pytest.mark.parametrize(("text", "reason"), [("class0/0.png\t1\n", r"label '1' \(line 1\)"), ("class0/0.png\n", r"\(line 1\)")])
def test_a_published_list_that_does_not_fit_stops_the_plan(images: Path, tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    found = sweep([row(images, train_list=str(tmp_path / "list.txt"))])
    with pytest.raises(DataError, match=r"list\.txt: .*" + reason):
        plan.make(found, tmp_path / "out")


@pytest.mark.parametrize("name", ["train.bin", "test.bin"])
def test_a_decoded_copy_that_became_zeros_stops_the_sweep(images: Path, tmp_path: Path, name: str) -> None:
    found = sweep([row(images)], data={"resize": 33 if name == "train.bin" else 34})
    console = Console(file=io.StringIO())
    carry_out.prepare_data(found.runs, console)
    data = found.runs[0].data
    file = find(open_dataset(data.source), data.decode).path / name
    carry_out.verify_data(found.runs, console)
    size = file.stat().st_size
    file.write_bytes(bytes(size))
    with pytest.raises(DataError, match=rf"{name}: its checksum differs"):
        carry_out.complete(found, tmp_path / "out", 1, console)
    assert not (tmp_path / "out" / "runs").exists()
