"""``smilebench export``: what plain timm and onnxruntime make of the folder is what the run itself predicted."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image

from benchmark.deploy import onnx_form
from benchmark.deploy.export import crop_pct, evaluation_input, export, timm_config
from benchmark.deploy.trained import load
from benchmark.errors import UsageError
from datasets.decode import Decode
from methods.base import MethodError
from methods.mixup import Mixup
from methods.testing import fast_options
from tests.contract.entries import transformer
from tests.deploy.trained_runs import finished, images_of_test, photo, predictions

LEARNING = {"training": {"lr": 0.05}}
BY_TIMM = """
import json, sys
for name in ("benchmark", "methods", "datasets"):
    sys.modules[name] = None
import timm, torch
from PIL import Image
folder, *files = sys.argv[1:]
net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=net))
with torch.inference_mode():
    x = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    best = net(x).softmax(1).max(1)
names = net.pretrained_cfg["label_names"]
print(json.dumps([[names[k] for k in best.indices.tolist()], best.values.tolist()]))
"""


def by_timm(folder: Path, files: list[Path]) -> tuple[list[str], list[float]]:
    """Labels and probabilities in a process in which this project's packages cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", BY_TIMM, str(folder), *map(str, files)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def exported(folder: Path, to: Path, onnx: bool = False) -> Path:
    return export(folder.name, folder.parents[2], to, onnx)[0]


@pytest.mark.slow
def test_plain_timm_predicts_what_the_run_did(images: Path, backbone: str, tmp_path: Path) -> None:
    run = finished(tmp_path / "results", images, backbone, "smile", **LEARNING)
    folder = exported(run, tmp_path / "out")
    labels, probabilities = by_timm(folder, images_of_test(images))
    expected = predictions(run)
    assert labels == expected["top1_name"].tolist()
    np.testing.assert_allclose(probabilities, expected["probability"], rtol=0, atol=1e-5)
    assert json.loads((folder / "record.json").read_text())["run_id"] == run.name
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "record.json", "NOTICE.md"}
    assert "licence: the owner's" in (folder / "NOTICE.md").read_text()


@pytest.mark.parametrize("method", ["stoch_norm", "swa", "ema", "lp_ft+wise_ft", "bi_tuning", "linear_probe"])
def test_the_evaluated_weights_are_exported(method: str, images: Path, backbone: str, tmp_path: Path) -> None:
    entry = {"name": "short", "use": method, **fast_options(method, {})}
    run = finished(tmp_path / "results", images, backbone, entry, **LEARNING)
    assert_same_as_run(exported(run, tmp_path / "out"), run, images)


@pytest.mark.parametrize("method", ["lora", "ssf", "bitfit", "lora+ema"])
def test_adapters_are_folded_into_the_plain_weights(method: str, images: Path, backbone: str, tmp_path: Path) -> None:
    vit = transformer(Path(backbone.partition("@")[2]).parent)
    run = finished(tmp_path / "results", images, vit, method, training={"lr": 0.5})
    folder = exported(run, tmp_path / "out")
    assert_same_as_run(folder, run, images)
    assert_moved(folder, vit)


def assert_moved(folder: Path, vit: str) -> None:
    """What was folded in is no rounding."""
    from safetensors.torch import load_file

    state, source = load_file(folder / "model.safetensors"), load_file(vit.partition("@")[2])
    assert max(float((state[key] - source[key]).abs().max()) for key in source if "blocks" in key) > 1e-3


