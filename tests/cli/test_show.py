"""``smilebench show``: what it prints and writes, and what it refuses."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from benchmark.cli.show import show, show_into
from benchmark.config import grid
from benchmark.errors import UsageError
from benchmark.report.batches import batch_pictures
from benchmark.sweep.results import asked_for
from datasets.base import DataError
from tests.integration.test_cli import sweep_file


def quiet() -> Console:
    return Console(file=io.StringIO(), width=160)


def settings(images: Path, backbone: str) -> list[str]:
    data = f"datasets=[{{name: tiny, use: 'folder:{images}'}}]"
    return [f"backbone={backbone}", data, "training.image_size=32", "training.batch_size=8", "linearity.pairs=4", "runtime.device=cpu"]


def test_it_prints_a_table_and_writes_a_picture(images: Path, backbone: str, tmp_path: Path) -> None:
    console = quiet()
    show(["mixup", *settings(images, backbone)], tmp_path / "m.png", 3, console)
    shown = console.file.getvalue()
    assert "mixup: the first batch on tiny at 100 % of the labels, seed 0" in shown
    assert "8 crops of 32 x 32 pixels, weight of an image's own part" in shown
    rows = [line for line in shown.splitlines() if "class" in line and ".png" in line]
    assert len(rows) == 3
    assert Image.open(tmp_path / "m.png").width > 300


def test_a_sweeps_methods_are_drawn_beside_it(images: Path, backbone: str, tmp_path: Path) -> None:
    sweep = sweep_file(tmp_path, images, backbone, methods=["fine_tuning", "mixup"], runtime={"device": "cpu"})
    console, out = quiet(), tmp_path / "out"
    show_into(sweep, [], out, 6, console)
    assert f"smilebench report {sweep} --out {out}" in console.file.getvalue().replace("\n", "")
    found = batch_pictures(out, asked_for(grid.load(sweep, [], out))[1])
    assert [(picture.dataset, picture.method) for picture in found] == [("tiny", "fine_tuning"), ("tiny", "mixup")]
    assert "nothing is mixed at this step: the network sees the crops" in found[0].caption
    about = json.loads((out / "batches" / "tiny-mixup.json").read_text())
    assert about["run_id"].startswith("tiny-1-mixup-s0-")
    assert (out / "batches" / "tiny-mixup.png").stat().st_size < 2**17
    with pytest.raises(UsageError, match=r"unknown method of 'small' 'mixupp'; did you mean 'mixup'\?"):
        show_into(sweep, ["mixupp"], out, 6, console)


@pytest.mark.parametrize(
    ("words", "out", "error", "reason"),
    [
        (["mixupp"], None, UsageError, "unknown method 'mixupp'; did you mean 'mixup'"),
        ([], None, UsageError, "name a method"),
        (["seed=1"], None, UsageError, "name a method"),
        (["mixup", "smile"], None, UsageError, "one method at a time, not mixup and smile"),
        (["mixup", "dataset=cub200"], None, DataError, "data set 'cub200' is not at hand: run 'smilebench data prepare cub200"),
        (["mixup", "dataset=digit"], None, UsageError, "did you mean 'digits'"),
        (["mixup", "training.sise=3"], None, UsageError, "unknown key 'sise'"),
        (["mixup"], Path("m.jpg"), UsageError, "must end in .png"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(words: list[str], out: Path | None, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        show(words, out, 8, quiet())
