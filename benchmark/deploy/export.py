"""``smilebench export``: a trained network as a folder in timm's convention, which timm loads without this suite."""

import copy
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from benchmark.config import weights
from benchmark.config.run_config import RunConfig
from benchmark.deploy import onnx_form
from benchmark.deploy.trained import Trained, find_run, load
from benchmark.errors import UsageError, first_line
from benchmark.training.backbones import empty
from datasets.base import data_class
from datasets.decode import Decode, decode_image
from datasets.files import building
from datasets.stream import Normalise, center_windows

CONFIG, WEIGHTS, RECORD, NOTICE = "config.json", "model.safetensors", "record.json", "NOTICE.md"
SUITE = "smilebench"
"""Key of ``config.json`` with what timm does not know: the run, how its images are decoded, the batch size and precision of evaluation."""
TOLERANCE = 1e-5
"""Of probabilities, between the network that was evaluated and the one that timm loads."""
_KEPT = ("fixed_input_size", "first_conv", "classifier")
"""What timm's description of the architecture says that stays true of other weights."""


def export(run_id: str, results: Path, to: Path | None, onnx: bool) -> tuple[Path, list[str]]:
    """Write the network of a finished run to the folder ``to`` (default: ``exported/<run_id>``), with ``onnx`` as ``model.onnx`` too.

    The folder appears whole or not at all, after timm has loaded it and given the same pixels and probabilities. Returns it, and what to
    know of it in sentences. UsageError where the run has no weights, or its network is none that timm builds.
    """
    if onnx:
        onnx_form.check_installed()
    found = find_run(run_id, results)
    target = to or Path("exported") / found.name
    if target.exists():
        raise UsageError(f"{target} exists: remove it, or choose another folder with --to")
    trained = load(found)
    notes = _notes(trained)
    notice = _notice(trained, notes, onnx)
    plain = plain_network(trained)
    with building(target) as folder:
        (folder / WEIGHTS).write_bytes(save({name: value.contiguous() for name, value in plain.state_dict().items()}, {"format": "pt"}))
        (folder / CONFIG).write_text(json.dumps(timm_config(trained), indent=1) + "\n", encoding="utf-8")
        (folder / RECORD).write_bytes((found / RECORD).read_bytes())
        (folder / NOTICE).write_text(notice, encoding="utf-8")
        _check(folder, plain, trained.config)
        if onnx:
            onnx_form.write(plain, trained.config.training.image_size, folder)
    return target, notes


