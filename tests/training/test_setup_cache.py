"""Results of set-up passes belong to the code that made them, and a damaged one is made anew."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmark.training import setup_cache as module
from benchmark.training.setup_cache import SetupCache, setup_cache
from methods.delta import Delta
from methods.testing import trained
from tests.runs import config


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "setup"


def value(number: float, calls: list[float]) -> Callable[[], dict[str, Tensor]]:
    def compute() -> dict[str, Tensor]:
        calls.append(number)
        return {"x": torch.full((50,), number)}

    return compute


def test_two_components_do_not_read_each_others_results_nor_those_of_another_version() -> None:
    cache, calls = SetupCache({"weights": "w"}), []
    for number, (component, version) in enumerate([("a:A", 1), ("b:B", 1), ("a:A", 2), ("a:A", 1)]):
        found = cache.of(component, version)("stats", {}, value(number, calls))
        assert found["x"][0] == {3: 0}.get(number, number)
    assert calls == [0, 1, 2]


def test_what_another_run_computed_counts_as_long_as_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((10.0, 17.5))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    first, second, calls = SetupCache({"weights": "w"}), SetupCache({"weights": "w"}), []
    first.of("a:A", 1)("stats", {}, value(1, calls))
    assert first.spared == 0, "it is in its own wall time"
    for cache in (second, second):
        found = cache.of("a:A", 1)("stats", {}, value(2, calls))
    assert (calls, second.spared) == ([1], 15.0)
    assert found.keys() == {"x"}


def test_a_loop_or_a_timm_of_another_version_computes_anew(images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, calls = config(images, backbone), []

    def ask() -> None:
        setup_cache(run, "w", "d", "s", torch.device("cpu")).of("a:A", 1)("stats", {}, value(1, calls))

    ask()
    ask()
    assert len(calls) == 1
    monkeypatch.setattr(module, "LOOP_VERSION", 99)
    ask()
    monkeypatch.setattr(module.timm, "__version__", "0.0")
    ask()
    assert len(calls) == 3


def test_random_weights_of_another_architecture_are_other_weights(images: Path, backbone: str) -> None:
    calls: list[float] = []
    for number, architecture in enumerate(("test_resnet", "resnet18", "test_resnet")):
        run = config(images, backbone, pretrained=False).model_copy(update={"backbone": architecture})
        setup_cache(run, "random:1", "d", "s", torch.device("cpu")).of("a:A", 1)("stats", {}, value(number, calls))
    assert calls == [0, 1]


def test_a_mended_method_does_not_read_what_its_last_version_kept(images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old = trained(config(images, backbone, "delta"), 0).pipeline._named[0][1]._weights
    original = Delta._measure
    monkeypatch.setattr(Delta, "_measure", lambda self, ctx, taps: {k: v.flip(0) for k, v in original(self, ctx, taps).items()})
    run = config(images, backbone, "delta")
    (component,) = run.components
    bumped = run.model_copy(update={"components": [component.model_copy(update={"version": component.version + 1})]})
    new = trained(bumped, 0).pipeline._named[0][1]._weights
    assert all(torch.equal(new[tap], old[tap].flip(0)) for tap in old)


def test_a_run_says_how_long_the_passes_took_that_it_did_not_make(images: Path, backbone: str) -> None:
    first, second = (trained(config(images, backbone, method), 0) for method in ("delta", "delta+mixup"))
    assert first.spared == 0 < second.spared


@pytest.mark.parametrize("hosts", [2, 5])
def test_hosts_whose_processes_have_one_number_write_the_same_result_at_once(
    hosts: int, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cache that nodes share; all are done computing before the first writes, and write while the others do."""
    monkeypatch.setattr(os, "getpid", lambda: 4242)
    together, renaming = threading.Barrier(hosts), threading.Barrier(hosts)
    rename = os.replace

    def renamed(temporary: Path, path: Path) -> None:
        renaming.wait(20)
        rename(temporary, path)

    def compute() -> dict[str, Tensor]:
        together.wait(20)
        return {"x": torch.arange(50.0)}

    monkeypatch.setattr(os, "replace", renamed)
    ask = SetupCache({}).of("a:A", 1)
    with ThreadPoolExecutor(hosts) as pool:
        found = list(pool.map(lambda _: ask("stats", {}, compute), range(hosts)))
    found.append(ask("stats", {}, dict))
    assert all(torch.equal(each["x"], torch.arange(50.0)) for each in found)
    assert len(list(own_cache.iterdir())) == 1, "no temporary file is left"


@pytest.mark.parametrize("how", ["cut", "empty", "zeros"])
def test_a_damaged_result_is_made_anew(how: str, own_cache: Path) -> None:
    cache, calls = SetupCache({}).of("a:A", 1), []
    cache("stats", {}, value(5, calls))
    (file,) = own_cache.iterdir()
    content = file.read_bytes()
    file.write_bytes({"cut": content[:40], "empty": b"", "zeros": content[:120] + bytes(50) + content[170:]}[how])
    for _ in range(2):
        assert torch.equal(cache("stats", {}, value(5, calls))["x"], torch.full((50,), 5.0))
    assert len(calls) == 2
    assert len(list(own_cache.iterdir())) == 1, "no temporary file is left"


def test_a_component_may_keep_nothing_outside_its_setup(images: Path, backbone: str) -> None:
    fit = trained(config(images, backbone), 0)
    with pytest.raises(RuntimeError, match="during setup alone"):
        fit.ctx.cached("late", {}, dict)
