"""Published numbers, ``results/published/*.yaml``, and what keeps one from being compared with a cell of ours, in words.

``null`` says that a fact is not known here; it is never guessed. They are numbers whose source could be read, and no others.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pyarrow import parquet
from pydantic import Field

import methods
from benchmark.config.method_options import method_info
from benchmark.config.run_config import Data, RunConfig, Section, Training, resize_for, validate, with_defaults
from benchmark.errors import UsageError
from benchmark.report.collect import Run
from benchmark.report.made_with import DECODE
from benchmark.storage import yamlio
from datasets.counts import COUNTS

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"


class PublishedNumber(Section):
    """One published number. value, plus_minus: percent. n: seeds behind it. selection: what it is of. source: paper, table or issue.

    dataset, method: names in this suite, a method's variant where that is what was run; published_as: the method's name there.
    """

    value: Annotated[float, Field(ge=0, le=100)]
    plus_minus: Annotated[float, Field(ge=0)] | None
    n: Annotated[int, Field(ge=1)] | None
    metric: Literal["top1", "mean_per_class"]
    dataset: str
    fraction: Annotated[float, Field(gt=0, le=1)]
    backbone: str | None
    protocol: str | None
    selection: Literal["best_epoch_on_test", "best_epoch_on_val", "last_epoch", "median_of_last_epochs"] | None
    method: str
    published_as: str
    source: str
    note: str | None


class PublishedFile(Section):
    """A file of published numbers: ``common`` keys are those of every entry that does not give its own."""

    common: dict[str, Any] = {}
    entries: Annotated[list[dict[str, Any]], Field(min_length=1)]


def load(folder: Path = PUBLISHED) -> list[PublishedNumber]:
    """Every entry, in the order of the files' names; a number given twice by one source is refused: two tables of
    one publication that disagree are two sources, each named as its table."""
    found: list[PublishedNumber] = []
    for path in sorted(folder.glob("*.yaml")):
        file = validate(PublishedFile, yamlio.read(path), str(path))
        for n, entry in enumerate(file.entries):
            found.append(validate(PublishedNumber, {**file.common, **entry}, str(path), f"entries.{n}"))
    keys = [(e.source, e.dataset, e.fraction, e.method, e.backbone, e.selection, e.metric) for e in found]
    for key, count in Counter(keys).items():
        if count > 1:
            raise UsageError(f"{folder}: {key[0]} gives {key[3]} on {key[1]} at {key[2]:g} twice")
    return found


WEIGHTS = {"resnet50": "resnet50.tv_in1k"}
"""What published tables of this field mean by an architecture: torchvision's first ImageNet weights, under timm's tag."""

_FREE = {"lr", "log_every"}
"""Keys of ``training`` that published rows set per method and data set, or that change nothing."""


def differences(config: RunConfig, runs: Sequence[Run], entry: PublishedNumber) -> list[str]:
    """Every reason but the selection rule and the number of seeds; none where the two may be compared."""
    found = [*_weights(config, entry), *_protocol(config, entry), *_data(config, runs)]
    if entry.fraction != config.fraction:
        found.insert(0, f"published at {100 * entry.fraction:g} % of the labels, not at {100 * config.fraction:g} %")
    if entry.selection is None:
        found.append("what its selection rule was is not known")
    if entry.selection == "best_epoch_on_val":
        found.append("published: best epoch on val; ours: last iterate")
    if entry.selection == "median_of_last_epochs":
        found.append("published: median of the last epochs on test; ours: last iterate")
    if entry.metric == "mean_per_class":
        found.append("published: mean-per-class accuracy; ours: top-1")
    return found


def remarks(config: RunConfig) -> list[str]:
    """Settings of ours that differ from the defaults of method and protocol, and that published rows choose per method too."""
    found = []
    for component in config.components:
        _, preset = methods.VARIANTS.get(component.name, (component.use, {}))
        standard = method_info(component.use).resolve(preset, component.name)
        found += [f"{component.name}.{key}={value}" for key, value in component.options.items() if value != standard[key]]
    preset = with_defaults(config.protocol, "training", {})
    if config.training.lr != (lr := Training.model_validate(preset).lr):
        found.append(f"training.lr={config.training.lr:g} ({config.protocol}: {lr:g})")
    return [f"ours with {', '.join(found)}"] if found else []


def _weights(config: RunConfig, entry: PublishedNumber) -> list[str]:
    if entry.backbone is None:
        return ["what its backbone was is not known"]
    name = re.sub(r"[^a-z0-9]", "", entry.backbone.lower())
    wanted = WEIGHTS.get(name, name)
    if not config.pretrained:
        return [f"published: {entry.backbone}, pre-trained; ours starts from random weights"]
    return [] if config.backbone == wanted else [f"published: {entry.backbone} ({wanted}); ours: {config.backbone}"]


def _protocol(config: RunConfig, entry: PublishedNumber) -> list[str]:
    if entry.protocol is None:
        return ["what its protocol was is not known"]
    if config.protocol != entry.protocol:
        return [f"published under protocol {entry.protocol}; ours: {config.protocol}"]
    training = Training.model_validate(with_defaults(config.protocol, "training", {}))
    data = Data.model_validate({"resize": resize_for(training.image_size), **with_defaults(config.protocol, "data", {})})
    changed = [
        f"{section}.{key} {getattr(ours, key)} instead of {getattr(standard, key)}"
        for section, ours, standard, keys in (
            ("training", config.training, training, [key for key in Training.model_fields if key not in _FREE]),
            ("data", config.data, data, DECODE),
        )
        for key in keys
        if getattr(ours, key) != getattr(standard, key)
    ]
    return [f"not the protocol as it is: {', '.join(changed)}"] if changed else []


def _data(config: RunConfig, runs: Sequence[Run]) -> list[str]:
    """From the config and the records; a copy that lacks test images shows in the number of predictions, where those were kept."""
    found = []
    if config.data.val_fraction:
        found.append(f"ours holds out {100 * config.data.val_fraction:g} % of the training images")
    if config.data.test_images:
        found.append(f"ours is tested on {config.data.test_images} images only")
    if config.data.sampling != "stratified":
        found.append(f"ours samples by '{config.data.sampling}', published lists are stratified")
    name = config.data.use.partition(":")[0]
    if name not in COUNTS:
        return [*found, f"what a complete copy of {name} holds is not known"]
    classes, splits = COUNTS[name]
    train, test = splits["train"].images, splits["test"].images
    most = train + (splits["val"].images if "val" in splits else 0)
    for run in runs:
        record, predicted = run.record, _predictions(run)
        images = record["num_train"]
        if record["num_classes"] != classes:
            found.append(f"ours has {record['num_classes']} classes instead of {classes}")
        elif not config.data.val_fraction and not config.fraction * train <= images <= config.fraction * most + classes:
            found.append(f"ours has {images} training images, which is not {100 * config.fraction:g} % of {train}")
        if predicted is not None and not config.data.test_images and predicted != test:
            found.append(f"ours has {predicted} test images instead of {test}")
    return list(dict.fromkeys(found))


def _predictions(run: Run) -> int | None:
    """How many test images a run predicted; None where its predictions were not kept."""
    file = run.folder / "predictions.parquet"
    return parquet.read_metadata(file).num_rows if file.is_file() else None
