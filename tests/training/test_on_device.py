"""What ``auto`` means by made-up devices, how float32 is set, and which splits may lie on a device: nothing here needs a GPU."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark import devices
from benchmark.devices import Gpu, explain_auto, resolve_auto
from benchmark.errors import UsageError
from benchmark.training import on_device, preflight
from benchmark.training.on_device import Resident, set_numerics
from tests.training.test_parts import plain, split_of

AUTO = ("auto", "auto", "auto")


def seen(monkeypatch: pytest.MonkeyPatch, found: Gpu | None) -> None:
    monkeypatch.setattr(devices, "visible_gpus", lambda: [] if found is None else ["0"])
    monkeypatch.setattr(devices, "gpu", lambda cache: found)
    monkeypatch.setattr(devices, "compile_problem", lambda device: "")


@pytest.mark.parametrize(
    ("found", "steps", "expected"),
    [
        (None, 5000, ("cpu", "fp32", "off", "off")),
        (Gpu("H100", (9, 0), 2**36), 5000, ("cuda", "bf16", "on", "on")),
        (Gpu("A100", (8, 0), 2**36), 999, ("cuda", "bf16", "off", "on")),
        (Gpu("T4", (7, 5), 2**34), 1000, ("cuda", "fp32", "on", "on")),
    ],
)
def test_auto_follows_the_devices_capability(
    found: Gpu | None, steps: int, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen(monkeypatch, found)
    settled = resolve_auto("auto", *AUTO, steps, tmp_path)
    assert (settled.device, settled.precision, settled.compile, settled.fold_bn) == expected
    assert resolve_auto("auto", "fp32", "off", "off", steps, tmp_path).precision == "fp32", "what is written stays"
    lines = explain_auto(settled, 2)
    assert any("IEEE" in line for line in lines)
    assert found is None or any("workers per GPU: 2" in line for line in lines)


def test_without_a_compiler_auto_does_not_compile_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen(monkeypatch, Gpu("H100", (9, 0), 2**36))
    monkeypatch.setattr(devices, "compile_problem", lambda device: "a C compiler")
    settled = resolve_auto("cuda", *AUTO, 5000, tmp_path)
    assert settled.compile == "off"
    assert any("lacks a C compiler" in line for line in settled.why)


def test_torchs_own_reason_is_said_and_asked_for_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    calls = []

    def answer(found: dict):
        def run(*args: object, **kwargs: object) -> SimpleNamespace:
            calls.append(args)
            return SimpleNamespace(stdout=json.dumps(found), stderr="", returncode=0)

        return run

    monkeypatch.setattr(subprocess, "run", answer({"problem": "Torch not compiled with CUDA enabled"}))
    assert devices.gpu(tmp_path).problem == "Torch not compiled with CUDA enabled"
    monkeypatch.setattr(subprocess, "run", answer({"name": "L4", "capability": [8, 9], "memory": 23}))
    for _ in range(2):
        assert devices.gpu(tmp_path) == Gpu("L4", (8, 9), 23)
    assert len(calls) == 2, "what works is kept, what does not is asked again"
    settled = resolve_auto("auto", *AUTO, 10, tmp_path)
    assert "L4, capability 8.9" in settled.why[0]


def test_mig_slices_and_gpus_without_device_files_are_listed_by_the_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    listing = ["GPU 0: NVIDIA A100 (UUID: GPU-aa)", "  MIG 3g.20gb Device 0: (UUID: MIG-b1)", "  MIG 3g.20gb Device 1: (UUID: MIG-b2)"]
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: SimpleNamespace(stdout="\n".join(listing)))
    devices.driver_list.cache_clear()
    monkeypatch.setattr(devices, "driver_list", devices.driver_list.__wrapped__)
    assert devices.driver_list() == (1, ["MIG-b1", "MIG-b2"])
    monkeypatch.setattr(devices, "driver_list", lambda: (1, ["MIG-b1", "MIG-b2"]))
    monkeypatch.setattr(devices, "Path", lambda place: tmp_path if place == "/dev" else tmp_path / "dxg")
    assert devices.visible_gpus() == []
    (tmp_path / "nvidia0").touch()
    assert devices.visible_gpus() == ["MIG-b1", "MIG-b2"]
    (tmp_path / "nvidia0").unlink()
    (tmp_path / "dxg").touch()
    monkeypatch.setattr(devices, "driver_list", lambda: (2, []))
    assert devices.visible_gpus() == ["0", "1"]


def test_a_gpu_that_torch_cannot_use_is_refused_in_its_words() -> None:
    code = "from benchmark.training.preflight import check_device; check_device()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"CUDA_VISIBLE_DEVICES": ""})
    assert "UsageError: runtime.device: 'cuda', but torch cannot use a GPU here: " in done.stderr
    assert "runtime.device=cpu runs without one" in done.stderr


def test_compiling_without_a_compiler_is_refused_before_any_run(monkeypatch: pytest.MonkeyPatch, images: Path, backbone: str) -> None:
    from tests.runs import config

    monkeypatch.setattr(preflight, "compile_problem", lambda device: "a C++ compiler, and none is on the PATH")
    with pytest.raises(UsageError, match=r"compile: 'on' needs a C\+\+ compiler.*compile=off runs without it"):
        preflight.preflight([config(images, backbone, compile="on")])


def test_float32_is_ieee_wherever_it_was_left() -> None:
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    set_numerics(torch.device("cpu"))
    found = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    assert [place.fp32_precision for place in found] == ["ieee"] * 3
    assert not torch.backends.cudnn.benchmark
    set_numerics(torch.device("cuda"))
    assert torch.backends.cudnn.benchmark
    set_numerics(torch.device("cpu"))


def test_what_fits_on_a_device_is_shared_by_its_workers_and_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = {"free": 40, "reserved": 30, "allocated": 10}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (memory["free"], 400))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: memory["reserved"])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: memory["allocated"])
    cuda = torch.device("cuda")
    assert on_device.room(cuda, 1) == 30, "half of what is free, the allocator's spare blocks among it"
    assert on_device.room(cuda, 4) == 25, "a quarter of a quarter of the card"
    split = split_of([plain(1)] * 2)
    assert split.pixels.nbytes == 96
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: self)
    resident = Resident()
    assert resident.pixels(split, cuda, 1) is None
    memory["free"] = 400
    kept = resident.pixels(split, cuda, 1)
    assert np.array_equal(kept.numpy(), split.pixels)
    assert resident.nbytes == 96
    memory["free"] = 0
    assert resident.pixels(split, cuda, 1) is kept, "it lies there already"
    other = dataclasses.replace(split, name="other")
    assert resident.pixels(other, cuda, 1) is None
    assert resident.nbytes == 0
    assert resident.pixels(split, torch.device("cpu"), 1) is None
