"""The configuration of one run, and its identity.

Every key is typed and read; an unknown key or a wrong value is refused before any compute. ``run_id`` names a run
by what determines its results: labels, paths, workers, threads and device are left out.
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

import datasets
from benchmark.config.entries import in_folders
from benchmark.config.method_options import method_info
from benchmark.errors import UsageError, unknown
from benchmark.storage import yamlio
from benchmark.storage.atomic import file_sha256
from datasets.arena import Decode
from datasets.base import Use

LOOP_VERSION = 2
"""Bumped when the loop, the data path, evaluation or linearity change what a run gives."""

LEGACY: dict[str, Any] = {
    "training.optimizer": "sgd",
    "training.milestone": None,
    "training.exp_end": None,
    "training.crop": "random",
    "data.train_list": None,
    "data.split": None,
    "data.test_from": None,
    "data.also_test": None,
    "evaluation.test": True,
    "evaluation.snapshots": 0,
    "fold_bn": "off",
}
"""Keys added later, as dotted paths, with the value that reproduces earlier behaviour: left out of the hash at it."""

PROTOCOLS: dict[str, dict[str, Any]] = {
    "smile": {},
    "tllib": {
        "training": {
            "steps": 10000,
            "batch_size": 48,
            "lr": 0.001,
            "head_lr_factor": 10.0,
            "weight_decay": 5e-4,
            "milestone": 0.6,
            "crop": "resized",
        },
        "data": {"keep_aspect": True},
    },
    "vit": {
        "training": {"optimizer": "adamw", "lr": 0.001, "weight_decay": 1e-4, "schedule": "cosine", "batch_size": 64},
    },
}
"""Defaults of ``training`` and ``data``, which a sweep's own keys replace. ``smile`` is what the defaults below spell out. ``tllib``:
the Transfer Learning Library's fine-tuning scripts, whose published numbers are of the best epoch on the *test* split; here, as under
every protocol, the last iterate is evaluated. ``vit``: for transformers, after the training scripts of V-PETL Bench;
``docs/protocol.md`` says what of theirs it leaves out."""

Fraction = Annotated[float, Field(gt=0, le=1)]


_SPLIT_NAMES = ("train", "val", "test", "test_mean_class")
"""What a second test set may not be called: the columns of its numbers begin with its name."""


class Section(BaseModel):
    """Base of all sections: frozen, strict types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SplitOptions(Section):
    """use: which images. split, test_from: where the test split of the user's own images comes from, see :mod:`datasets.division`."""

    use: str = ""
    split: Annotated[float, Field(gt=0, lt=1)] | None = None
    test_from: str | None = None

    @field_validator("test_from")
    @classmethod
    def _one_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("split") is not None:
            raise ValueError("'split' and 'test_from' exclude each other")
        return value


