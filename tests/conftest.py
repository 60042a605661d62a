"""What several folders of tests share: programs, an own cache, a tiny image folder, a tiny backbone with a source classifier."""

import os
import tarfile
from pathlib import Path

import pytest
import torch

from benchmark.report.figures import processes
from methods.testing import tiny_backbone, tiny_images
from tests.programs import pytest_runtest_protocol

__all__ = ["pytest_runtest_protocol"]

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite's cache, so that tests neither read nor write the user's."""
    root = tmp_path_factory.mktemp("cache")
    os.environ["SMILEBENCH_CACHE"] = str(root)
    return root


@pytest.fixture(autouse=True)
def drawn_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn in the test's own process, whatever another test's sweep has begun: in others no patch of it would act."""
    monkeypatch.setattr(processes, "_begun", False)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image folder of the methods' contract."""
    return tiny_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The backbone of the methods' contract."""
    return tiny_backbone(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CIFAR-10 JPEG copy that lies beside some checkouts, unpacked; tests that use it skip elsewhere."""
    archive = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10_jpg.tar.xz"
    if not archive.is_file():
        pytest.skip("needs ../shared/data/cifar10_jpg.tar.xz, which is not here")
    target = tmp_path_factory.mktemp("cifar10")
    with tarfile.open(archive) as file:
        file.extractall(target, filter="data")
    return target
