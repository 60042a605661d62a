"""Compiled runs: the same curves, and nothing compiled twice in one worker."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

import methods
from benchmark.errors import UsageError
from benchmark.training.frozen import compiled
from benchmark.training.run import preflight
from datasets.stream import Normalise, gather, gather_normalised
from methods.testing import fast_options, trained
from tests.contract.entries import trial
from tests.methods.real import random_net
from tests.runs import config

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def fresh_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def test_networks_that_differ_in_weights_alone_share_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    inductor = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, **options: inductor(net, backend="eager", **options))
    x = torch.randn(4, 3, 32, 32)
    for seed in range(3):
        net = random_net(seed=seed).train()
        net.tap(net.stages)
        torch.testing.assert_close(compiled(net)(x).logits, random_net(seed=seed).train()(x).logits)
        assert graphs() == 1
    compiled(net)(x[:3])
    assert graphs() == 2, "a smaller batch is a graph of its own, not one of unknown size"


def test_a_compiled_run_has_the_same_curves_and_the_next_one_compiles_nothing(images: Path, backbone: str) -> None:
    curves = {}
    for compile in ("off", "on"):
        run = config(images, backbone, "smile", compile=compile, fold_bn="on", training={"log_every": 1})
        curves[compile] = [row["loss/total"] for row in trained(run, 6).curves]
    assert curves["on"] == pytest.approx(curves["off"], rel=1e-4)
    first = graphs()
    assert first == 2, "the student and the frozen network"
    other = config(images, backbone, "smile", compile="on", fold_bn="on", training={"log_every": 1}, seeds=[3])
    trained(other, 2)
    assert graphs() == first
    torch._dynamo.reset()
    counters.clear()
    trained(run, 2)
    assert counters["aot_autograd"]["autograd_cache_hit"] + counters["inductor"]["fxgraph_cache_hit"] >= 2
    assert counters["inductor"]["fxgraph_cache_miss"] == 0


ARCHITECTURES: dict[str, dict[str, int]] = {
    "test_resnet": {},
    "test_vit": {"image_size": 160, "batch_size": 4},
    "test_convnext": {"image_size": 64, "batch_size": 4},
}


@torch._dynamo.config.patch(recompile_limit=1000)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_methods_in_one_process_compile_once_without_a_break(
    architecture: str, images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inductor = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, **options: inductor(net, backend="eager", **options))
    size = ARCHITECTURES[architecture]
    settings = {"training": {"log_every": 1, "steps": 4, **size}, "data": {"resize": 8 + size.get("image_size", 32)}, "pretrained": False}
    for name in methods.METHODS:
        use = trial(name, images, backbone).method
        entry = {"name": "method under test", "use": use, **fast_options(use, {})}
        if name == "manifold_mixup":
            entry["layers"] = [1]  # each place where it may mix is a graph, and which of them the first steps draw differs by seed
        found = []
        for seed in (0, 3):
            curves = {}
            for compile in ("off", "on"):
                run = config(images, architecture, entry, compile=compile, fold_bn="on", seeds=[seed], **settings)
                try:
                    preflight([run])
                except UsageError:
                    break
                rows = trained(run, 4).curves
                curves[compile] = [row[key] for row in rows for key in row if key.startswith("loss/")]
            if curves:
                assert curves["on"] == pytest.approx(curves["off"], rel=1e-5, abs=1e-5), name
            found.append(graphs())
        assert found[0] == found[1], f"{name}: a second seed compiles again"
        assert not counters["graph_break"], f"{name}: {dict(counters['graph_break'])}"


def test_the_fused_crop_is_the_crop_the_flip_and_the_normalisation() -> None:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, 3 * 5000, np.uint8))
    geometry = torch.tensor([[0, 33, 900, 4500], [50, 60, 70, 55], [0, 1, 0, 1]])
    normalise = Normalise((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), 16, torch.device("cpu"))
    expected = normalise(gather(pixels, *geometry, 16))
    assert torch.equal(gather_normalised(pixels, geometry, 16, normalise.scale, normalise.shift), expected)
    fused = torch.compile(gather_normalised, dynamic=False, fullgraph=True)(pixels, geometry, 16, normalise.scale, normalise.shift)
    assert fused.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fused, expected, rtol=0, atol=1e-6)