class AlsoTest(SplitOptions):
    """A second test set, of the classes of the first: its test split, or all of it where it has no split, is evaluated beside ``test``.

    name: what its numbers and files are called by. use, split, test_from: as those of a data set.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=40)]
    use: str

    @field_validator("name")
    @classmethod
    def _is_no_split(cls, value: str) -> str:
        if value in _SPLIT_NAMES:
            raise ValueError(f"{', '.join(_SPLIT_NAMES)} are taken: give it a name of its own, such as shifted")
        return value

    @field_validator("use")
    @classmethod
    def _is_a_data_set(cls, value: str) -> str:
        if (kind := value.partition(":")[0]) not in datasets.DATASETS:
            raise ValueError(unknown("data set", kind, datasets.DATASETS))
        return value

    @property
    def source(self) -> Use:
        """What :func:`datasets.base.open_dataset` opens."""
        return Use(self.use, self.split, self.test_from, whole=True)


class Data(SplitOptions):
    """Where images come from and how they are decoded.

    resize: pixels, of the shorter side when ``keep_aspect``, else of both sides. test_images: a fixed stratified part of the test split.
    also_test: a second test set that the trained network is evaluated on.
    train_list: a file that names the training images (a published list, ``path label`` per line) in place of ``sampling``; its content,
    not its path, is part of a run's identity, and ``fraction`` only says what share it stands for.
    """

    resize: Annotated[int, Field(ge=8, le=8192)] | None = None
    keep_aspect: bool = False
    fast_decode: bool = False
    exif: bool = False
    sampling: Literal["stratified", "smile"] = "stratified"
    train_list: str | None = None
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    test_images: Annotated[int, Field(ge=2, le=10**9)] | None = None
    also_test: AlsoTest | None = None

    @property
    def source(self) -> Use:
        """What :func:`datasets.base.open_dataset` opens."""
        return Use(self.use, self.split, self.test_from)

    @property
    def decode(self) -> Decode:
        """How the images are decoded; ``resize`` is resolved by then."""
        assert self.resize is not None
        return Decode(self.resize, self.keep_aspect, self.fast_decode, self.exif)


class Training(Section):
    """Optimisation. image_size: pixels. log_every: steps.

    optimizer: see :func:`benchmark.training.optim.build_optimizer`; momentum is AdamW's first beta, nesterov is of ``sgd`` alone.
    schedule: see :func:`benchmark.training.optim.lr_factor`. milestone: part of the steps after which schedule ``step`` drops the rate,
    a fraction with a denominator up to a million (null: 2/3). exp_end: what schedule ``exp`` falls to, as a factor (null: .01).
    crop: a square of ``image_size`` out of the decoded image, or one of random
    area and aspect ratio ``resized`` to it (:mod:`datasets.resized`).
    """

    steps: Annotated[int, Field(ge=1, le=10**9)] = 9000
    batch_size: Annotated[int, Field(ge=2, le=10**6)] = 48
    image_size: Annotated[int, Field(ge=8, le=8192)] = 224
    crop: Literal["random", "resized"] = "random"
    flip: bool = True
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.01
    head_lr_factor: Annotated[float, Field(gt=0)] = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    schedule: Literal["step", "cosine", "exp", "constant"] = "step"
    milestone: Annotated[float, Field(gt=0, lt=1)] | None = None
    exp_end: Annotated[float, Field(gt=0, le=1)] | None = None
    log_every: Annotated[int, Field(ge=1, le=10**9)] = 50

    @model_validator(mode="before")
    @classmethod
    def _without_nesterov(cls, value: Any) -> Any:
        return {"nesterov": False, **value} if isinstance(value, dict) and value.get("optimizer") == "adamw" else value

    @field_validator("nesterov")
    @classmethod
    def _nesterov_is_of_sgd(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("optimizer") == "adamw":
            raise ValueError("optimizer 'adamw' has no Nesterov momentum")
        return value

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "Training":
        if self.nesterov and self.momentum == 0:
            raise ValueError("Nesterov's momentum needs momentum above 0: write nesterov: false beside momentum: 0")
        return self

    @field_validator("exp_end")
    @classmethod
    def _exp_end_is_of_exp(cls, value: float | None, info: ValidationInfo) -> float | None:
        schedule = info.data.get("schedule", "exp")  # a wrong one is not there, but refused
        if value is not None and schedule != "exp":
            raise ValueError(f"schedule '{schedule}' has no exp_end, only 'exp' has")
        return value

    @field_validator("milestone")
    @classmethod
    def _milestone_is_of_step(cls, value: float | None, info: ValidationInfo) -> float | None:
        schedule = info.data.get("schedule", "step")
        if value is not None and schedule != "step":
            raise ValueError(f"schedule '{schedule}' has no milestone, only 'step' has")
        return value


class Linearity(Section):
    """Pairs measured per split (0: not measured) and points on [0, 1], both ends included."""

    pairs: Annotated[int, Field(ge=0, le=10**8)] = 512
    lambdas: Annotated[int, Field(ge=3, le=10**4)] = 11


class Evaluation(Section):
    """What is evaluated after the last step. batch_size: images per forward, in linearity too.

    test: false in tuning runs, which never open ``test``. snapshots: evenly spaced weights (0: none) that are scored on ``test`` once the
    record is settled, beside it: the best of them shows what the best epoch on ``test`` would have claimed.
    """

    batch_size: Annotated[int, Field(ge=1, le=10**6)] = 64
    test: bool = True
    snapshots: Annotated[int, Field(ge=0)] = 0


class Runtime(Section):
    """How a run is carried out; none of it is part of its identity.

    workers_per_gpu: worker processes that share each visible GPU. keep_weights: write the evaluated network of every run (``last``), or
    of the best run of each cell (:mod:`benchmark.training.kept_weights`). tensorboard: write event files as well.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1, le=4096)] = 1
    workers_per_gpu: Annotated[int, Field(ge=1, le=64)] = 1
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 15.0
    keep_weights: Literal[False, "last", "best_per_cell"] = False
    tensorboard: bool = False


