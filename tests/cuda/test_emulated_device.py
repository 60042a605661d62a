"""Methods on an emulated GPU: nothing that a GPU refuses, no waits, the CPU's curves, resuming; and each kind of fault is caught."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

import methods
from benchmark.config.method_options import method_info
from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.training.run import Interrupted, preflight, train
from datasets.stream import TrainStream
from methods.fine_tuning import FineTuning
from methods.testing import SOURCE_CLASSES, STEPS, advance, fast_options, trained
from tests.contract.entries import ENTRIES
from tests.cuda.emulated import EmulatedDevice, Refused
from tests.runs import Notebook, config

FAST = ("fine_tuning", "delta", "smile", "bi_tuning", "stoch_norm", "reg_sl", "bss+mixup")
EVERY = 2
"""Steps between log points."""
_NEED_ANOTHER = {name for name in methods.METHODS if method_info(name).declarations["needs_head_start"]}
ALONE = tuple(name for name in ENTRIES if name not in _NEED_ANOTHER)
"""Entries that need no other method beside them; those that do are among the compositions."""


@pytest.fixture(scope="session")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """timm's tiny ViT with random weights and a source classifier."""
    file = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = timm.create_model("test_vit", num_classes=SOURCE_CLASSES, img_size=160)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, file)
    return f"test_vit@{file}"


def run_on(device: str, name: str, images: Path, backbone: str, precision: str = "fp32", log_every: int = EVERY) -> RunConfig:
    entry = {"name": "method under test", "use": name, **fast_options(name, {})}
    size = {} if "vit" not in backbone else {"image_size": 160, "batch_size": 4}
    data = {"data": {"resize": 168}} if size else {}
    settings = {"precision": precision, "compile": "off", "fold_bn": "on", "training": {"log_every": log_every, **size}, **data}
    return config(images, backbone, entry, **settings, runtime={"device": device})


def losses(curves: list[dict[str, float]]) -> list[float]:
    return [value for row in curves for key, value in row.items() if key.startswith("loss/")]


def refusal(run: RunConfig) -> str | None:
    try:
        preflight([run])
    except UsageError as error:
        return str(error)
    return None


def check(name: str, images: Path, backbone: str, precision: str) -> None:
    """Every step runs on the device, reads once at a log point and never elsewhere, and gives the CPU's curve."""
    refused = refusal(run_on("cpu", name, images, backbone, precision))
    if refused is not None:
        with EmulatedDevice():
            assert refusal(run_on("cuda", name, images, backbone, precision)) == refused
        return
    expected = trained(run_on("cpu", name, images, backbone, precision), STEPS).curves
    with EmulatedDevice() as device:
        fit = trained(run_on("cuda", name, images, backbone, precision), 0)
        assert all(p.is_cuda for p in fit.net.parameters())
        for i in range(STEPS):
            logs = (i + 1) % EVERY == 0
            with device.refusing(reads=int(logs)):
                advance(fit, 1)
            assert device.reads == logs
    assert len(fit.curves) == STEPS // EVERY
    assert losses(fit.curves) == pytest.approx(losses(expected), rel=1e-6, abs=1e-6)


def check_resumed(name: str, images: Path, backbone: str, folder: Path) -> None:
    """A whole run through the door that sweeps use, and one stopped at step 3 and taken up again, have the CPU's curve."""
    if refusal(run_on("cpu", name, images, backbone)) is not None:
        return
    train(run_on("cpu", name, images, backbone), Notebook(folder / "cpu"))
    with EmulatedDevice():
        run = run_on("cuda", name, images, backbone)
        train(run, Notebook(folder / "whole"))
        with pytest.raises(Interrupted):
            train(run, Notebook(folder / "cut", stop_after=3))
        train(run, Notebook(folder / "cut", claim=2))
    curves = {part: curve(folder / part) for part in ("cpu", "whole", "cut")}
    assert len(curves["cpu"]) == STEPS // EVERY
    assert losses(curves["whole"]) == pytest.approx(losses(curves["cpu"]), rel=1e-6, abs=1e-6)
    assert losses(curves["cut"]) == losses(curves["whole"])


def curve(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "curves.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", FAST)
def test_a_method_waits_for_nothing_and_has_the_cpus_curve(name: str, images: Path, backbone: str) -> None:
    check(name, images, backbone, "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ALONE)
def test_every_entry_on_a_convolutional_network(name: str, precision: str, images: Path, backbone: str) -> None:
    check(name, images, backbone, precision)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ALONE)
def test_every_entry_on_a_transformer(name: str, precision: str, images: Path, transformer: str) -> None:
    check(name, images, transformer, precision)


