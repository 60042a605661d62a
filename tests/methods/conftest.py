"""The fixture that puts one method together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from datasets.stream import Normalise
from tests.methods.real import Make, Ready, put_together, random_backbone, widened


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("random")


@pytest.fixture
def ready(images: Path, random_folder: Path) -> Make:
    """``ready(method, training=..., seed=..., **options)`` in float32."""

    def make(method: str, **options: Any) -> Ready:
        return put_together(images, random_backbone(random_folder, torch.float32), method, **options)

    return make


@pytest.fixture
def ready64(images: Path, random_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """As ``ready``, in float64 from the images on."""
    monkeypatch.setattr(Normalise, "__call__", widened(Normalise.__call__))
    torch.set_default_dtype(torch.float64)

    def make(method: str, **options: Any) -> Ready:
        return put_together(images, random_backbone(random_folder, torch.float64), method, **options)

    yield make
    torch.set_default_dtype(torch.float32)
