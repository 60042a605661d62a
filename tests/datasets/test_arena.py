"""The decoded cache: right pixels, one identity per content, and no damage that goes unnoticed."""

import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import default_loader
from torchvision.transforms import Resize

from datasets.arena import Decode, find, prepare, verify
from datasets.base import DataError, open_dataset

SQUARE = Decode(32, keep_aspect=False)
ROOT = Path(__file__).parents[2]


def folder_arena(root: Path, decode: Decode = SQUARE, workers: int = 1):
    return prepare(open_dataset(f"folder:{root}"), decode, workers)


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("resize", [17, 32, 50])
def test_pixels_equal_torchvision_resize(image_folder, resize: int, keep_aspect: bool) -> None:
    root = image_folder(sizes=((40, 30), (33, 61), (32, 32), (100, 33)))
    dataset = open_dataset(f"folder:{root}")
    split = prepare(dataset, Decode(resize, keep_aspect)).split("train")
    transform = Resize(resize) if keep_aspect else Resize((resize, resize))
    for i, item in enumerate(dataset.splits["train"]):
        expected = np.asarray(transform(default_loader(str(item.path))))
        assert np.array_equal(split.image(i), expected)
        assert (split.keys[i], split.labels[i]) == (item.key, item.label)


def test_processes_build_the_same_arena(image_folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = image_folder(per_class=80)
    counts = []
    dataset = open_dataset(f"folder:{root}")
    one = prepare(dataset, SQUARE, 1, lambda done, total: counts.append((done, total)))
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path / "other"))
    two = prepare(dataset, SQUARE, 2)
    assert counts == [(128, 320), (160, 320), (288, 320), (320, 320)]
    assert one.path != two.path
    assert one.data_hash == two.data_hash
    assert all((one.path / name).read_bytes() == (two.path / name).read_bytes() for name in ("train.bin", "test.bin", "manifest.json"))


def test_find_opens_only_what_is_prepared(image_folder) -> None:
    dataset = open_dataset(f"folder:{image_folder()}")
    assert find(dataset, SQUARE) is None
    built = prepare(dataset, SQUARE)
    assert find(dataset, SQUARE).data_hash == built.data_hash
    assert find(dataset, Decode(33, keep_aspect=False)) is None
    with pytest.raises(DataError, match=r"no split 'val'.*train, test"):
        built.split("val")


def test_pixels_are_read_only(image_folder) -> None:
    image = folder_arena(image_folder()).split("test").image(0)
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1


def test_data_hash_is_of_contents_not_of_places(image_folder, tmp_path: Path) -> None:
    root = image_folder()
    before = folder_arena(root)
    moved = Path(shutil.copytree(root, tmp_path / "moved"))
    (moved / "train" / "cat" / "0.jpg").rename(moved / "train" / "cat" / "zz.jpg")
    assert folder_arena(moved).data_hash == before.data_hash
    assert folder_arena(moved).split("train").keys != before.split("train").keys


def test_data_hash_sees_labels_contents_and_options(image_folder, tmp_path: Path) -> None:
    root = image_folder()
    hashes = {
        folder_arena(root, decode).data_hash for decode in (SQUARE, Decode(33, False), Decode(32, True), Decode(32, False, exif=True))
    }
    swapped = Path(shutil.copytree(root, tmp_path / "swapped"))
    for name, other in (("cat", "dog"), ("dog", "cat")):
        shutil.copy(root / "train" / name / "0.jpg", swapped / "train" / other / "0.jpg")
    hashes.add(folder_arena(swapped).data_hash)
    added = Path(shutil.copytree(root, tmp_path / "added"))
    shutil.copy(root / "train" / "cat" / "0.jpg", added / "test" / "cat" / "copy.jpg")
    hashes.add(folder_arena(added).data_hash)
    assert len(hashes) == 6


def test_exif_rotation_is_an_option(image_folder) -> None:
    root = image_folder(sizes=((40, 20),))
    file = root / "train" / "cat" / "0.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(file).save(file, exif=exif)
    upright, turned = (folder_arena(root, Decode(20, keep_aspect=True, exif=exif)).split("train") for exif in (False, True))
    assert upright.image(0).shape == (20, 40, 3)
    assert turned.image(0).shape == (40, 20, 3)
    assert np.array_equal(turned.image(0), np.rot90(upright.image(0), -1))


