"""``smilebench predict``: labels and probabilities for image files, by the decoding and the batches of evaluation."""

import contextlib
import csv
import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TextIO

import numpy as np
import timm
import torch
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from benchmark.config.run_config import validate
from benchmark.deploy.export import CONFIG, SUITE
from benchmark.deploy.trained import find_run, load
from benchmark.devices import cpu_count
from benchmark.errors import UsageError, first_line
from benchmark.storage import yamlio
from benchmark.storage.atomic import replacing
from benchmark.terminal import say
from benchmark.training.evaluate import autocast
from benchmark.training.on_device import set_numerics
from datasets.arena import ArenaSplit
from datasets.base import DataError, Item
from datasets.decode import Decode, readable
from datasets.folder import images_below
from datasets.stream import Preprocess, eval_batches

TOP = 5


@dataclass(frozen=True)
class Classifier:
    """What gives images their labels.

    net: the network, in eval mode. logits: its output for normalised images. classes: names of the outputs. decode, preprocess,
    precision, batch_size: as in the evaluation of the run.
    """

    net: nn.Module
    logits: Callable[[Tensor], Tensor]
    classes: tuple[str, ...]
    decode: Decode
    preprocess: Preprocess
    precision: str
    batch_size: int


class _Read(BaseModel):
    """A part of ``config.json``; keys that only timm reads are left to it."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Decoded(_Read):
    resize: Annotated[int, Field(ge=1)]
    keep_aspect: bool
    fast_decode: bool = False
    exif: bool = False


class _Said(_Read):
    decode: _Decoded
    precision: Literal["fp32", "bf16"]
    batch_size: Annotated[int, Field(ge=1)]


class _Described(_Read):
    input_size: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]


class Exported(_Read):
    """What is read of an exported folder's ``config.json``."""

    label_names: Annotated[list[str], Field(min_length=1)]
    pretrained_cfg: _Described
    smilebench: _Said


@dataclass(frozen=True)
class Row:
    """One image. best: the likeliest classes with their probabilities, the first is the label."""

    path: Path
    best: tuple[tuple[str, float], ...]


def predict(target: str, images: Sequence[Path], results: Path, out: Path | None, console: Console) -> int:
    """Write a CSV row per image to ``out``, or to standard output; exit code 1 where some could not be read: they are named at the end.

    target: a run_id, or a folder that ``export`` wrote. console: for the progress bar and for what could not be read.
    """
    if out is not None and out.is_dir():
        raise UsageError(f"--out: {out} is a folder: name a CSV file")
    files = image_files(images)
    classifier = open_classifier(target, results)
    unreadable: list[DataError] = []
    with _progress(console) as bar, _opened(out) as stream:
        task = bar.add_task("images", total=len(files))
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header(len(classifier.classes)))
        for found in rows(classifier, files):
            if isinstance(found, Row):
                writer.writerow([found.path, *(cell for name, p in found.best for cell in (name, f"{p:.7g}"))])
            else:
                unreadable.append(found)
            bar.advance(task)
    for error in unreadable:
        say(console, str(error), "red")
    if unreadable:
        say(console, f"{len(unreadable)} of {len(files)} images could not be read")
    return 1 if unreadable else 0


def header(num_classes: int) -> list[str]:
    """Names of the columns: the label and its probability, then those of the next classes, to the fifth where there are so many."""
    more = [f"{name}_{n}" for n in range(2, min(TOP, num_classes) + 1) for name in ("label", "probability")]
    return ["path", "label", "probability", *more]


def image_files(given: Sequence[Path]) -> list[Path]:
    """The files to predict, in the order given: a folder stands for the images below it. UsageError where something is not there."""
    files: list[Path] = []
    for path in given:
        if not path.exists():
            raise UsageError(f"no image or folder '{path}'")
        files += images_below(path) if path.is_dir() else [path]
    return files


def open_classifier(target: str, results: Path) -> Classifier:
    """The network of an exported folder or of a finished run, on the GPU where there is one."""
    folder = Path(target)
    if target and folder.is_dir() and not any((folder / name).is_file() for name in (CONFIG, "config.yaml")):
        raise UsageError(f"{folder} is neither a folder of 'smilebench export' nor one of a run: it has no {CONFIG} and no config.yaml")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    set_numerics(device)
    classifier = exported(folder, device) if (folder / CONFIG).is_file() else of_run(target, results, device)
    classifier.net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch takes both at once
    return classifier