def test_a_stopped_run_resumes_to_the_same_curve(images: Path, backbone: str, tmp_path: Path) -> None:
    check_resumed("smile", images, backbone, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_every_entry_resumes_to_the_same_curve(name: str, images: Path, backbone: str, tmp_path: Path) -> None:
    check_resumed(name, images, backbone, tmp_path)


FAULTS = {
    "mixed devices": (
        lambda self, step: {"fault": (step.out.features * torch.ones(step.out.features.shape[1])).sum()},
        "are on cpu, others on cuda:0",
    ),
    "CPU generator": (
        lambda self, step: {"fault": torch.empty_like(step.out.features).uniform_(generator=torch.Generator()).sum()},
        "generator",
    ),
    "pageable copy": (lambda self, step: {"fault": torch.ones(3).to(step.out.features.device, non_blocking=True).sum()}, "not pinned"),
    "pageable literal": (lambda self, step: {"fault": torch.tensor([1.0, 2.0], device=step.out.features.device).sum()}, "not pinned"),
    "waiting copy": (lambda self, step: {"fault": torch.ones(3).pin_memory().to(step.out.features.device).sum()}, "host waits for"),
    "item": (lambda self, step: {"fault": step.out.features.sum() * step.out.features.mean().item()}, "host waits"),
    "copy to the host": (lambda self, step: {"fault": step.out.features.detach().cpu().sum().to(step.batch.y.device)}, "host waits"),
    "truth": (lambda self, step: {"fault": step.out.logits.sum()} if step.out.logits.isfinite().all() else {}, "host waits"),
    "boolean index": (lambda self, step: {"fault": step.out.logits[step.out.logits > 0].sum()}, "host waits"),
    "eigenvalues": (lambda self, step: {"fault": torch.linalg.eigvalsh(step.out.features @ step.out.features.T).sum()}, "host waits"),
}


@pytest.mark.parametrize(("penalties", "words"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_caught(
    penalties: Callable[..., dict[str, Tensor]], words: str, images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FineTuning, "penalties", penalties)
    with EmulatedDevice() as device:
        fit = trained(run_on("cuda", "fine_tuning", images, backbone, log_every=STEPS), 0)
        with device.refusing(), pytest.raises(Refused, match=words):
            advance(fit, 1)


def test_a_lost_memory_format_is_caught(images: Path, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = TrainStream.batch
    monkeypatch.setattr(TrainStream, "batch", lambda self, i: (sample := batch(self, i))._replace(x=sample.x.contiguous()))
    with EmulatedDevice():
        fit = trained(run_on("cuda", "fine_tuning", images, backbone), 0)
        with pytest.raises(Refused, match="not channels_last"):
            advance(fit, 1)


def test_the_device_counts_kernels_and_reads_and_ends_with_its_block() -> None:
    with EmulatedDevice() as device:
        assert torch.cuda.is_available()
        a = torch.arange(6.0, device="cuda").view(2, 3)
        device.reset()
        b = [t * 2 for t in a.unbind()]
        torch._foreach_add_(b, 1.0)
        assert (dict(device.launches), device.reads) == ({"mul": 2, "_foreach_add_": 1}, 0)
        many = [torch.zeros(3, device="cuda") for _ in range(111)]
        device.reset()
        torch._foreach_mul_(many, 2.0)
        assert device.launches["_foreach_mul_"] == 2, "110 tensors fit into one launch"
        torch._foreach_mul_(many[:5], [torch.zeros((), device="cuda")] * 5)
        assert device.launches["_foreach_mul_"] == 7, "lists of different shapes take a kernel for each tensor"
        assert np.array_equal(torch.stack(b).cpu().numpy(), [[1, 3, 5], [7, 9, 11]])
        assert device.reads == 1
        assert a.device == torch.device("cuda:0")
    with pytest.raises(Refused, match="where there is none"):
        a + 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("bss", 60), ("reg_sl_penalty", 60), ("stoch_norm", 330), ("bi_tuning", 320)])
def test_kernels_per_step_beyond_fine_tunings(name: str, most: int, images: Path) -> None:
    counts = {}
    for method in ("fine_tuning", name):
        entry = {"name": "method under test", "use": method, **fast_options(method, {})}
        settings = {"pretrained": False, "precision": "bf16", "compile": "off", "training": {"batch_size": 2, "log_every": STEPS}}
        with EmulatedDevice() as device:
            fit = trained(config(images, "resnet50", entry, **settings, runtime={"device": "cuda"}), 1)
            device.reset()
            advance(fit, 1)
        counts[method] = device.launches.total()
    assert counts[name] - counts["fine_tuning"] <= most
