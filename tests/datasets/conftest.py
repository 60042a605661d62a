from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Writer = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh cache for each test."""
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def image_folder(tmp_path: Path) -> Writer:
    """Writes ``<root>/{train,test}/<class>/<n>.jpg`` with random images of mixed sizes; ``sizes`` are (width, height), taken in turn."""

    def write(
        name: str = "photos", classes: tuple[str, ...] = ("cat", "dog"), per_class: int = 4, sizes: tuple = ((40, 30), (33, 61))
    ) -> Path:
        rng = np.random.default_rng(0)
        for split in ("train", "test"):
            for label in classes:
                (tmp_path / name / split / label).mkdir(parents=True)
                for n in range(per_class):
                    width, height = sizes[n % len(sizes)]
                    noise = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
                    Image.fromarray(noise).resize((width, height)).save(tmp_path / name / split / label / f"{n}.jpg", quality=90)
        return tmp_path / name

    return write
