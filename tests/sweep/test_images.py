"""What a sweep does about its images before anything trains: own images, published lists, damaged copies."""

import io
import shutil
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
from datasets.base import DataError, Item, accept_missing, open_dataset


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


@pytest.mark.parametrize("name", ["val", "validation"])
def test_rows_of_own_images_take_another_split_for_test(images: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    for split, source in (("train", "train"), (name, "test")):
        (tmp_path / "mine" / split).symlink_to(images / source, target_is_directory=True)
    refused = plan.make(sweep([row(tmp_path / "mine")]), tmp_path / "out")
    assert f"test_from: {name}}} takes {name}/ for test" in refused.missing[0]
    found = sweep([row(tmp_path / "mine", test_from=name)])
    carry_out.prepare_data(found.runs, Console(file=io.StringIO()))
    assert plan.make(found, tmp_path / "out").missing == ()
    data = found.runs[0].data
    other = open_dataset(f"folder:{images}")
    assert open_dataset(data.source).splits["test"] == tuple(
        Item(item.key, item.label, tmp_path / "mine" / name / item.key) for item in other.splits["test"]
    )
    assert find(open_dataset(data.source), data.decode).split("test").keys == tuple(item.key for item in other.splits["test"])


def test_a_list_of_which_part_is_missing_is_planned_where_that_was_accepted(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "mine")
    files = sorted((tmp_path / "mine").rglob("*.png"))
    rows = [f"{file},{file.parent.name},{file.parent.parent.name}" for file in files]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    found = sweep([{"name": "mine", "use": f"csv:{tmp_path / 'list.csv'}"}])
    assert (made := plan.make(found, tmp_path / "out")).missing == made.incomplete == ()
    files[0].unlink()
    assert f"1 of {len(files)} images are missing: {files[0]} (line 2)" in plan.make(found, tmp_path / "out").missing[0]
    accept_missing("csv", tmp_path / "list.csv")
    made = plan.make(found, tmp_path / "out")
    assert made.missing == ()
    assert made.incomplete == (f"csv:{tmp_path / 'list.csv'}: 1 listed files are missing, among them {files[0]}",)


def test_a_test_split_that_lacks_a_class_is_planned_and_said(images: Path, tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    shutil.copytree(images, lacking)
    shutil.rmtree(sorted((lacking / "test").iterdir())[1])
    found = sweep([row(lacking)])
    shown = io.StringIO()
    carry_out.prepare_data(found.runs, Console(file=shown, width=500))
    assert "test has no image of 1 of the 3 classes (class1); its mean over classes is over the others" in shown.getvalue()
    assert plan.make(found, tmp_path / "out").missing == ()


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


@pytest.mark.parametrize("how", ["zeros", "one bit"])
@pytest.mark.parametrize("name", ["train.bin", "test.bin"])
def test_a_decoded_copy_that_became_another_stops_the_sweep(
    images: Path, tmp_path: Path, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path / "cache"))
    found = sweep([row(images)])
    console = Console(file=io.StringIO())
    carry_out.prepare_data(found.runs, console)
    data = found.runs[0].data
    file = find(open_dataset(data.source), data.decode).path / name
    carry_out.verify_data(found.runs, console)
    content = bytearray(file.read_bytes())
    if how == "zeros":
        content = bytearray(len(content))
    else:
        content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: its checksum differs"):
        carry_out.complete(found, tmp_path / "out", 1, console)
    assert not (tmp_path / "out" / "runs").exists()
