"""``make perf`` in small: every part measures what it says, keeps what is finished, and marks a bound that is missed."""

import gc
import io
import json
import sys
import types
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from rich.console import Console

import methods
from benchmark.errors import UsageError
from benchmark.perf import __main__ as perf
from benchmark.perf import data_path, gpu, kernels, overhead, resources, steps
from benchmark.perf.measure import Measured, interleaved, ratio, show
from benchmark.training.net import Net
from tests.contract.entries import ADAPTERS

TINY = steps.Setting("test_resnet", 32, 8, rounds=1)
QUIET = Console(quiet=True)


def test_a_row_says_what_is_wanted_and_whether_it_holds() -> None:
    rows = [Measured("a", 1.04, at_most=1.03), Measured("b", 6.0, at_least=5), Measured("c", 2.0)]
    assert [row.met for row in rows] == [False, True, None]
    console = Console(width=100, record=True, file=io.StringIO())
    assert show(console, "title", rows) == rows
    lines = [line for line in console.export_text().splitlines() if "│" in line]
    assert "<= 1.03" in lines[0]
    assert "MISSED" in lines[0]
    assert ">= 5" in lines[1]
    assert "met" in lines[1]
    assert "met" not in lines[2].lower()


def test_tasks_take_turns_and_the_first_round_does_not_count() -> None:
    ticks, order = iter(range(100)), []
    times = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, lambda: next(ticks) ** 2)
    assert order == ["a", "b"] * 3
    assert times == {"a": [9, 17], "b": [13, 21]}
    assert ratio([1.0, 2.0, 9.0], [1.0, 1.0, 3.0]) == 2.0


def test_every_method_can_be_timed_and_bounds_are_looser_on_a_cpu() -> None:
    rows, loop = steps.measure(replace(TINY, rounds=1))
    assert [row.what for row in rows] == [name for name in steps.every()[1:] if name not in ADAPTERS]
    assert {row.what.rpartition("+")[2] for row in rows} == {*methods.METHODS} - {"fine_tuning", *ADAPTERS}
    assert all(row.value > 0 for row in rows)
    assert loop > 0
    wanted = {row.what: row.at_most for row in rows if row.at_most}
    assert wanted.keys() <= steps.notes().keys() <= methods.METHODS.keys()
    assert wanted["l2_sp"] == pytest.approx(1.08)
    assert wanted["smile"] == pytest.approx(1.41)
    assert next(row for row in rows if row.what == "smile").details == ("2", "1", "1.33")


def test_methods_for_transformers_are_timed_on_one_and_refused_by_name_elsewhere() -> None:
    names = ("fine_tuning", *ADAPTERS)
    rows, _ = steps.measure(steps.Setting("test_vit", 160, 2, rounds=1, names=names))
    assert [row.what for row in rows] == list(ADAPTERS)
    with pytest.raises(UsageError, match="lora"):
        steps.measure(replace(TINY, names=("fine_tuning", "lora")))


def test_parts_of_methods_are_timed_against_their_usual_forms() -> None:
    rows = kernels.measure(TINY, rounds=1)
    assert len(rows) == 6
    assert all(row.value > 0 for row in rows)
    assert [row.at_least for row in rows if row.at_least] == [5]


def test_the_usual_forms_do_the_same_as_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path / "cache"))
    pull, teacher = (steps.started(run) for run in steps.configured(tmp_path, TINY, (kernels.PULL, kernels.MEAN_TEACHER)))
    with torch.no_grad():
        for net in (pull.net, teacher.net):
            for p in net.body_parameters():
                p.add_(0.1 * torch.randn(p.shape))
    pair = kernels._pull(pull)
    gradients = {}
    for name, act in (("ours", pair.ours), ("usual", pair.usual)):
        for p in pull.net.parameters():
            p.grad = torch.zeros_like(p)
        act()
        gradients[name] = [p.grad for p in pull.net.parameters()]
    torch.testing.assert_close(gradients["ours"], gradients["usual"])
    assert max(g.abs().max() for g in gradients["ours"]) > 0


def test_channel_importance_is_timed_on_all_channels_of_four_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path / "cache"))
    (run,) = steps.configured(tmp_path, TINY, (kernels.PULL,))
    fit = steps.started(run)
    pair = kernels._importance(fit)
    found = pair.ours()
    assert pair.share == kernels.NAIVE_FORWARDS / sum(len(importance) for importance in found)
    assert len(found) == 4


@pytest.mark.slow
def test_the_data_path_is_timed_on_both_sides() -> None:
    rows = data_path.measure(images=32, rounds=1)
    assert [row.at_least for row in rows] == [15, 5, 0.95]
    assert all(row.value > 0 for row in rows)


