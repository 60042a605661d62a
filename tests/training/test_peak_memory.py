"""Peak memory is a run's own, although what earlier runs freed is kept for the next."""

import subprocess
import sys

CODE = """
import torch
from benchmark.training import peak_memory as memory
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