def plain_network(trained: Trained) -> nn.Module:
    """timm's own network with the trained weights; UsageError where it cannot be the one that was evaluated."""
    config, size = trained.config, trained.config.training.image_size
    net = copy.deepcopy(trained.source.net)
    x = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    expected = _probabilities(lambda x: net(x).logits, x)
    # a component folds the modules that its own surgery made, which it finds in the network
    trained.pipeline.undo_surgery(net)
    plain: nn.Module = empty(config.backbone, len(trained.classes), size).net.body  # without the methods' modules
    try:
        plain.load_state_dict(net.body.state_dict())
    except RuntimeError as error:
        raise UsageError(
            f"method '{config.method}' leaves a network that is not timm's {weights.architecture_of(config.backbone)}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    if (worst := float((_probabilities(plain, x) - expected).abs().max())) > TOLERANCE:
        raise UsageError(f"method '{config.method}': timm's network with these weights gives other probabilities, by up to {worst:.1g}")
    return plain


def _probabilities(net: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.softmax(net(x), dim=1)


def timm_config(trained: Trained) -> dict[str, Any]:
    """``config.json``, as ``timm.create_model("local-dir:FOLDER")`` reads it."""
    config, body = trained.config, trained.source.net.body
    size, described = config.training.image_size, body.pretrained_cfg
    licence = weights.licence(config.backbone) or (described.get("license") if "@" not in config.backbone else None)
    cfg = {
        **{key: described[key] for key in _KEPT if described.get(key) is not None},
        "num_classes": len(trained.classes),
        "input_size": [3, size, size],
        "interpolation": "bilinear",
        "crop_pct": crop_pct(size, config.data.decode.resize),
        "crop_mode": "center" if config.data.keep_aspect else "squash",
        "mean": list(trained.source.mean),
        "std": list(trained.source.std),
        **({"license": licence} if licence and config.pretrained else {}),
    }
    return {
        "architecture": weights.architecture_of(config.backbone).partition(".")[0],
        "num_classes": len(trained.classes),
        "num_features": getattr(body, "num_features", None),
        "label_names": list(trained.classes),
        "pretrained_cfg": cfg,
        SUITE: {
            "run_id": config.run_id,
            "decode": asdict(config.data.decode),
            "precision": config.precision,
            "batch_size": config.evaluation.batch_size,
        },
    }


def crop_pct(size: int, resize: int) -> float:
    """What makes timm resize to ``resize`` pixels before it crops ``size``: it rounds size / crop_pct down."""
    plain = size / resize
    return plain if math.floor(size / plain) == resize else size / (resize + 0.5)


def _check(folder: Path, plain: nn.Module, config: RunConfig) -> None:
    """Load the folder with timm, and compare pixels and probabilities."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except Exception as error:  # whatever timm makes of an architecture's own arguments
        raise UsageError(f"timm cannot load {config.backbone} at {config.training.image_size} pixels: {first_line(error)}") from error
    wanted = evaluation_input(sample_image(), config.data.decode, config.training.image_size, loaded.pretrained_cfg)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=loaded))
    x = transform(sample_image())[None]
    if x.shape != wanted.shape or (x - wanted).abs().max() > 1e-5:
        raise UsageError(f"timm {timm.__version__} has no transform that gives this run's evaluation pixels ({config.data.decode})")
    if not torch.allclose(_probabilities(loaded, x), _probabilities(plain, x), rtol=0, atol=TOLERANCE):
        raise UsageError(f"timm {timm.__version__} loads these weights as another network")


def sample_image() -> Image.Image:
    """A picture that is no square and has detail at every scale."""
    pixels = np.random.default_rng(0).integers(0, 256, (281, 379, 3), dtype=np.uint8)
    pixels[100:200, 50:300] //= 4
    return Image.fromarray(pixels)


def evaluation_input(image: Image.Image, decode: Decode, crop: int, cfg: dict[str, Any]) -> Tensor:
    """What the suite's evaluation makes of an opened image: [1, 3, crop, crop]."""
    pixels = np.asarray(decode_image(image, Decode(decode.resize, decode.keep_aspect)))
    top, left, _ = center_windows(np.array([pixels.shape[0]]), np.array([pixels.shape[1]]), crop)
    window = pixels[top[0] : top[0] + crop, left[0] : left[0] + crop][None].copy()
    return Normalise(cfg["mean"], cfg["std"], crop, torch.device("cpu"))(torch.from_numpy(window))


def _notes(trained: Trained) -> list[str]:
    """Where timm's form and the evaluation of the run may differ, in sentences."""
    data = trained.config.data
    notes = []
    if data.fast_decode:
        notes.append("The run decoded JPEGs with data.fast_decode, which timm's transform has not: pixels differ a little.")
    if data.exif:
        notes.append("The run rotated images as their EXIF says: call PIL.ImageOps.exif_transpose before timm's transform.")
    if trained.config.precision == "bf16":
        notes.append("The run was evaluated in bfloat16: in float32 probabilities differ in the third digit.")
    return notes


def _notice(trained: Trained, notes: Sequence[str], onnx: bool) -> str:
    """What ``NOTICE.md`` says: how to load the network, and whose licences it is under."""
    config, side, count = trained.config, trained.config.training.image_size, len(trained.classes)
    data = data_class(config.data.use.partition(":")[0])
    onnx_line = (
        f"`{onnx_form.FILE}`: input `{onnx_form.INPUT}`, float32 [n, 3, {side}, {side}], as the transform gives it; output "
        f"`{onnx_form.OUTPUT}` [n, {count}], before softmax."
    )
    return _NOTICE.format(
        run_id=config.run_id,
        count=count,
        method=config.method,
        dataset=config.dataset,
        notes="\n".join([*([onnx_line] if onnx else []), *notes]),
        data=f"{config.dataset}{f', {data.homepage}' if data.homepage else ''}; licence: {data.licence}",
        weights=_origin(trained),
    )


def _origin(trained: Trained) -> str:
    """The pre-trained weights and their licence, in words."""
    if not trained.config.pretrained:
        return "none: training began from random weights"
    sha256 = trained.record.get("weights_hash")
    if not isinstance(sha256, str):
        raise UsageError(f"{trained.folder / RECORD}: it does not say which weights training began from (weights_hash): it is damaged")
    licence = timm_config(trained)["pretrained_cfg"].get("license", "not recorded: that of the file which training began from")
    return f"{trained.config.backbone.partition('@')[0]}, sha256 {sha256}; licence: {licence}"


_NOTICE = """# {run_id}

An image classifier ({count} classes) trained by SmileBench with `{method}` on `{dataset}`; `record.json` is the run's record.

```python
import timm, torch
from PIL import Image

net = timm.create_model("local-dir:FOLDER", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config({{}}, model=net))
with torch.inference_mode():
    probabilities = net(transform(Image.open("photo.jpg").convert("RGB"))[None]).softmax(1)[0]
print(net.pretrained_cfg["label_names"][probabilities.argmax()])
```

The transform gives the pixels of the run's evaluation for 8-bit images without transparency; transparent ones were laid on white.
{notes}

## Licences

- Training images: {data}.
- Pre-trained weights: {weights}.

Whether the trained weights may be passed on is for these licences to say; SmileBench's own covers its code alone.
"""
