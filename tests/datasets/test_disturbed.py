"""``data prepare`` is killed, run twice at once, and given a full disk or very many images."""

import os
import random
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datasets import releases

ROOT = Path(__file__).parents[2]
ANON_LIMIT = 1536 << 20


def start(name: str, source: Path, cache: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "benchmark", "data", "prepare", name, "--from", str(source), "--resize", "32", "--partial", *options]
    environment = {**os.environ, "SMILEBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def arenas(cache: Path) -> dict[str, bytes]:
    """Every file of every arena; an unfinished one has a name that begins with a dot."""
    folder = cache / "arenas"
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture
def archive(image_folder, tmp_path: Path) -> Path:
    """A thousand images in a compressed archive."""
    root = image_folder(per_class=250, sizes=((200, 150),))
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(root, "photos")
    return tmp_path / "photos.tar.gz"


@pytest.mark.slow
def test_prepare_killed_at_twenty_random_moments_gives_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    begin = time.monotonic()
    assert start("cifar10", archive, tmp_path / "whole").wait() == 0
    seconds = time.monotonic() - begin
    rng = random.Random(0)
    for _ in range(20):
        process = start("cifar10", archive, tmp_path / "killed")
        try:
            process.wait(rng.uniform(0.1, 1.0) * seconds)
            shutil.rmtree(tmp_path / "killed" / "arenas")
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
    assert start("cifar10", archive, tmp_path / "killed").wait() == 0
    whole, killed = arenas(tmp_path / "whole"), arenas(tmp_path / "killed")
    assert len(whole) == 3
    assert list(whole.values()) == list(killed.values())
    assert not [path for path in (tmp_path / "killed").rglob(".*") if path.is_dir()]


@pytest.mark.slow
def test_two_commands_at_once_give_one_arena(archive: Path, tmp_path: Path) -> None:
    processes = [start("cifar10", archive, tmp_path / "both") for _ in range(2)]
    shown = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], shown
    assert len(list((tmp_path / "both" / "arenas").iterdir())) == 1
    assert len(list((tmp_path / "both" / "unpacked").iterdir())) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("full_while", ["unpacking", "decoding"])
def test_a_full_disk_is_said_and_leaves_nothing(small_disk: Path, image_folder, tmp_path: Path, full_while: str) -> None:
    root = image_folder(per_class=5, sizes=((40, 30),))
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(root, "photos")
        if full_while == "unpacking":
            (tmp_path / "large").write_bytes(bytes(3 << 20))
            tar.add(tmp_path / "large", "photos/zzz")
    process = start("cifar10", tmp_path / "photos.tar", small_disk, "--resize", "256")
    shown = " ".join(process.communicate()[0].split())
    assert process.returncode == 2, shown
    assert f"error: the disk of {small_disk}/{'unpacked' if full_while == 'unpacking' else 'arenas'} is full" in shown
    assert not [path for path in small_disk.glob("*/*") if path.parent.name == ("unpacked" if full_while == "unpacking" else "arenas")]
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert start("cifar10", tmp_path / "photos.tar", small_disk, "--resize", "256").wait() == 0


WATCHED = """
import os, sys, threading, time
from pathlib import Path

highest = 0
def watch():
    global highest
    while True:
        total = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                text = (folder / "status").read_text()
            except OSError:
                continue
            fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
            if int(fields["PPid"]) == os.getpid() or folder.name == str(os.getpid()):
                total += int(fields.get("RssAnon", "0 kB").split()[0]) << 10
        highest = max(highest, total)
        time.sleep(0.1)

if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    import numpy as np
    from datasets.arena import Decode, prepare
    from datasets.base import open_dataset
    split = prepare(open_dataset("folder:" + sys.argv[1]), Decode(64, False), 2).split("train")
    prepared = highest
    import torch
    from datasets.stream import Preprocess, TrainStream
    class Streams:
        def numpy(self, stream, step=None):
            return np.random.default_rng([len(stream), step or 0])
    preprocess = Preprocess(56, (.5,) * 3, (.25,) * 3, torch.device("cpu"))
    stream = TrainStream(split, np.arange(len(split)), preprocess, batch_size=256, flip=True, rng=Streams())
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 8, 8), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(2))
    optimizer = torch.optim.SGD([*net.parameters()][:2], lr=0.01)
    for i in range(stream.steps_per_epoch):
        sample = stream.batch(i)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(sample.x), sample.y).backward()
        optimizer.step()
    time.sleep(0.2)
    print(len(split), prepared, highest)
"""


@pytest.mark.slow
def test_a_hundred_thousand_images_keep_memory_small(tmp_path: Path, cache: Path) -> None:
    """Links to a thousand distinct files stand for the images: each is read and decoded like a file of its own."""
    pool = [releases.picture(tmp_path / "pool" / f"{i}.jpg", i) for i in range(1000)]
    for split, count in (("train", 99_000), ("test", 1_000)):
        for label in ("cat", "dog"):
            folder = tmp_path / "many" / split / label
            folder.mkdir(parents=True)
            for i in range(count // 2):
                os.link(pool[i % 1000], folder / f"{i}.jpg")
    script = tmp_path / "watched.py"
    script.write_text(WATCHED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script, tmp_path / "many"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    images, prepared, highest = map(int, done.stdout.split())
    print(f"RssAnon of the process and its decoders: {prepared >> 20} MiB preparing, {highest >> 20} MiB in all")
    assert images == 99_000
    assert highest < ANON_LIMIT