class ComponentConfig(Section):
    """One component: the name it was written with, the method it is, all its options, and its code version."""

    name: str
    use: str
    options: dict[str, Any]
    version: int

    @field_validator("options")
    @classmethod
    def _as_the_sweep_file_was_read(cls, value: dict[str, Any]) -> dict[str, Any]:
        """No option is a list: what comes from ``config.yaml`` as one was typed as a tuple, and a method is given that."""
        return {name: _tuples(option) for name, option in value.items()}


class RunConfig(Section):
    """Everything one run needs. ``sweep`` and ``method`` are labels.

    fold_bn: whether frozen networks (the source, a teacher) run with BatchNorm folded into their convolutions: faster, and the same but for
    rounding.
    """

    sweep: str
    method: str
    dataset: str
    data: Data
    fraction: Fraction
    seed: Annotated[int, Field(ge=0)]
    backbone: str
    weights_id: str
    pretrained: bool = True
    components: list[ComponentConfig]
    protocol: str = "smile"
    training: Training
    linearity: Linearity
    evaluation: Evaluation
    precision: Literal["fp32", "bf16"]
    compile: Literal["off", "on"]
    fold_bn: Literal["off", "on"] = "off"
    runtime: Runtime

    @property
    def uses(self) -> tuple[str, ...]:
        """The methods that its components are."""
        return tuple(component.use for component in self.components)

    @property
    def averages(self) -> bool:
        """Whether the network that is evaluated is made of several iterates."""
        return any(method_info(use).declarations["chooses_weights"] for use in self.uses)

    def identity(self) -> dict[str, Any]:
        """What the hash covers."""
        config = self.model_dump(mode="json", exclude={"sweep", "method", "runtime", "backbone", "components", "protocol"})
        for section in (config["data"], config["data"]["also_test"]):
            if section is not None:
                del section["use"]
        if self.data.train_list is not None:
            config["data"]["train_list"] = file_sha256(Path(self.data.train_list))
        for path, value in LEGACY.items():
            _drop(config, path.split("."), value)
        config["components"] = [_component_identity(c) for c in self.components]
        config["loop_version"] = LOOP_VERSION
        return config

    @functools.cached_property
    def canonical(self) -> tuple[str, str]:
        """The text that is hashed, before and after the seed: canonical JSON of :meth:`identity`."""
        identity = self.identity()
        parts = ({k: v for k, v in identity.items() if k < "seed"}, {k: v for k, v in identity.items() if k > "seed"})
        before, after = (json.dumps(part, sort_keys=True, separators=(",", ":")) for part in parts)
        return f'{before[:-1]},"seed":', f",{after[1:]}"

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "RunConfig":
        """As pydantic's. Copies that differ in their seed alone share :attr:`canonical`: a sweep has thousands of them."""
        copied = super().model_copy(update=update, deep=deep)
        if update and update.keys() - {"seed"}:
            copied.__dict__.pop("canonical", None)
        return copied

    @property
    def config_hash(self) -> str:
        before, after = self.canonical
        return hashlib.sha256(f"{before}{self.seed}{after}".encode()).hexdigest()

    @property
    def run_id(self) -> str:
        parts = [self.dataset, f"{self.fraction:g}", self.method, f"s{self.seed}", self.config_hash[:8]]
        return "-".join(map(in_folders, parts))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _component_identity(component: ComponentConfig) -> dict[str, Any]:
    legacy = method_info(component.use).declarations["legacy"]
    options = {k: v for k, v in component.options.items() if k not in legacy or legacy[k] != v}
    return {"use": component.use, "options": json.loads(json.dumps(options)), "version": component.version}


