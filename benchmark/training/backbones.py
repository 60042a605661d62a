"""Build networks from prepared weights; prepare timm tags."""

import contextlib
import copy
import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from benchmark.config.run_config import RunConfig
from benchmark.config.weights import Weights, architecture_of, parse, store
from benchmark.errors import UsageError, first_line, unknown
from benchmark.storage.run_folder import replacing, write_json
from benchmark.training.net import Net
from benchmark.training.seeding import Streams
from methods.base import Body
from methods.shared import init_linear


@dataclass(frozen=True)
class Source:
    """A pre-trained network with its classifier, and how its inputs are normalised."""

    net: Net
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    sha256: str


def source_of(config: RunConfig, streams: Streams) -> Source:
    """A copy of the run's source network that the run may tap; the weights are read once per process."""
    if not config.pretrained:
        return random_source(config.backbone, streams, config.training.image_size)
    return copy.deepcopy(_pretrained(config.backbone, config.training.image_size))


@functools.cache
def _pretrained(name: str, image_size: int) -> Source:
    return load_source(name, image_size)


def student_of(source: Source, num_classes: int, streams: Streams) -> Net:
    """A trainable copy of the source network, with a classifier of ``num_classes`` drawn from stream ``init``."""
    body = copy.deepcopy(source.net.body)
    with torch.random.fork_rng(devices=[]):
        body.reset_classifier(num_classes)
    net = Net(body).requires_grad_(True)
    init_linear(net.head, streams.torch("init"))
    return net


def load_source(name: str, image_size: int | None = None) -> Source:
    """The pre-trained network that ``name`` means, in eval mode, on the CPU. Needs prepared weights, no network.

    image_size: pixels, for networks that are made for one size: position embeddings are resampled as timm does it.
    """
    weights = parse(name)
    if not weights.prepared:
        raise UsageError(f"backbone '{name}' is not prepared; run: {weights.prepare_command}")
    sha256 = weights.sha256  # before the file is read: a damaged one is named, not taken apart
    state = _read(weights)
    body = _create(weights, _num_classes(weights, state))
    if weights.embedded:  # another library's names in the same order
        state = dict(zip(body.state_dict(), state.values(), strict=True))
    try:
        body.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()
        begin = next(iter(state), "").partition(".")[0] + "."
        keys = f" (every key begins with '{begin}')" if state and all(key.startswith(begin) for key in state) else ""
        raise UsageError(
            f"backbone '{name}': {weights.file} does not fit {weights.architecture}{keys}: {' '.join(reason[:3])[:400]}"
        ) from error
    _set_size(body, weights, image_size)
    return _source(body, sha256)


def random_source(name: str, streams: Streams, image_size: int | None = None) -> Source:
    """The same architecture with random weights drawn from stream ``init``: the control without transfer."""
    weights = parse(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(streams.seed("init", -1))
        body = _create(weights, None)
    _set_size(body, weights, image_size)
    return _source(body, f"random:{streams.seed('init', -1):x}")


def empty(name: str, num_classes: int, image_size: int) -> Source:
    """The network that a run on ``name`` trains, for weights to be loaded into; the pre-trained ones need not be there."""
    weights = Weights(name, architecture_of(name), Path(), None)
    body = _create(weights, num_classes)
    _set_size(body, weights, image_size)
    return _source(body, "")


def prepare(tag: str, from_file: Path | None = None) -> Weights:
    """Fetch a timm tag (or read ``from_file``) into the store, with its sha256; the architecture is checked."""
    weights = parse(tag)
    if weights.tag is None or weights.embedded:
        return weights
    body = _create(weights, None)
    if from_file is not None:
        body = load_source(f"{weights.architecture}@{from_file}").net.body
    else:
        try:
            body = timm.create_model(weights.architecture, pretrained=True)
        except Exception as error:
            raise UsageError(f"backbone '{tag}' could not be fetched: {error}; bring the file and use --from FILE") from error
    store().mkdir(parents=True, exist_ok=True)
    content = save({k: v.contiguous() for k, v in body.state_dict().items()})
    with replacing(weights.file) as file:
        file.write(content)
    config = body.pretrained_cfg
    facts = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "source": str(from_file or config.get("hf_hub_id") or config.get("url")),
        "licence": config.get("license"),
    }
    write_json(weights.file.with_suffix(".json"), facts)
    return weights


def verify(name: str) -> str:
    """sha256 of the prepared weights, after a check against the store's record and a full load."""
    return load_source(name).sha256


def _create(weights: Weights, num_classes: int | None) -> Body:
    base = weights.architecture.split(".")[0]
    if base not in timm.list_models():
        raise UsageError(f"backbone '{weights.name}': " + unknown("timm architecture", base, timm.list_models(f"{base[:4]}*")))
    try:
        return timm.create_model(weights.architecture, pretrained=False, **({} if num_classes is None else {"num_classes": num_classes}))
    except RuntimeError as error:
        raise UsageError(f"backbone '{weights.name}': {error}") from error


def _set_size(body: nn.Module, weights: Weights, image_size: int | None) -> None:
    """Transformers are told the size; a convolutional network takes any and has no such method."""
    set_input_size = getattr(body, "set_input_size", None)
    if image_size is None or set_input_size is None:
        return
    try:
        set_input_size(img_size=(image_size, image_size))
    except Exception as error:
        raise UsageError(
            f"training.image_size: {image_size}: {weights.architecture} cannot be set to this size: {first_line(error)}"
        ) from error


def _read(weights: Weights) -> dict[str, Tensor]:
    try:
        if weights.file.suffix == ".safetensors":
            state = load_file(weights.file)
        else:
            state = torch.load(weights.file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(
            f"backbone '{weights.name}': {weights.file} cannot be read as weights: {_why_unreadable(weights, error)}"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UsageError(f"backbone '{weights.name}': {weights.file} holds no state dict of tensors")
    return _unwrapped(state)


_LFS = b"version https://git-lfs.github.com/spec/"
_WRAPPERS = ("module.", "_orig_mod.")
"""What ``DataParallel`` (and its distributed form) and ``torch.compile`` put before the keys of the network they wrap."""


def _why_unreadable(weights: Weights, error: Exception) -> str:
    with contextlib.suppress(OSError), weights.file.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            return "it is a pointer of Git LFS, not the file itself: run 'git lfs pull' where it was cloned"
    if weights.file.suffix == ".safetensors" or isinstance(error, OSError):
        return first_line(error)
    held = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))  # torch's own words advise to unpickle whatever it is
    what = f"it holds {held[1]}, and only tensors are read" if held else "it is no whole file of torch.save"
    return f"{what}: save the network's state_dict(), or write a .safetensors file"


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` by the names of the network itself, where it was saved with a wrapper around it."""
    while prefix := next((each for each in _WRAPPERS if state and all(key.startswith(each) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _num_classes(weights: Weights, state: dict[str, Tensor]) -> int | None:
    """Classes of the classifier in ``state``: 0 without one, None where timm does not say what it is called."""
    config = timm.get_pretrained_cfg(weights.architecture)
    if weights.embedded or config is None or not isinstance(config.classifier, str):
        return None
    key = f"{config.classifier}.weight"
    return state[key].shape[0] if key in state else 0


def _source(body: Body, sha256: str) -> Source:
    head = body.get_classifier()
    num_classes = head.out_features if isinstance(head, nn.Linear) else 0
    config = body.pretrained_cfg
    net = Net(body).eval().requires_grad_(False)
    mean, std = config.get("mean", (0.485, 0.456, 0.406)), config.get("std", (0.229, 0.224, 0.225))
    return Source(net, num_classes, tuple(mean), tuple(std), sha256)
