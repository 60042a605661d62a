"""A second test set: evaluated beside ``test`` with the same network, with fields, files, columns and hashes of its own."""

import csv
import io
import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image, ImageOps
from rich.console import Console

from benchmark.config import grid
from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.report.build import build
from benchmark.storage.run_folder import RunFolder
from benchmark.sweep import carry_out, plan
from benchmark.sweep.results import asked_for
from benchmark.training.images import open_arena
from benchmark.training.run import Interrupted, preflight, train
from benchmark.tuning import trials
from datasets.base import DataError, open_dataset
from tests.integration.test_cli import smilebench, sweep_file
from tests.runs import Notebook, config
from tests.training.test_run import steady

CONSOLE = Console(file=io.StringIO())


@pytest.fixture
def shifted(images: Path, tmp_path: Path) -> Path:
    """Class folders without a split: the test images with their colours inverted."""
    target = tmp_path / "shifted"
    for file in sorted((images / "test").glob("*/*.png")):
        (target / file.parent.name).mkdir(parents=True, exist_ok=True)
        ImageOps.invert(Image.open(file).convert("RGB")).save(target / file.parent.name / file.name)
    return target


@pytest.fixture
def made(images: Path, backbone: str) -> Callable[..., RunConfig]:
    """The config of a run with the second test set ``use``."""

    def make(use: object = None, name: str = "shifted", **changes: Any) -> RunConfig:
        also = {} if use is None else {"data": {"also_test": {"name": name, "use": str(use)}}}
        return config(images, backbone, **also, **changes)

    return make


def test_it_changes_nothing_but_what_is_its_own(made: Callable[..., RunConfig], shifted: Path, tmp_path: Path) -> None:
    train(made(), Notebook(tmp_path / "without"))
    train(made(f"folder:{shifted}"), Notebook(tmp_path / "with"))
    without, found = steady(tmp_path / "without"), steady(tmp_path / "with")
    assert {key for key in {**found, **without} if found.get(key) != without.get(key)} == {"also_test", "run_id", "config_hash"}
    assert "also_test" not in without
    assert (tmp_path / "with" / "predictions.parquet").read_bytes() == (tmp_path / "without" / "predictions.parquet").read_bytes()


def test_its_numbers_are_those_of_its_predictions(made: Callable[..., RunConfig], shifted: Path, tmp_path: Path) -> None:
    run = made(f"folder:{shifted}")
    train(run, Notebook(tmp_path / "run"))
    ours = json.loads((tmp_path / "run" / "record.json").read_text())["also_test"]["shifted"]
    rows = pq.read_table(tmp_path / "run" / "predictions-shifted.parquet").to_pandas()
    assert ours["num_images"] == len(rows) == 18
    assert ours["accuracy"] == np.mean(rows.label == rows.top1)
    assert ours["mean_class_accuracy"] == pytest.approx((rows.label == rows.top1).groupby(rows.label).mean().mean())
    assert ours["nll"] == pytest.approx(-np.log(rows.true_probability).mean(), rel=1e-5)
    assert 0 <= ours["ece"] <= 1
    assert ours["data_hash"] == open_arena(run.data.also_test.source, run.data.decode).data_hash


