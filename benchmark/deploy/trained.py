"""The trained network of a finished run, from its folder alone: neither the data set nor the pre-trained weights need to be there."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from benchmark.config import grid
from benchmark.config.method_options import method_info
from benchmark.config.method_source import origin_of
from benchmark.config.run_config import RunConfig, load_run
from benchmark.errors import UsageError, first_line
from benchmark.storage.run_folder import RunFolder
from benchmark.sweep.results import redo_command
from benchmark.training import kept_weights
from benchmark.training.backbones import Source, empty
from benchmark.training.pipeline import Pipeline
from datasets.base import DataError


@dataclass(frozen=True)
class Trained:
    """A finished run and the network that was evaluated, on the CPU in eval mode.

    classes: the names of the network's outputs in order. source: the network with the methods' own modules in it, and how its inputs are
    normalised. pipeline: the components that put them there.
    """

    folder: Path
    config: RunConfig
    record: dict[str, Any]
    classes: tuple[str, ...]
    source: Source
    pipeline: Pipeline


def find_run(run_id: str, results: Path) -> Path:
    """The folder of the finished run whose id is, or begins with, ``run_id``, or that ``run_id`` is the path of.

    A run that several sweeps have is taken where it kept its weights. UsageError where there is none, or more than one.
    """
    if run_id and (Path(run_id) / "config.yaml").is_file():
        folders = [Path(run_id).resolve()]
    else:
        folders = sorted(folder for folder in results.glob("*/runs/*") if run_id and folder.name.startswith(run_id))
        folders = [folder for folder in folders if folder.name == run_id] or folders
    if not folders:
        raise UsageError(f"no run '{run_id}' under {results} (--results names another folder)")
    if len(names := sorted({folder.name for folder in folders})) > 1:
        raise UsageError(f"'{run_id}' begins {len(names)} run_ids: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}")
    folder = next((folder for folder in folders if (folder / kept_weights.FILE).is_file()), folders[0])
    if (state := RunFolder(folder).state()) != "done":
        raise UsageError(f"run {folder.name} is {state}, not done: there is no network to take (smilebench logs {folder.name})")
    return folder


def load(folder: Path) -> Trained:
    """The network of the finished run in ``folder``. UsageError where it kept no weights: the message names the command that makes them."""
    config, record = load_run(folder / "config.yaml"), RunFolder(folder).record()
    _check_code(folder, config)
    if record is None:
        raise UsageError(f"{folder / 'record.json'} is damaged: run the sweep again")
    file = folder / kept_weights.FILE
    if not file.is_file():
        raise UsageError(_without_weights(folder, config))
    try:
        with safe_open(file, "pt") as opened:
            names = (opened.metadata() or {}).get(kept_weights.CLASSES)
            state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118  # it is no mapping
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{file} cannot be read: {first_line(error)}") from error
    if names is None:
        raise UsageError(f"{file} is of an earlier version, without the names of its classes; to make it anew: {_redo(folder, config)}")
    classes = _class_names(names, file)
    source = empty(config.backbone, len(classes), config.training.image_size)
    pipeline = Pipeline.build(config.components)
    pipeline.surgery(source.net)
    try:
        source.net.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(
            f"{file} does not fit {config.method} on {config.backbone} any more: {' '.join(str(error).split())[:300]}"
        ) from error
    source.net.eval()
    return Trained(folder, config, record, classes, source, pipeline)


def _check_code(folder: Path, config: RunConfig) -> None:
    """Refuse a method whose code came with the results: a run folder is data, and whoever opens one expects to run nothing of it.

    Looked at are the files of the method's module and of the packages it lies in; nothing is imported.
    """
    place = (folder.parent.parent if folder.parent.name == "runs" else folder).resolve()
    for component in config.components:
        module = method_info(component.use).target.partition(":")[0]
        parts = module.split(".")
        for n in range(1, len(parts) + 1):
            origin = origin_of(".".join(parts[:n]))
            if origin is not None and Path(origin).resolve().is_relative_to(place):
                raise UsageError(
                    f"{folder / 'config.yaml'}: method '{component.use}' is code in {origin}, which lies in the results folder and is "
                    "not run from there: read it, and install it elsewhere if you trust it"
                )


def _class_names(text: str, file: Path) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not found or not all(isinstance(name, str) for name in found):
        raise UsageError(f"{file}: its metadata '{kept_weights.CLASSES}' is no list of class names: the file is damaged")
    return tuple(found)


def _without_weights(folder: Path, config: RunConfig) -> str:
    best = kept_weights.best(folder, config)
    if config.runtime.keep_weights == kept_weights.BEST and best is not None:
        return f"run {folder.name} kept no weights: best_per_cell keeps those of {best.name}; for its own: {_redo(folder, config)}"
    return f"run {folder.name} kept no weights (runtime.keep_weights); to make it anew with them: {_redo(folder, config)}"


def _redo(folder: Path, config: RunConfig) -> str:
    """The command that carries out the run again, elsewhere, and keeps its weights."""
    file = folder.parent.parent / "sweep.yaml"
    general = "repeat its sweep with runtime.keep_weights=last and another --out"
    if not file.is_file():
        return general
    try:
        sweep = grid.load(str(file))
    except (UsageError, DataError, OSError):  # the data may have moved since
        return general
    if config.run_id not in {run.run_id for run in sweep.runs}:
        return general
    return f"{redo_command(sweep, config.dataset, config.fraction, config.method, [config.seed])} runtime.keep_weights=last"
