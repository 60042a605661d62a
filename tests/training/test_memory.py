"""Peak memory is a run's own, although what earlier runs freed is kept for the next."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.training import on_device
from benchmark.training.net import Net
from benchmark.training.run import train
from tests.runs import Notebook, config

CODE = """
import torch
from benchmark.training import on_device as memory
memory.keep_pages()
cpu = torch.device("cpu")
memory.reset_peak()
idle = memory.peak_bytes(cpu)
big = [torch.ones(2**20) for _ in range(100)]
del big
assert memory.peak_bytes(cpu) - idle > 350 * 2**20, "the peak is that of the largest moment"
memory.reset_peak()
assert memory.peak_bytes(cpu) - idle < 100 * 2**20, "a new run starts from what is in use"
"""


def test_a_run_does_not_inherit_the_peak_of_the_one_before() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_starts_without_the_networks_of_the_one_before(images: Path, backbone: str, tmp_path: Path) -> None:
    def networks() -> int:
        return sum(type(found) is Net for found in gc.get_objects())

    gc.disable()
    try:
        left = []
        for n in range(3):
            train(config(images, backbone, "delta", fold_bn="on"), Notebook(tmp_path / str(n)))
            on_device.reset_peak()
            left.append(networks())
    finally:
        gc.enable()
    assert left[0] == left[1] == left[2]