def test_the_same_images_give_the_same_numbers_from_every_layout(made: Callable[..., RunConfig], images: Path, tmp_path: Path) -> None:
    lines = [f"{file},{file.parent.name}" for file in sorted((images / "test").glob("*/*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines]))
    (tmp_path / "one").mkdir()
    shutil.copytree(images / "test", tmp_path / "one" / "test")
    for number, use in enumerate(
        (f"folder:{images}", f"folder:{images / 'test'}", f"folder:{tmp_path / 'one'}", f"csv:{tmp_path / 'list.csv'}")
    ):
        train(made(use, "same"), Notebook(tmp_path / f"run{number}"))
        record = json.loads((tmp_path / f"run{number}" / "record.json").read_text())
        pairs = {"accuracy": "test_accuracy", "mean_class_accuracy": "test_mean_class_accuracy", "nll": "test_nll", "ece": "test_ece"}
        assert {ours: record["also_test"]["same"][ours] for ours in pairs} == pytest.approx({a: record[b] for a, b in pairs.items()})


def test_classes_in_another_order_are_matched_by_name(backbone: str, tmp_path: Path) -> None:
    """A decomposed accent sorts before, a composed one behind the plain letters."""
    composed, decomposed = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))
    for root, names in (("train", (composed, "zoo")), ("test", (composed, "zoo")), ("other", (decomposed, "zoo"))):
        for level, name in enumerate(names):
            (tmp_path / root / name).mkdir(parents=True)
            for n in range(4 + level):
                Image.new("RGB", (40, 40), (250 * level, 20 * n, 0)).save(tmp_path / root / name / f"{n}.png")
    run = config(tmp_path, backbone, data={"also_test": {"name": "other", "use": f"folder:{tmp_path / 'other'}"}})
    assert open_dataset(run.data.source).classes == ("zoo", composed)
    assert open_dataset(run.data.also_test.source).classes == (decomposed, "zoo")
    train(run, Notebook(tmp_path / "run"))
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["also_test"]["other"]["nll"] == pytest.approx(record["test_nll"])
    rows = pq.read_table(tmp_path / "run" / "predictions-other.parquet").to_pandas()
    assert rows.label_name.value_counts().to_dict() == {composed: 4, "zoo": 5}


def test_a_run_stopped_while_it_is_evaluated_ends_the_same(made: Callable[..., RunConfig], shifted: Path, tmp_path: Path) -> None:
    run = made(f"folder:{shifted}")
    train(run, Notebook(tmp_path / "whole"))
    session = Notebook(tmp_path / "cut")

    def stop(phase: str) -> None:
        if phase == "evaluate shifted":
            session.stop_requested = lambda: True

    session.on_progress = stop
    with pytest.raises(Interrupted, match="evaluate shifted"):
        train(run, session)
    assert not (tmp_path / "cut" / "record.json").exists()
    train(run, Notebook(tmp_path / "cut", claim=2))
    assert steady(tmp_path / "cut") == steady(tmp_path / "whole")
    name = "predictions-shifted.parquet"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_its_name_and_not_its_place_is_part_of_a_runs_identity(made: Callable[..., RunConfig]) -> None:
    runs = [made(), made("folder:/a"), made("folder:/b"), made("folder:/a", "other")]
    assert runs[1].config_hash == runs[2].config_hash
    assert len({run.config_hash for run in runs}) == 3
    assert "also_test" not in runs[0].identity()["data"]


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_other_classes_are_refused_by_the_plan_and_before_training(
    change: str, made: Callable[..., RunConfig], shifted: Path, tmp_path: Path
) -> None:
    if change == "missing":
        shutil.rmtree(shifted / "class1")
        words = r"data\.also_test: 'folder:.*shifted': its classes are not .*: missing class1, not in train none"
    else:
        shutil.copytree(shifted / "class1", shifted / "class9")
        words = r"missing none, not in train class9"
    run = made(f"folder:{shifted}")
    sweep = grid.Sweep("small", "fine_tuning", "smile", ("fine_tuning",), (run,))
    with pytest.raises(DataError, match=words):
        plan.make(sweep, tmp_path / "out")
    with pytest.raises(DataError, match=words):
        preflight([run])
    with pytest.raises(DataError, match=words):
        carry_out.complete(sweep, tmp_path / "out", 1, CONSOLE)
    assert not (tmp_path / "out" / "runs").exists()


def test_a_missing_folder_is_an_asset_that_is_missing(made: Callable[..., RunConfig], tmp_path: Path) -> None:
    run = made(f"folder:{tmp_path / 'nowhere'}")
    sweep = grid.Sweep("small", "fine_tuning", "smile", ("fine_tuning",), (run,))
    (line,) = plan.make(sweep, tmp_path / "out").missing
    assert line == f"image folder '{tmp_path / 'nowhere'}' is not a folder; expected <class>/<image>, or test/<class>/<image>"
    with pytest.raises(DataError, match="is not a folder"):
        carry_out.complete(sweep, tmp_path / "out", 1, CONSOLE)


@pytest.mark.parametrize(
    ("also", "words"),
    [
        ({"name": "test", "use": "digits"}, r"data\.also_test\.name: 'test': train, val, test, .* are taken"),
        ({"name": "a b", "use": "digits"}, r"data\.also_test\.name"),
        ({"name": "a", "use": "digit"}, r"data\.also_test\.use: 'digit': unknown data set 'digit'; did you mean 'digits'\?"),
        ({"name": "a"}, r"data\.also_test\.use: this key is missing"),
        ({"name": "a", "use": "digits", "size": 3}, r"data\.also_test\.size: unknown key 'size'"),
        ({"name": "a", "use": "folder:/x", "split": 0.5, "test_from": "val"}, "exclude each other"),
    ],
)
def test_what_means_nothing_is_refused(also: dict[str, Any], words: str, images: Path, backbone: str) -> None:
    with pytest.raises(UsageError, match=words):
        config(images, backbone, data={"also_test": also})


def test_tuning_leaves_it_out(images: Path, backbone: str, tmp_path: Path) -> None:
    never = {"evaluation": {"test": False}, "linearity": {"pairs": 0}}
    with pytest.raises(UsageError, match=r"evaluation\.test: false needs data\.also_test null"):
        config(images, backbone, data={"val_fraction": 0.5, "also_test": {"name": "a", "use": "digits"}}, **never)
    tune = {"trials": 2, "search": "grid", "seeds": [100], "val_fraction": 0.5, "shared": {"training.lr": [0.1, 0.01]}}
    found = []
    for also in (None, {"name": "a", "use": "digits"}):
        sweep = sweep_file(tmp_path, images, backbone, tune=tune, data={"also_test": also})
        found.append([config.run_id for config in trials.runs_of(trials.cells(grid.read(sweep)))])
    assert found[0] == found[1] != []


@pytest.fixture
def finished(made: Callable[..., RunConfig], shifted: Path, tmp_path: Path) -> tuple[grid.Sweep, Path]:
    """A sweep of one run that is done, and its results folder."""
    run = made(f"folder:{shifted}")
    folder = tmp_path / "out" / "runs" / run.run_id
    RunFolder(folder).create(yaml.safe_dump(run.model_dump(mode="json")))
    train(run, Notebook(folder))
    return grid.Sweep("small", "fine_tuning", "smile", ("fine_tuning",), (run,)), tmp_path / "out"


def test_a_plan_lists_it_and_knows_when_its_images_changed(finished: tuple[grid.Sweep, Path], shifted: Path) -> None:
    sweep, out = finished
    found = plan.make(sweep, out)
    assert [line.rpartition("/")[2] for line in found.present[:2]] == ["images (decoded)", "shifted (decoded)"]
    assert [each.state for each in found.runs] == ["done"]
    Image.new("RGB", (40, 40), "red").save(shifted / "class1" / "0.png")
    carry_out.prepare_data(sweep.runs, CONSOLE)
    (stale,) = plan.make(sweep, out).runs
    assert (stale.state, stale.why) == ("stale", "other data of 'shifted' than are prepared now")


@pytest.mark.slow
def test_a_report_has_its_columns(finished: tuple[grid.Sweep, Path]) -> None:
    sweep, out = finished
    report = build(out, *asked_for(sweep))
    ours = json.loads(next(out.glob("runs/*/record.json")).read_text())["also_test"]["shifted"]
    (row,) = csv.DictReader((out / "runs.csv").open())
    assert {key: row[f"shifted_{key}"] for key in ours} == {key: str(value) for key, value in ours.items()}
    assert pq.read_table(out / "runs.parquet").to_pylist()[0]["shifted_accuracy"] == ours["accuracy"]
    (table,) = report.tables
    shown = dict(zip(table.columns, table.rows[0], strict=True))
    assert shown["Accuracy on shifted (%)"].sort == pytest.approx(100 * ours["accuracy"])
    assert shown["ECE on shifted"].sort == pytest.approx(ours["ece"])
    (row,) = csv.DictReader((out / "tables" / "main.csv").open())
    assert float(row["shifted_nll_mean"]) == pytest.approx(ours["nll"])


@pytest.mark.slow
def test_a_sweep_of_the_command_line_with_a_shifted_folder(images: Path, backbone: str, shifted: Path, tmp_path: Path) -> None:
    row = {"name": "tiny", "use": f"folder:{images}", "also_test": {"name": "shifted", "use": f"folder:{shifted}"}}
    sweep = sweep_file(tmp_path, images, backbone, datasets=[row], seeds=2)
    before = smilebench("plan", sweep, cwd=tmp_path)
    assert "shifted (is decoded first)" in before.stdout.replace("\n", "")
    done = smilebench("sweep", sweep, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Accuracy on shifted (%)" in " ".join(done.stdout.split()) or "shifted" in done.stdout
    rows = list(csv.DictReader((tmp_path / "results" / "small" / "runs.csv").open()))
    assert len(rows) == 4
    assert all(0 <= float(each["shifted_accuracy"]) <= 1 for each in rows)
    again = smilebench("plan", sweep, cwd=tmp_path)
    assert "4 done; to do: 0" in again.stdout
