"""``smilebench predict``: the rows are the run's own predictions, and one bad file costs one row."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmark.cli import app
from benchmark.deploy.export import export
from benchmark.deploy.predict import header, image_files, open_classifier, rows
from benchmark.errors import UsageError
from benchmark.training import kept_weights
from datasets.base import DataError
from tests.contract.entries import transformer
from tests.deploy.trained_runs import finished, images_of_test, photo, predictions

LEARNING = {"training": {"lr": 0.05}}


def smilebench(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str, str]:
    """Exit code, output and error output of a command."""
    monkeypatch.setattr("sys.argv", ["smilebench", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        app.main()
    shown = capsys.readouterr()
    return int(end.value.code or 0), shown.out, shown.err


@pytest.mark.parametrize("method", ["smile", "vpt"])
def test_rows_are_the_runs_own_predictions(
    method: str, images: Path, backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of vpt too, which can be asked and not exported."""
    name = transformer(Path(backbone.partition("@")[2]).parent) if method == "vpt" else backbone
    run = finished(tmp_path / "results", images, name, method, evaluation={"batch_size": 5}, **LEARNING)
    out = tmp_path / "labels.csv"
    asked = ("predict", run.name, images / "test", "--out", out, "--results", tmp_path / "results")
    assert smilebench(capsys, monkeypatch, *asked) == (0, "", "")
    assert_equal(pd.read_csv(out), run, images)


def assert_equal(found: pd.DataFrame, run: Path, images: Path) -> None:
    expected = predictions(run)
    assert found["path"].tolist() == [str(path) for path in images_of_test(images)]
    assert found["label"].tolist() == expected["top1_name"].tolist()
    np.testing.assert_allclose(found["probability"], expected["probability"], rtol=0, atol=1e-5)
    every = found[["probability", "probability_2", "probability_3"]]
    np.testing.assert_allclose(every.sum(axis=1), 1, atol=1e-5)
    assert (every.diff(axis=1).iloc[:, 1:] <= 0).all(axis=None)