def test_fast_decode_is_close_and_of_the_same_size(image_folder) -> None:
    root = image_folder(sizes=((400, 300),))
    slow, fast = (folder_arena(root, Decode(40, keep_aspect=True, fast_decode=fast)).split("train") for fast in (False, True))
    assert np.array_equal(slow.widths, fast.widths)
    difference = np.abs(slow.pixels.astype(int) - fast.pixels)
    assert 0 < difference.mean() < 8


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_corrupt_image_is_named_and_leaves_nothing(image_folder, cache: Path, damage: str, workers: int) -> None:
    root = image_folder(per_class=70, sizes=((12, 12),))
    file = root / "test" / "dog" / "3.jpg"
    content = file.read_bytes()
    file.write_bytes({"truncated": content[: len(content) // 2], "garbage": b"x" * 50, "empty": b""}[damage])
    with pytest.raises(DataError, match=r"test/dog/3\.jpg"):
        folder_arena(root, workers=workers)
    assert list((cache / "arenas").iterdir()) == []


def _damage_flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["train.bin", "test.bin", "manifest.json"])
@pytest.mark.parametrize(
    "damage", [_damage_flip, Path.unlink, lambda path: os.truncate(path, path.stat().st_size - 1), lambda path: path.write_bytes(b"")]
)
def test_damage_is_named_not_skipped(image_folder, name: str, damage) -> None:
    root = image_folder()
    folder = folder_arena(root).path
    damage(folder / name)
    with pytest.raises(DataError, match=f"damaged: .*{name}"):
        folder_arena(root)
    shutil.rmtree(folder)
    folder_arena(root)


def test_find_leaves_pixel_checksums_to_verify(image_folder) -> None:
    dataset = open_dataset(f"folder:{image_folder()}")
    _damage_flip(prepare(dataset, SQUARE).path / "train.bin")
    arena = find(dataset, SQUARE)
    with pytest.raises(DataError, match=r"train\.bin.*checksum"):
        verify(arena)


def test_manifest_tells_what_wrote_it(image_folder) -> None:
    manifest = json.loads((folder_arena(image_folder()).path / "manifest.json").read_text())["manifest"]
    assert manifest["decode"] == {"resize": 32, "keep_aspect": False, "fast_decode": False, "exif": False}
    assert manifest["classes"] == ["cat", "dog"]
    assert set(manifest["written_with"]) == {"pillow", "numpy"}


def _prepare_at(root: Path, barrier, results) -> None:
    dataset = open_dataset(f"folder:{root}")
    barrier.wait()
    results.put(prepare(dataset, SQUARE).data_hash)


def test_two_processes_prepare_at_once(image_folder, cache: Path) -> None:
    root = image_folder(per_class=40)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_prepare_at, args=(root, barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    hashes = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert hashes == {folder_arena(root).data_hash}
    assert len(list((cache / "arenas").iterdir())) == 1


SLOW_PREPARE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background has it ignored
from datasets.arena import Decode, prepare
from datasets.base import open_dataset
def progress(done, total):
    print(done, flush=True)
    time.sleep(60)
prepare(open_dataset("folder:" + sys.argv[1]), Decode(32, False), 1, progress)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_prepare_leaves_no_half_arena(image_folder, cache: Path, number: int) -> None:
    root = image_folder(per_class=80, sizes=((12, 12),))
    process = subprocess.Popen([sys.executable, "-c", SLOW_PREPARE, str(root)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"128\n"
    assert len(list((cache / "arenas").iterdir())) == 1
    assert find(open_dataset(f"folder:{root}"), SQUARE) is None
    process.send_signal(number)
    process.wait(60)
    process.stdout.close()
    arena = folder_arena(root)
    assert list((cache / "arenas").iterdir()) == [arena.path]


WITH_DECODERS = """
import multiprocessing, sys, time
from datasets.arena import Decode, prepare
from datasets.base import open_dataset
def progress(done, total):
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    time.sleep(60)
if __name__ == "__main__":
    prepare(open_dataset("folder:" + sys.argv[1]), Decode(32, False), 2, progress)
"""


def test_decoding_processes_end_with_a_killed_prepare(image_folder, tmp_path: Path) -> None:
    root = image_folder(per_class=80, sizes=((12, 12),))
    (tmp_path / "script.py").write_text(WITH_DECODERS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, tmp_path / "script.py", str(root)], env=environment, stdout=subprocess.PIPE)
    decoders = [Path("/proc") / pid for pid in process.stdout.readline().decode().split()]
    assert len(decoders) == 2
    assert all(decoder.exists() for decoder in decoders)
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while any(decoder.exists() for decoder in decoders):
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Killed(io.BytesIO):
    """Stands for a decoding process that the system kills."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_killed_decoding_process_is_an_error_not_a_hang(image_folder) -> None:
    dataset = open_dataset(f"folder:{image_folder(per_class=80, sizes=((12, 12),))}")
    dataset.trap = Killed()
    start = time.monotonic()
    with pytest.raises(DataError, match="fewer workers"):
        prepare(dataset, SQUARE, 2)
    assert time.monotonic() - start < 30