def _drop(config: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        config = config[key]
    if config[path[-1]] == value:
        del config[path[-1]]


def with_defaults(protocol: str, section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` over the protocol's defaults for ``section``; its milestone goes with its schedule."""
    defaults = PROTOCOLS[protocol].get(section, {})
    other = given.get("schedule", "step") != "step"
    return {**{key: value for key, value in defaults.items() if not (other and key == "milestone")}, **given}


def resize_for(image_size: int) -> int:
    """What images are decoded to where ``data.resize`` is not given, for crops of ``image_size``; both in pixels."""
    return round(image_size * 256 / 224)


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], value: Any, where: str, section: str = "") -> Model:
    """``value`` as ``model``; errors name ``where``, the key path (below ``section``), the valid choices and the nearest match."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines = [_explain(model, item, where, section) for item in error.errors()]
        raise UsageError("\n".join(dict.fromkeys(lines))) from error


def check_together(evaluation: Evaluation, data: Data, training: Training, linearity: Linearity, where: str) -> None:
    """Refuse a crop that is larger than the images, a run that would score nothing, or snapshots that would not be snapshots."""
    if data.resize is not None and data.resize < training.image_size:
        raise UsageError(f"{where}: data.resize: {data.resize} is less than training.image_size ({training.image_size})")
    count = evaluation.snapshots
    if count == 1 or count > training.steps:
        raise UsageError(f"{where}: evaluation.snapshots: {count}: give 0, or 2 to training.steps ({training.steps})")
    if evaluation.test:
        return
    for key, wrong, right in (
        ("data.val_fraction", data.val_fraction == 0, "above 0: nothing else is left to score"),
        ("linearity.pairs", linearity.pairs > 0, "0: linearity is measured on test pairs too"),
        ("evaluation.snapshots", count > 0, "0: snapshots are scored on test"),
        ("data.also_test", data.also_test is not None, "null: it is evaluated beside test"),
    ):
        if wrong:
            raise UsageError(f"{where}: evaluation.test: false needs {key} {right}")


_KIND = re.compile(r"int$|str$|float$|bool$|constrained-|.*\[")
"""What pydantic adds to the place of an error in a union."""


def _explain(model: type[BaseModel], item: Mapping[str, Any], where: str, section: str) -> str:
    *outer, last = item["loc"] or ("",)
    loc = [part for part in outer if not (isinstance(part, str) and _KIND.match(part))]
    if item["type"] == "extra_forbidden":
        return f"{where}: {_path(section, *loc, last)}: " + unknown("key", last, _keys(model, loc))
    path = _path(section, *loc, *([] if isinstance(last, str) and _KIND.match(last) else [last]))
    place = f"{where}: {path}" if path else where
    if item["type"] == "missing":
        return f"{place}: this key is missing"
    said = item["msg"].removeprefix("Value error, ")
    if isinstance(item["input"], BaseModel) or (isinstance(item["input"], dict) and item["type"] == "value_error"):
        return f"{place}: {said}"  # of several keys together
    shown = repr(item["input"])
    return f"{place}: {shown if len(shown) < 80 else shown[:77] + '...'}: {said}"


def _path(*parts: object) -> str:
    return ".".join(str(part) for part in parts if part != "")


def _keys(model: type[BaseModel], loc: list[Any]) -> list[str]:
    for part in loc:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        inner = getattr(field, "annotation", None)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return list(model.model_fields)


def load_run(path: Path, device: str | None = None) -> RunConfig:
    """The resolved config of a run folder's ``config.yaml``. device: ``cpu`` or ``cuda``, instead of the one it was last asked for on."""
    found = validate(RunConfig, yamlio.read(path), str(path))
    if device is None:
        return found
    return found.model_copy(update={"runtime": found.runtime.model_copy(update={"device": device})})