def test_an_exported_folder_predicts_the_same_on_standard_output(
    images: Path, backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    run = finished(tmp_path / "results", images, backbone, **LEARNING)
    code, _, shown = smilebench(capsys, monkeypatch, "export", run.name, "--to", tmp_path / "out", "--results", tmp_path / "results")
    assert (code, shown) == (0, "")
    code, out, shown = smilebench(capsys, monkeypatch, "predict", tmp_path / "out", images / "test")
    assert (code, shown) == (0, "")
    assert_equal(pd.read_csv(io.StringIO(out)), run, images)


def test_files_that_cannot_be_read_are_named_and_the_others_done(
    images: Path, backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path / "results", images, backbone)
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for n in range(3):
        photo(folder / "deep" / f"{n}.jpg", seed=n)
    (folder / "broken.jpg").write_bytes((folder / "deep" / "0.jpg").read_bytes()[:200])
    (folder / "notes.txt").write_text("no image")
    (folder / "text.png").write_text("no image either")
    out = tmp_path / "labels.csv"
    code, _, shown = smilebench(capsys, monkeypatch, "predict", run.name, folder, "--out", out, "--results", tmp_path / "results")
    assert code == 1
    assert [Path(path).name for path in pd.read_csv(out)["path"]] == ["0.jpg", "1.jpg", "2.jpg"]
    assert f"cannot read image {folder / 'broken.jpg'}" in shown
    assert f"cannot read image {folder / 'text.png'}" in shown
    assert "2 of 5 images could not be read" in shown
    assert "notes.txt" not in shown


def test_where_every_file_of_a_batch_is_bad_the_next_goes_on(images: Path, backbone: str, tmp_path: Path) -> None:
    run = finished(tmp_path / "results", images, backbone, evaluation={"batch_size": 1})
    good, bad = photo(tmp_path / "good.jpg"), tmp_path / "bad.jpg"
    bad.write_bytes(b"bad")
    classifier = open_classifier(run.name, tmp_path / "results")
    found = list(rows(classifier, [good, bad, tmp_path / "gone.jpg", good]))
    assert [isinstance(row, DataError) for row in found] == [False, True, True, False]
    assert found[0] == found[3]


def test_photos_of_every_kind_are_decoded_as_the_suite_does(images: Path, backbone: str, tmp_path: Path) -> None:
    run = finished(tmp_path / "results", images, backbone, data={"keep_aspect": True}, **LEARNING)
    clear = Image.new("RGBA", (60, 50), (255, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    Image.new("RGB", (60, 50), "white").save(tmp_path / "white.png")
    photo(tmp_path / "wide.jpg", 300, 45)
    photo(tmp_path / "tall.jpg", 45, 300)
    classifier = open_classifier(run.name, tmp_path / "results")
    transparent, white, *_ = rows(classifier, [tmp_path / name for name in ("clear.png", "white.png", "wide.jpg", "tall.jpg")])
    assert transparent.best == white.best


def test_what_cannot_be_asked_is_refused_in_words(
    images: Path, backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path / "results", images, backbone, runtime={"keep_weights": False})
    (tmp_path / "empty").mkdir()
    for target, place, said in (
        (run.name, tmp_path / "empty", "holds no image (extensions: .jpg"),
        (run.name, tmp_path / "gone.jpg", f"no image or folder '{tmp_path / 'gone.jpg'}'"),
        (run.name, images, "kept no weights"),
        ("nothing", images, "no run 'nothing' under"),
        (tmp_path / "empty", images, "it has no config.json and no config.yaml"),
    ):
        code, _, shown = smilebench(capsys, monkeypatch, "predict", target, place, "--results", tmp_path / "results")
        assert code == 2
        assert said in shown
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    with pytest.raises(UsageError, match="is no whole folder of 'smilebench export'"):
        open_classifier(str(other), tmp_path)


def test_a_damaged_export_is_named(images: Path, backbone: str, tmp_path: Path) -> None:
    run = finished(tmp_path / "results", images, backbone)
    folder, _ = export(run.name, tmp_path / "results", tmp_path / "out", False)
    (folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(UsageError, match="is no whole folder of 'smilebench export'"):
        open_classifier(str(folder), tmp_path)


def test_wrong_values_in_an_exports_config_are_named(
    images: Path, backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path / "results", images, backbone)
    folder, _ = export(run.name, tmp_path / "results", tmp_path / "out", False)
    text = (folder / "config.json").read_text()
    for place, value, said in (
        ("label_names", ["a", "b"], "label_names: 2 names for 3 outputs of the network"),
        ("label_names", list("abcde"), "label_names: 5 names for 3 outputs of the network"),
        ("label_names", ["a", "b", 3], "label_names.2: 3: Input should be a valid string"),
        ("smilebench.batch_size", "x", "smilebench.batch_size: 'x'"),
        ("smilebench.batch_size", 0, "smilebench.batch_size: 0"),
        ("smilebench.precision", "int3", "smilebench.precision: 'int3': Input should be 'fp32' or 'bf16'"),
        ("smilebench.decode.resize", "x", "smilebench.decode.resize: 'x'"),
        ("smilebench.decode.resize", 3, "smilebench.decode.resize: 3 is less than the input's side"),
        ("smilebench.decode.keep_aspect", 1, "smilebench.decode.keep_aspect: 1"),
        ("smilebench", None, "smilebench: None"),
        ("pretrained_cfg.input_size", [3, 32], "pretrained_cfg.input_size"),
        ("pretrained_cfg.input_size", [1, 32, 32], "pretrained_cfg.input_size: [1, 32, 32]"),
        ("pretrained_cfg.std", [1, 0, 1], "pretrained_cfg.std.1: 0"),
        ("pretrained_cfg.mean", "x", "pretrained_cfg.mean: 'x'"),
    ):
        content = json.loads(text)
        *outer, last = place.split(".")
        part = content
        for key in outer:
            part = part[key]
        part[last] = value
        (folder / "config.json").write_text(json.dumps(content))
        code, out, shown = smilebench(capsys, monkeypatch, "predict", folder, images / "test")
        assert (code, out) == (2, ""), place
        assert f"{folder} is no whole folder of 'smilebench export': config.json: {said}" in shown
    (folder / "config.json").write_text(text)
    assert smilebench(capsys, monkeypatch, "predict", folder, images / "test")[0] == 0


def test_damaged_class_names_of_kept_weights_are_named(images: Path, backbone: str, tmp_path: Path) -> None:
    run = finished(tmp_path / "results", images, backbone)
    file = run / kept_weights.FILE
    weights = load_file(file)
    for classes in ("{", '"abc"', "[]", "[0, 1, 2]", '{"a": 1}'):
        save_file(weights, file, {kept_weights.CLASSES: classes})
        with pytest.raises(UsageError, match=r"its metadata '.*' is no list of class names: the file is damaged"):
            open_classifier(str(run), tmp_path)


NET = """
from pathlib import Path

from methods.base import Component

Path(__file__).with_name("was_run").touch()


class Net(Component):
    pass
"""


@pytest.mark.parametrize("place", ["shared_net", "shared_results/runs/shared_net"])
def test_a_run_folder_does_not_bring_its_code(
    place: str, images: Path, backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside it in the folder from which the command is called, where Python finds its modules."""
    run = finished(tmp_path / "results", images, backbone)
    folder = tmp_path / place
    folder.parent.mkdir(parents=True, exist_ok=True)
    run.rename(folder)
    package = place.partition("/")[0]
    (tmp_path / package / "extra.py").write_text(NET)
    (tmp_path / package / "__init__.py").write_text("")
    text = (folder / "config.yaml").read_text()
    assert text.count("use: fine_tuning") == 1
    (folder / "config.yaml").write_text(text.replace("use: fine_tuning", f"use: {package}.extra:Net"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for asked in (("predict", place, images / "test"), ("export", place, "--to", tmp_path / "out")):
        code, out, shown = smilebench(capsys, monkeypatch, *asked)
        assert (code, out) == (2, "")
        assert f"method '{package}.extra:Net' is code in {tmp_path / package / '__init__.py'}, which lies in the results folder" in shown
    assert not (tmp_path / package / "was_run").exists()


def test_columns_and_files() -> None:
    assert header(2) == ["path", "label", "probability", "label_2", "probability_2"]
    assert len(header(1000)) == 1 + 2 * 5
    with pytest.raises(UsageError, match="no image or folder"):
        image_files([Path("nowhere")])
