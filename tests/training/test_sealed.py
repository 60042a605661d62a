"""No code of a training process reaches ``test`` before the last step, and a tuning run never does."""

import json
from pathlib import Path

import pytest

from benchmark.errors import UsageError
from benchmark.training import images as run_images
from benchmark.training.run import assemble, assess, preflight, train
from datasets.arena import ArenaSplit
from datasets.seal import SealedError, check, sealed
from tests.runs import Notebook, config

SPY = '''
"""Spy: looks for the test split in every hook."""

import gc
from typing import Literal

from methods.base import Component


class Spy(Component):
    """hook: where it looks. route: how."""

    neutral = {}

    def __init__(self, *, hook: Literal["init", "surgery", "setup", "penalties", "after_step"] = "setup",
                 route: Literal["import", "cache", "prepare", "objects"] = "import") -> None:
        self.hook, self.route, self.found = hook, route, []
        self._look("init")

    def _look(self, hook, ctx=None):
        if hook == self.hook:
            getattr(self, f"_{self.route}")(ctx)

    def _decode(self):
        from datasets.arena import decodings, find
        from datasets.base import open_dataset
        return next(decode for decode in decodings().values() if find(open_dataset(USE), decode, closed=("test",)))

    def _import(self, ctx):
        from datasets.arena import find
        from datasets.base import open_dataset
        find(open_dataset(USE), self._decode())

    def _prepare(self, ctx):
        from datasets.arena import prepare
        from datasets.base import open_dataset
        prepare(open_dataset(USE), self._decode())

    def _cache(self, ctx):
        from benchmark.training.images import open_arena
        from datasets.arena import open_split
        arena = open_arena(USE, self._decode())
        assert "test" not in arena.splits
        open_split(arena, "test")

    def _objects(self, ctx):
        """Whatever lies in memory, the closures behind ``ctx`` included."""
        from datasets.arena import ArenaSplit
        if [o for o in gc.get_objects() if type(o) is ArenaSplit and o.name == "test"]:
            raise LookupError("the test split lies in memory")

    def surgery(self, net):
        self._look("surgery")

    def setup(self, ctx):
        self._look("setup", ctx)

    def penalties(self, step):
        self._look("penalties", step.ctx)
        return {}

    def after_step(self, step):
        if step.i + 1 == step.ctx.total_steps:
            self._look("after_step", step.ctx)
'''


@pytest.fixture(scope="module", autouse=True)
def spy(tmp_path_factory: pytest.TempPathFactory, images: Path):
    root = tmp_path_factory.mktemp("spies")
    (root / "spy_method.py").write_text(SPY.replace("USE", repr(f"folder:{images}")))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        yield


def spying(images: Path, backbone: str, **options: str):
    return config(images, backbone, {"name": "spy", "use": "spy_method:Spy", **options})


@pytest.mark.parametrize("route", ["import", "cache", "prepare"])
@pytest.mark.parametrize("hook", ["init", "surgery", "setup", "penalties", "after_step"])
def test_a_method_that_reaches_for_test_fails_in_every_hook(hook: str, route: str, images: Path, backbone: str, tmp_path: Path) -> None:
    train(config(images, backbone), Notebook(tmp_path / "before"))
    with pytest.raises(SealedError, match="'test' is closed while a network trains"):
        train(spying(images, backbone, hook=hook, route=route), Notebook(tmp_path / "spy"))
    assert not (tmp_path / "spy" / "record.json").exists()
    train(config(images, backbone), Notebook(tmp_path / "after"))
    assert (tmp_path / "after" / "record.json").exists()


@pytest.mark.parametrize("hook", ["setup", "penalties", "after_step"])
def test_nothing_of_test_lies_in_memory_while_a_network_trains(hook: str, images: Path, backbone: str, tmp_path: Path) -> None:
    preflight([config(images, backbone)])
    train(config(images, backbone, evaluation={"snapshots": 2}), Notebook(tmp_path / "before"))
    train(spying(images, backbone, hook=hook, route="objects"), Notebook(tmp_path / "spy"))
    assert (tmp_path / "spy" / "record.json").exists()


def test_the_seal_is_lifted_after_an_error_and_may_be_nested() -> None:
    def leave_by_an_error() -> None:
        with sealed():
            with sealed():
                check("train")
            with pytest.raises(SealedError):
                check("test")
            raise KeyError

    with pytest.raises(KeyError):
        leave_by_an_error()
    check("test")


def test_evaluation_before_the_last_step_is_refused(images: Path, backbone: str, tmp_path: Path) -> None:
    run = config(images, backbone)
    fit, found, source = assemble(run)
    fit.step = run.training.steps - 1
    with pytest.raises(RuntimeError, match="test is opened after the last step, and this is step 5 of 6"):
        assess(run, fit, found, source, Notebook(tmp_path))


TUNING = {"data": {"val_fraction": 0.25}, "linearity": {"pairs": 0}, "evaluation": {"test": False}}


def test_a_tuning_run_never_opens_test(images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = config(images, backbone, "smile", **TUNING)
    train(config(images, backbone), Notebook(tmp_path / "before"))
    read = []
    original = ArenaSplit.image
    monkeypatch.setattr(ArenaSplit, "image", lambda self, i: read.append(self.name) or original(self, i))

    def opened(*_: object) -> None:
        raise AssertionError("test was opened")

    monkeypatch.setattr(run_images, "open_split", opened)
    preflight([run])
    train(run, Notebook(tmp_path / "tuned"))
    assert set(read) == {"train"}
    record = json.loads((tmp_path / "tuned" / "record.json").read_text())
    assert (record["test_accuracy"], record["test_mean_class_accuracy"], record["linearity"]) == (None, None, None)
    assert 0 <= record["val_accuracy"] <= 1
    assert not (tmp_path / "tuned" / "predictions.parquet").exists()


def test_a_tuning_run_is_another_run_and_needs_something_to_score(images: Path, backbone: str) -> None:
    tuned = config(images, backbone, **TUNING)
    scored = config(images, backbone, **{**TUNING, "evaluation": {"test": True}})
    assert tuned.config_hash != scored.config_hash
    for section, change, words in (
        ("data", {"val_fraction": 0.0}, "needs data.val_fraction above 0"),
        ("linearity", {"pairs": 4}, "needs linearity.pairs 0"),
        ("evaluation", {"test": False, "snapshots": 2}, "needs evaluation.snapshots 0"),
    ):
        with pytest.raises(UsageError, match=words):
            config(images, backbone, **{**TUNING, section: change})
