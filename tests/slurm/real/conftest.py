"""One cluster for all tests of a session, stopped after them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import lacking
from tests.slurm.real.cluster import Cluster, unavailable


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if reason := unavailable():
        lacking("slurm", reason)
    folder = Path(tempfile.mkdtemp(prefix="sb-slurm-", dir="/tmp"))  # sockets need a short path
    folder.chmod(0o755)  # so that munge's socket can be reached
    found = Cluster(folder)
    try:
        found.up()
        yield found
    finally:
        found.down()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def environment(cluster: Cluster, cache: Path, tmp_path: Path) -> dict[str, str]:
    """Of commands: this cluster, the suite's cache, and a home without options of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))}
    root = Path(__file__).resolve().parents[3]
    own = {
        "SLURM_CONF": str(cluster.conf),
        "PYTHONPATH": f"{root}:{root}/tests/slurm/real",
        "CUDA_VISIBLE_DEVICES": "",
        "HOME": str(tmp_path),
    }
    return {**kept, **own, "SMILEBENCH_CACHE": str(cache)}
