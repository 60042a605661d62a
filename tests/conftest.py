"""What several folders of tests share: an own cache, a tiny image folder, a tiny backbone with a source classifier."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

torch.set_num_threads(1)

CLASSES, PER_CLASS, SIDE = 3, 12, 40


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite's cache, so that tests neither read nor write the user's."""
    root = tmp_path_factory.mktemp("cache")
    os.environ["SMILEBENCH_CACHE"] = str(root)
    return root


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder of noise whose mean colour tells its class: 12 train and 6 test images in each of 3 classes, 40 px."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", PER_CLASS), ("test", PER_CLASS // 2)):
        for label in range(CLASSES):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for n in range(count):
                pixels = rng.integers(0, 150, (SIDE, SIDE, 3))
                pixels[..., label] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{n}.png")
    return root


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """timm's tiny ResNet with random weights and a 7-class source head, as a local checkpoint."""
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=7)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, file)
    return f"test_resnet@{file}"


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