def of_run(run_id: str, results: Path, device: torch.device) -> Classifier:
    """The network of a finished run with the methods' modules in it, as it was evaluated."""
    trained = load(find_run(run_id, results))
    config, source = trained.config, trained.source
    preprocess = Preprocess(config.training.image_size, source.mean, source.std, device)
    return Classifier(
        source.net,
        lambda x: source.net(x).logits,
        trained.classes,
        config.data.decode,
        preprocess,
        config.precision,
        config.evaluation.batch_size,
    )


def exported(folder: Path, device: torch.device) -> Classifier:
    """The network of a folder that ``export`` wrote, as timm loads it. UsageError where the folder is another one's, or damaged."""
    where = f"{folder} is no whole folder of 'smilebench export'"
    config = validate(Exported, yamlio.read_json_mapping(folder / CONFIG), f"{where}: {CONFIG}")
    said, cfg = config.smilebench, config.pretrained_cfg
    if len(set(cfg.input_size[1:])) > 1 or cfg.input_size[0] != 3:
        raise UsageError(f"{where}: {CONFIG}: pretrained_cfg.input_size: {cfg.input_size}: give [3, side, side]")
    side = cfg.input_size[-1]
    if said.decode.resize < side:
        raise UsageError(f"{where}: {CONFIG}: {SUITE}.decode.resize: {said.decode.resize} is less than the input's side ({side})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        with torch.inference_mode():
            outputs = net(torch.zeros(1, 3, side, side)).shape[-1]
    except Exception as error:  # what timm raises for a file that is not what it should be has many types
        raise UsageError(f"{where}: {type(error).__name__}: {first_line(error)}") from error
    if outputs != len(config.label_names):
        raise UsageError(f"{where}: {CONFIG}: label_names: {len(config.label_names)} names for {outputs} outputs of the network")
    decode = Decode(**said.decode.model_dump())
    preprocess = Preprocess(side, tuple(cfg.mean), tuple(cfg.std), device)
    return Classifier(net, net, tuple(config.label_names), decode, preprocess, said.precision, said.batch_size)


def rows(classifier: Classifier, files: Sequence[Path]) -> Iterator[Row | DataError]:
    """The images in order, each with its likeliest classes; the error of one that cannot be read."""
    items = [Item(str(path), 0, path) for path in files]
    start = 0
    for part in readable(items, classifier.decode, cpu_count(), classifier.batch_size):
        paths = files[start : start + len(part)]
        start += len(part)
        whole = [(path, *found) for path, found in zip(paths, part, strict=True) if not isinstance(found, DataError)]
        best = iter(_best(classifier, whole) if whole else ())
        yield from (found if isinstance(found, DataError) else next(best) for found in part)


@torch.inference_mode()
def _best(classifier: Classifier, images: Sequence[tuple[Path, bytes, tuple[int, int]]]) -> list[Row]:
    split = _in_memory(images)
    count = min(TOP, len(classifier.classes))
    found = []
    for sample in eval_batches(split, np.arange(len(split)), classifier.preprocess, classifier.batch_size):
        with autocast(sample.x.device, classifier.precision):
            logits = classifier.logits(sample.x)
        probability, label = torch.log_softmax(logits.float(), dim=1).exp().topk(count, dim=1)
        found += list(zip(label.tolist(), probability.tolist(), strict=True))
    names = classifier.classes
    return [Row(path, tuple((names[k], p) for k, p in zip(*best, strict=True))) for (path, _, _), best in zip(images, found, strict=True)]


def _in_memory(images: Sequence[tuple[Path, bytes, tuple[int, int]]]) -> ArenaSplit:
    """Decoded images as a split, without labels."""
    heights, widths = np.array([size for _, _, size in images], np.int32).T
    lengths = 3 * heights.astype(np.int64) * widths
    pixels = np.frombuffer(b"".join(pixels for _, pixels, _ in images), np.uint8)
    labels = np.zeros(len(images), np.int64)
    return ArenaSplit("images", pixels, np.cumsum(lengths) - lengths, heights, widths, labels, tuple(str(path) for path, _, _ in images))


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextlib.contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that is there when all rows are."""
    if out is None:
        yield sys.stdout
        return
    with replacing(out) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        yield text
        text.flush()
        text.detach()