def assert_same_as_run(folder: Path, run: Path, images: Path) -> None:
    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=net))
    x = torch.stack([transform(Image.open(file).convert("RGB")) for file in images_of_test(images)])
    with torch.inference_mode():
        best = net(x).softmax(1).max(1)
    expected = predictions(run)
    assert best.indices.tolist() == expected["top1"].tolist()
    np.testing.assert_allclose(best.values, expected["probability"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("method", "reason"), [("vpt", "tokens are inputs of every block"), ("adaptformer", "activation of their own")])
def test_what_timm_has_no_place_for_is_refused(method: str, reason: str, images: Path, backbone: str, tmp_path: Path) -> None:
    vit = transformer(Path(backbone.partition("@")[2]).parent)
    run = finished(tmp_path / "results", images, vit, method)
    with pytest.raises(UsageError, match=f"method '{method}' leaves a network that is not the plain one: .*{reason}"):
        exported(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_computes_something_else_under_timms_names_is_refused(
    images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surgery(self: Mixup, net: Any) -> None:
        net.body.get_classifier().register_forward_hook(lambda module, args, out: 2 * out)

    monkeypatch.setattr(Mixup, "surgery", surgery)
    run = finished(tmp_path / "results", images, backbone, "mixup", **LEARNING)
    with pytest.raises(UsageError, match="method 'mixup': timm's network with these weights gives other probabilities"):
        exported(run, tmp_path / "out")
    monkeypatch.setattr(Mixup, "undo_surgery", lambda self, net: (_ for _ in ()).throw(MethodError("because")))
    with pytest.raises(UsageError, match="method 'mixup' leaves a network that is not the plain one: because"):
        exported(run, tmp_path / "out")


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize(("size", "resize"), [(32, 37), (32, 32), (48, 55), (224, 256), (160, 183), (299, 342)])
def test_timms_transform_gives_the_pixels_of_evaluation(keep_aspect: bool, size: int, resize: int, tmp_path: Path) -> None:
    cfg = {"input_size": (3, size, size), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "interpolation": "bilinear"}
    cfg |= {"crop_pct": crop_pct(size, resize), "crop_mode": "center" if keep_aspect else "squash"}
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=cfg))
    for width, height in ((71, 53), (53, 72), (500, 333), (224, 224)):
        with Image.open(photo(tmp_path / "photo.jpg", width, height)) as opened:
            expected = evaluation_input(opened.convert("RGB"), Decode(resize, keep_aspect), size, cfg)
            assert torch.allclose(transform(opened.convert("RGB"))[None], expected, rtol=0, atol=1e-6)


def test_every_crop_fraction_gives_its_size_back() -> None:
    for size in range(8, 400, 3):
        for resize in range(size, 520, 7):
            assert math.floor(size / crop_pct(size, resize)) == resize


def test_the_runs_own_resize_mode_is_written(images: Path, backbone: str, tmp_path: Path) -> None:
    for keep, mode in ((False, "squash"), (True, "center")):
        run = finished(tmp_path / "results", images, backbone, data={"keep_aspect": keep, "resize": 40})
        cfg = timm_config(load(run))["pretrained_cfg"]
        assert (cfg["crop_mode"], cfg["interpolation"], cfg["input_size"], cfg["crop_pct"]) == (mode, "bilinear", [3, 32, 32], 0.8)


def test_what_timm_cannot_do_is_said(images: Path, backbone: str, tmp_path: Path) -> None:
    run = finished(tmp_path / "results", images, backbone, data={"fast_decode": True, "exif": True}, precision="bf16")
    folder, notes = export(run.name, tmp_path / "results", tmp_path / "out", False)
    assert [word for note in notes for word in ("fast_decode", "EXIF", "bfloat16") if word in note] == ["fast_decode", "EXIF", "bfloat16"]
    assert all(note in (folder / "NOTICE.md").read_text() for note in notes)


def test_what_cannot_be_exported_is_refused_in_words(images: Path, backbone: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with pytest.raises(UsageError, match=r"no run 'x' under .*results"):
        export("x", results, None, False)
    kept = finished(results, images, backbone)
    bare = finished(results, images, backbone, "l2_sp", runtime={"keep_weights": False})
    with pytest.raises(UsageError, match=r"kept no weights .*runtime\.keep_weights=last"):
        export(bare.name, results, None, False)
    with pytest.raises(UsageError, match="begins 2 run_ids"):
        export("tiny", results, None, False)
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="exists: remove it, or choose another folder with --to"):
        export(kept.name, results, tmp_path / "there", False)
    (kept / "weights.safetensors").write_bytes(b"half")
    with pytest.raises(UsageError, match=r"weights\.safetensors cannot be read"):
        export(kept.name, results, None, False)
    (kept / "record.json").unlink()
    with pytest.raises(UsageError, match=r"is new, not done"):
        export(kept.name, results, None, False)


def test_a_run_without_weights_names_the_command_that_redoes_it(images: Path, backbone: str, tmp_path: Path) -> None:
    from benchmark.config import grid

    asked = ["method=fine_tuning", "dataset=digits", "training.steps=1", "training.image_size=32"]
    sweep = grid.single(asked, tmp_path / "results" / "single")
    (run,) = sweep.runs
    folder = tmp_path / "results" / "single" / "runs" / run.run_id
    folder.mkdir(parents=True)
    from benchmark.storage import yamlio

    (folder / "config.yaml").write_text(yamlio.dump(run.model_dump(mode="json")))
    (folder / "record.json").write_text("{}")
    assert sweep.origin is not None
    (tmp_path / "results" / "single" / "sweep.yaml").write_text(sweep.origin.text)
    with pytest.raises(UsageError) as found:
        export(run.run_id, tmp_path / "results", None, False)
    command = str(found.value).partition("anew with them: ")[2]
    words = command.split()
    assert words[:2] == ["smilebench", "sweep"]
    assert words[-1] == "runtime.keep_weights=last"
    assert "--out" in words


def test_onnx_needs_its_extra(images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_form, "PACKAGES", ("onnx_is_not_here",))
    with pytest.raises(UsageError, match=r"onnx_is_not_here not installed; run: pip install 'smilebench\[onnx\]'"):
        export("x", tmp_path, None, True)


@pytest.mark.slow
def test_onnxruntime_predicts_what_the_run_did(images: Path, backbone: str, tmp_path: Path) -> None:
    for package in onnx_form.PACKAGES:
        pytest.importorskip(package)
    import onnxruntime

    run = finished(tmp_path / "results", images, backbone, "smile", **LEARNING)
    folder = exported(run, tmp_path / "out", onnx=True)
    config = json.loads((folder / "config.json").read_text())
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=config["pretrained_cfg"]))
    x = np.stack([transform(Image.open(file).convert("RGB")).numpy() for file in images_of_test(images)])
    (logits,) = onnxruntime.InferenceSession(str(folder / onnx_form.FILE)).run(None, {onnx_form.INPUT: x})
    expected: pd.DataFrame = predictions(run)
    assert logits.argmax(1).tolist() == expected["top1"].tolist()
    found = torch.softmax(torch.from_numpy(logits), 1).max(1).values
    np.testing.assert_allclose(found, expected["probability"], rtol=0, atol=1e-4)


def test_a_record_that_does_not_name_its_weights_is_refused(images: Path, backbone: str, tmp_path: Path) -> None:
    run = finished(tmp_path / "results", images, backbone)
    record = json.loads((run / "record.json").read_text())
    for value in ({}, {"weights_hash": None}):
        (run / "record.json").write_text(json.dumps({**{k: v for k, v in record.items() if k != "weights_hash"}, **value}))
        with pytest.raises(UsageError, match=r"record\.json: it does not say which weights training began from"):
            exported(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
