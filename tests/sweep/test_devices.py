"""Which workers get which GPU, by made-up device lists: nothing here needs one."""

import json
import threading
from pathlib import Path

import pytest

from benchmark import devices
from benchmark.devices import default_workers, visible_gpus, worker_devices
from tests.sweep.fake import release
from tests.sweep.sweeping import make, run, sweep, wait_for


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("0", ["0"]),
        ("2, 0", ["2", "0"]),
        ("GPU-8932f937,GPU-6a96bdb8", ["GPU-8932f937", "GPU-6a96bdb8"]),
        ("MIG-41b35014-6cf9-52ea-80e4-0c4c8d1a3d2e", ["MIG-41b35014-6cf9-52ea-80e4-0c4c8d1a3d2e"]),
        ("MIG-GPU-8932f937/1/0", ["MIG-GPU-8932f937/1/0"]),
        ("0,-1,1", ["0"]),  # CUDA hides what follows an invalid entry
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),  # Slurm's word for none
    ],
)
def test_the_list_is_read_as_cuda_reads_it(listed: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_gpus() == expected


def test_without_a_list_devices_are_numbered_as_cuda_numbers_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container that was given the third GPU only, its file is nvidia2, and CUDA calls it 0."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "Path", lambda _: tmp_path)
    for name in ("nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus() == ["0"]


def test_every_gpu_gets_its_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
    assert worker_devices("cuda") == ["GPU-a", "GPU-b", "GPU-c"]
    assert default_workers("cuda", threads=1, workers_per_gpu=1) == 3
    assert default_workers("cuda", threads=1, workers_per_gpu=2) == 6
    monkeypatch.setattr("benchmark.devices.cpu_count", lambda: 8)
    assert worker_devices("cpu") == ["cpu"]
    assert default_workers("cpu", threads=3, workers_per_gpu=4) == 2


@pytest.mark.parametrize("workers", [2, 4])
def test_each_worker_sees_one_device_and_all_devices_are_used(tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run ends before every worker has one."""
    gpus = ["3", "MIG-GPU-8932f937/1/0"]
    show = {"steps": 4, "held": 1, "show": ["CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"]}
    runs = make(tmp_path, {f"r{n}": show for n in range(3 * workers)})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(gpus))

    def release_all() -> None:
        wait_for(lambda: sum((run(tmp_path, run_id).claims / "1").exists() for run_id in runs) == workers)
        for run_id in runs:
            release(run(tmp_path, run_id).path)

    threading.Thread(target=release_all, daemon=True).start()
    outcome, shown = sweep(tmp_path, runs, workers=workers, threads=2, device="cuda")
    assert outcome.exit_code == 0, shown
    seen: dict[int, set[str]] = {}
    for run_id in runs:
        line = next(line for line in run(tmp_path, run_id).log_path.read_text().splitlines() if "{" in line)
        shown = json.loads(line[line.index("{") :])
        assert shown["OMP_NUM_THREADS"] == "2"
        pid = json.loads((run(tmp_path, run_id).claims / "1").read_text())["pid"]
        seen.setdefault(pid, set()).add(shown["CUDA_VISIBLE_DEVICES"])
    assert all(len(found) == 1 for found in seen.values())
    used = sorted(found.pop() for found in seen.values())
    assert used == sorted(gpus * (workers // 2))


WHOLE = "GPU 1: NVIDIA A100 (UUID: GPU-bb)"
CUT = ["GPU 0: NVIDIA A100 (UUID: GPU-aa)", "  MIG 3g.20gb     Device  0: (UUID: MIG-b1)", "  MIG 3g.20gb     Device  1: (UUID: MIG-b2)"]
OLD = ["GPU 0: NVIDIA A30 (UUID: GPU-cc)", "  MIG 1g.6gb Device 0: (UUID: MIG-GPU-cc/7/0)"]


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (CUT, ["MIG-b1", "MIG-b2"]),
        (OLD, ["MIG-GPU-cc/7/0"]),
        ([*CUT, WHOLE], ["MIG-b1", "MIG-b2", "GPU-bb"]),
        ([WHOLE, *CUT], ["GPU-bb", "MIG-b1", "MIG-b2"]),
        ([WHOLE], ["0"]),
        (["No devices were found"], ["0"]),
    ],
)
def test_every_mig_slice_and_every_whole_gpu_beside_them_gets_workers(
    listing: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in listing))
    program.chmod(0o755)
    (tmp_path / "nvidia0").touch()
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "Path", lambda place: tmp_path if place == "/dev" else Path(place))
    devices.driver_list.cache_clear()
    try:
        assert worker_devices("cuda") == expected
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(expected))
        assert worker_devices("cuda") == expected, "what is listed can be asked for"
    finally:
        devices.driver_list.cache_clear()
