"""Finished runs that kept their weights, in a results folder, as a sweep leaves them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmark.storage import yamlio
from benchmark.training.run import train
from tests.runs import Notebook, config


def finished(results: Path, images: Path, backbone: str, method: Any = "fine_tuning", **changes: Any) -> Path:
    """The folder of a run that is trained here."""
    runtime = {"keep_weights": "last", **changes.pop("runtime", {})}
    run = config(images, backbone, method, runtime=runtime, **changes)
    folder = results / "test" / "runs" / run.run_id
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yamlio.dump(run.model_dump(mode="json")))
    train(run, Notebook(folder))
    return folder


def predictions(folder: Path) -> pd.DataFrame:
    """The run's own predictions on test, in the order of its files by name."""
    return pd.read_parquet(folder / "predictions.parquet")


def images_of_test(images: Path) -> list[Path]:
    """The test images in the order of ``predictions.parquet``."""
    return sorted((images / "test").glob("*/*.png"), key=lambda path: path.relative_to(images / "test").as_posix())


def photo(path: Path, width: int = 71, height: int = 53, seed: int = 0) -> Path:
    """A JPEG that is no square."""
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path
