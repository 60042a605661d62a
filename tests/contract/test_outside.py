"""Methods from outside the repository: planned without running their code, trained, used as the baseline, refused by name."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.config import grid
from benchmark.config.method_options import method_info
from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.training.run import preflight, train
from methods.testing import check_method, tiny_run
from tests.runs import Notebook

ROOT = Path(__file__).resolve().parents[2]
SHRINK = '''
"""Shrink: penalise large features."""

import logging
from typing import Literal

from methods.base import Component, MethodError

log = logging.getLogger(__name__)


class Shrink(Component):
    """weight: of the penalty."""

    log = logging.getLogger("not a declaration")
    paper = "none"
    terms = ("shrink",)
    neutral = {"weight": 0.0}
    version = 3

    def __init__(self, *, weight: float = 0.1, power: "Literal['one', 'two']" = "two") -> None:
        if weight < 0:
            raise MethodError("weight must be >= 0")
        self.weight, self.power = weight, power

    def penalties(self, step):
        size = step.out.features.abs() if self.power == "one" else step.out.features.square()
        return {"shrink": self.weight * size.mean()} if self.weight else {}


class Positional(Component):
    def __init__(self, weight: float = 0.1) -> None:
        self.weight = weight


class Untyped(Component):
    def __init__(self, *, weight=0.1) -> None:
        self.weight = weight


class OddType(Component):
    def __init__(self, *, weight: complex = 1) -> None:
        self.weight = weight


class NotLiteral(Component):
    def __init__(self, *, weight: float = 2 ** 3) -> None:
        self.weight = weight


class NotDeclared(Component):
    version = int("3")


class NoComponent:
    pass
'''
NEEDS = """
import a_package_that_is_not_there
from methods.base import Component


class Needs(Component):
    pass
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An import path with the package ``outsider``; its ``__init__`` may not run while a sweep is planned."""
    root = tmp_path_factory.mktemp("outside")
    package = root / "outsider"
    package.mkdir()
    (package / "__init__.py").write_text("import torch\n")
    (package / "shrink.py").write_text(SHRINK)
    (package / "syntax.py").write_text("class Broken(:\n")
    (package / "needs.py").write_text(NEEDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        yield root


def test_it_keeps_the_contract(folder: Path) -> None:
    check_method("outsider.shrink:Shrink", {"weight": 0.5, "power": "one"})
    check_method("outsider.shrink:Shrink+mixup", {"mixup.alpha": 1.0})


def test_it_trains_as_the_baseline_under_its_own_name(folder: Path, images: Path, backbone: str, tmp_path: Path) -> None:
    run = tiny_run(images, backbone, "outsider.shrink:Shrink", baseline="outsider.shrink:Shrink")
    assert re.fullmatch(r"tiny-1-outsider\.shrink_Shrink-s0-[0-9a-f]{8}", run.run_id)
    train(run, Notebook(tmp_path / run.run_id))
    record = json.loads((tmp_path / run.run_id / "record.json").read_text())
    assert record["method"] == "outsider.shrink:Shrink"
    part = {"name": "outsider.shrink:Shrink", "options": {"weight": 0.1, "power": "two"}, "version": 3}
    assert [{key: c[key] for key in part} for c in record["components"]] == [part]


def test_an_entry_with_options_and_a_label_is_the_same_method(folder: Path, images: Path, backbone: str) -> None:
    def entry(**options: object) -> RunConfig:
        return tiny_run(images, backbone, {"name": "mine", "use": "outsider.shrink:Shrink", **options})

    plain = tiny_run(images, backbone, "outsider.shrink:Shrink")
    assert entry(weight=1).components[0].options == {"weight": 1.0, "power": "two"}
    assert entry().config_hash == plain.config_hash != entry(weight=1).config_hash
    match = [{"match": {"method": "outsider.shrink:Shrink"}, "set": {"outsider.shrink:Shrink.power": "one"}}]
    both = tiny_run(images, backbone, "l2_sp+outsider.shrink:Shrink", overrides=match)
    assert both.components[1].options["power"] == "one"


def test_a_sweep_with_it_is_planned_and_described_without_torch(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\ndatasets: [digits]\nseeds: 1\nbaseline: outsider.shrink:Shrink\n"
        "methods: [outsider.shrink:Shrink, {name: mine, use: 'outsider.shrink:Shrink', weight: 2}]\n"
    )
    code = """
import sys
from pathlib import Path
from rich.console import Console
from benchmark.cli import listing
from benchmark.config import grid
from benchmark.sweep import plan
made = plan.make(grid.load(sys.argv[1]), Path("out"))
listing.describe("outsider.shrink:Shrink", Console())
print(made.counts["new"], [run.config.components[0].options["weight"] for run in made.runs], "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(file)]
    environment = {"PYTHONPATH": f"{folder}:{ROOT}", "PATH": "", "SMILEBENCH_CACHE": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "2 [0.1, 2.0] False", done.stderr
    assert "Shrink: penalise large features." in done.stdout


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("outsider.nothing:Shrink", "no module 'outsider.nothing' on the import path; install it, or put its folder on PYTHONPATH"),
        ("nobody.shrink:Shrink", "no module 'nobody.shrink'"),
        (":Shrink", "no module ''"),
        ("outsider.shrink:Shrunk", "outsider.shrink defines no class 'Shrunk'"),
        ("outsider.syntax:Broken", "syntax.py cannot be read as Python source"),
        ("outsider.shrink:Positional", "option 'weight' must be a keyword-only argument"),
        ("outsider.shrink:Untyped", "option 'weight' needs an annotation"),
        ("outsider.shrink:OddType", "complex is no type of an option"),
        ("outsider.shrink:NotLiteral", "option 'weight' must be written as a literal, not as 2 ** 3"),
        ("outsider.shrink:NotDeclared", "declaration 'version' must be written as a literal"),
        ("outsider.shrink:NoComponent", "it is no method: derive it from methods.base.Component"),
    ],
)
def test_what_cannot_be_read_is_refused_at_planning(name: str, reason: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(reason)) as error:
        method_info(name)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("outsider.needs:Needs", {}, "outsider.needs cannot be imported: ModuleNotFoundError.*a_package_that_is_not_there"),
        ("outsider.shrink:Shrink", {"weight": -1.0}, "weight must be >= 0"),
    ],
)
def test_what_cannot_run_is_refused_when_workers_start(
    name: str, options: dict[str, float], reason: str, folder: Path, images: Path, backbone: str
) -> None:
    run = tiny_run(images, backbone, {"name": "mine", "use": name, **options})
    with pytest.raises(UsageError, match=reason):
        preflight([run])


def test_the_default_baseline_must_be_among_the_methods(folder: Path, images: Path, backbone: str) -> None:
    with pytest.raises(UsageError, match="baseline: unknown method of this sweep 'fine_tuning'"):
        tiny_run(images, backbone, "outsider.shrink:Shrink", baseline=grid.SweepFile.model_fields["baseline"].default)