def test_flops_are_those_of_the_network() -> None:
    net = Net(timm.create_model("resnet18"))
    stream = SimpleNamespace(batch=lambda i: SimpleNamespace(x=torch.zeros(4, 3, 224, 224)), batch_size=48)
    flops = gpu.step_flops(SimpleNamespace(net=net, stream=stream)) / 48
    first_layer = 2 * 64 * 3 * 49 * 112 * 112  # needs no gradient of its input
    assert flops == pytest.approx(3 * 2 * 1.814e9 - first_layer, rel=0.01)


@pytest.mark.slow
def test_gpu_parts_run_through_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "WATCHED", 2)
    rows = gpu.ceiling(QUIET, TINY, batches=(4,))
    found = {row.what: row for row in rows}
    assert found["loop over ceiling, batch 4: step time"].at_most == 1.05
    assert {f"host waits in {gpu.WATCHED} steps: {name}" for name in steps.core()} <= found.keys()
    assert not any("MFU" in what for what in found), "a CPU's peak is not known"
    assert [row.what for row in gpu.gpu_steps(QUIET, TINY)][:-1] == list(steps.core()[1:])
    (estimate,) = gpu.paper(QUIET, TINY)
    assert estimate.value > 0
    assert "1200 runs" in estimate.what


@pytest.mark.slow
def test_workers_are_compared_by_what_they_train_together() -> None:
    console = Console(record=True, file=io.StringIO())
    rows = gpu.workers(console, TINY, counts=(1, 2), length=10)
    assert [row.what[:9] for row in rows] == ["1 workers", "2 workers"]
    assert "best number of workers on one device, test_resnet: " in console.export_text()


@pytest.mark.slow
def test_overhead_compares_one_worker_with_a_process_per_run() -> None:
    (row,) = overhead.measure(short=3, fresh=1, quick=False)
    assert row.value > 1, "a process of its own cannot be cheaper than a worker that is already there"
    assert row.at_least == 10


@pytest.mark.slow
def test_threads_and_memory_are_told_for_every_method() -> None:
    rows = resources.measure(replace(TINY, names=("fine_tuning", "mixup")))
    assert {row.what for row in rows} >= {"peak memory of fine_tuning", "peak memory of mixup"}
    assert all(row.value > 0 for row in rows)


@pytest.fixture
def fake_part(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    module = types.ModuleType("tests_fake_part")

    def report(console: Console) -> list[Measured]:
        calls.append(1)
        console.print("measured here")
        return [Measured("thing", 2.0, at_least=1)]

    module.report = report
    monkeypatch.setitem(sys.modules, "tests_fake_part", module)
    monkeypatch.setattr(perf, "PARTS", {"fake": "tests_fake_part"})
    return calls


def test_finished_parts_are_kept_and_not_measured_again(fake_part: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        perf.main(["fake"], into=tmp_path)
    assert len(fake_part) == 1
    assert capsys.readouterr().out.count("measured here") == 2
    kept = json.loads((tmp_path / "report.json").read_text())["fake"]
    assert kept["rows"][0] | {"what": "thing", "value": 2.0, "met": True} == kept["rows"][0]
    assert "torch" in kept["machine"]
    assert "measured here" in (tmp_path / "report.txt").read_text()
    perf.main(["fake"], into=tmp_path / "other")
    assert len(fake_part) == 2


@pytest.mark.parametrize("size", [1, 3])
def test_what_a_part_leaves_behind_is_freed_before_the_next(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that refer to themselves in circles, which Python's collector alone would free some time."""
    left: list[weakref.ref[torch.nn.Module]] = []
    alive: list[int] = []
    module = types.ModuleType("tests_leaving_part")

    def report(console: Console) -> list[Measured]:
        alive.append(sum(found() is not None for found in left))
        for _ in range(size):
            net = torch.nn.Linear(8, 8)
            net.again = types.SimpleNamespace(net=net)
            left.append(weakref.ref(net))
        return []

    module.report = report
    monkeypatch.setitem(sys.modules, "tests_leaving_part", module)
    monkeypatch.setattr(perf, "PARTS", dict.fromkeys(("one", "two", "three"), "tests_leaving_part"))
    gc.disable()
    try:
        perf.main(["one", "two", "three"], into=tmp_path)
    finally:
        gc.enable()
    assert alive == [0, 0, 0]


def test_an_unknown_part_is_refused_before_anything_is_measured(fake_part: list[int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown part 'fakee'; did you mean 'fake'"):
        perf.main(["fake", "fakee"], into=tmp_path)
    assert fake_part == []


def test_the_noise_images_are_what_the_stream_needs(tmp_path: Path) -> None:
    from benchmark.perf.measure import write_images

    write_images(tmp_path, 20, per_class=2, classes=3)
    files = sorted(tmp_path.rglob("*.png"))
    assert len(files) == 2 * 3 * 2
    assert np.asarray(Image.open(files[0])).shape == (20, 20, 3)
