"""Batches equal torchvision's transforms, and depend on the step and the streams alone."""

import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.datasets.folder import default_loader
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from datasets.arena import ArenaSplit, Decode, prepare
from datasets.base import DataError, open_dataset
from datasets.stream import (
    Ahead,
    Cutter,
    Normalise,
    Preprocess,
    Streams,
    TrainStream,
    center_windows,
    eval_batches,
    random_windows,
    train_batches,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = ((40, 30), (33, 61), (32, 32), (100, 33))


def normal(crop: int) -> Preprocess:
    return Preprocess(crop, MEAN, STD, torch.device("cpu"))


class FakeRng(Streams):
    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def numpy(self, stream: str, step: int | None = None) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(stream.encode()), -1 % 2**32 if step is None else step])


@pytest.fixture(params=[True, False], ids=["ragged", "square"])
def photos(request: pytest.FixtureRequest, image_folder) -> tuple[Path, Decode, ArenaSplit]:
    root = image_folder(per_class=8, sizes=SIZES)
    decode = Decode(29, keep_aspect=request.param)
    return root, decode, prepare(open_dataset(f"folder:{root}"), decode).split("train")


@pytest.fixture
def split(image_folder) -> ArenaSplit:
    return prepare(open_dataset(f"folder:{image_folder(per_class=8)}"), Decode(20, keep_aspect=True)).split("train")


def stream(split: ArenaSplit, indices: np.ndarray | None = None, **changes) -> TrainStream:
    options = {"batch_size": 6, "flip": True, "rng": FakeRng(), **changes}
    preprocess = normal(options.pop("crop", 16))
    return TrainStream(split, np.arange(len(split)) if indices is None else indices, preprocess, **options)


def torchvision_image(root: Path, decode: Decode, key: str) -> Image.Image:
    resize = Resize(decode.resize) if decode.keep_aspect else Resize((decode.resize, decode.resize))
    return resize(default_loader(str(root / "train" / key)))


def test_training_batches_equal_torchvision(photos) -> None:
    root, decode, split = photos
    train = stream(split, crop=24)
    flipped = 0
    for i in range(4):
        sample, raw = train.batch(i), train.raw(i)
        index = sample.index.numpy()
        windows = random_windows(split.heights[index], split.widths[index], 24, True, FakeRng().numpy("augment", i))
        flipped += windows.flip.sum()
        for b, (top, left, flip) in enumerate(zip(*windows, strict=True)):
            image = F.crop(torchvision_image(root, decode, split.keys[index[b]]), top, left, 24, 24)
            image = F.hflip(image) if flip else image
            assert torch.equal(raw[b], F.pil_to_tensor(image))
            assert torch.allclose(sample.x[b], F.normalize(F.to_tensor(image), MEAN, STD), rtol=0, atol=1e-6)
        assert torch.equal(sample.y, torch.from_numpy(split.labels[index]))
    assert 0 < flipped < 24


def test_evaluation_batches_equal_torchvision(photos) -> None:
    root, decode, split = photos
    indices = np.array([3, 15, 0, 7, 8])
    samples = list(eval_batches(split, indices, normal(22), 2))
    assert [len(sample.y) for sample in samples] == [2, 2, 1]
    assert torch.cat([sample.index for sample in samples]).tolist() == indices.tolist()
    transform = Compose([CenterCrop(22), ToTensor(), Normalize(MEAN, STD)])
    for sample in samples:
        for x, y, i in zip(sample.x, sample.y, sample.index, strict=True):
            assert torch.allclose(x, transform(torchvision_image(root, decode, split.keys[i])), rtol=0, atol=1e-6)
            assert y == split.labels[i]


def test_center_crop_rounds_as_torchvision() -> None:
    for height in range(8, 16):
        for crop in range(1, 9):
            image = torch.arange(height * 20).view(1, height, 20)
            windows = center_windows(np.array([height]), np.array([20]), crop)
            assert CenterCrop(crop)(image)[0, 0, 0] == windows.top[0] * 20 + windows.left[0]


@pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), ((0.5,) * 3, (0.5,) * 3), ((0.0,) * 3, (1.0,) * 3)])
def test_every_value_is_normalised_as_by_torchvision(mean, std) -> None:
    raw = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3).contiguous()
    expected = Normalize(mean, std)(raw[0].permute(2, 0, 1).float().div(255))
    x = Normalise(mean, std, 16, torch.device("cpu"))(raw)
    assert x.dtype == torch.float32
    assert (x[0] - expected).abs().max() <= 1e-6


def test_batches_are_channels_last(split) -> None:
    for sample in (stream(split).batch(0), next(eval_batches(split, np.arange(4), normal(16), 4))):
        assert sample.x.is_contiguous(memory_format=torch.channels_last)


def test_gather_on_a_resident_split_equals_slicing(photos) -> None:
    _, _, split = photos
    indices = np.array([5, 0, 15, 5])
    windows = random_windows(split.heights[indices], split.widths[indices], 20, True, np.random.default_rng(1))
    pixels = torch.from_numpy(np.array(split.pixels))
    slices, gathered = (Cutter(split, 20, torch.device("cpu"), source)(indices, windows) for source in (None, pixels))
    assert windows.flip.any()
    assert torch.equal(slices, gathered)


def test_a_batch_depends_on_its_number_alone(split) -> None:
    forward, fresh = stream(split), stream(split)
    batches = [forward.batch(i) for i in range(7)]
    for i in (6, 0, 3, 3):
        assert all(torch.equal(a, b) for a, b in zip(fresh.batch(i)[:3], batches[i][:3], strict=True))
    assert not torch.equal(batches[0].x, stream(split, rng=FakeRng(1)).batch(0).x)


def test_an_epoch_shows_an_image_at_most_once_and_orders_change(split) -> None:
    indices = np.arange(1, 16)
    train = stream(split, indices, batch_size=6)
    assert train.steps_per_epoch == 2
    epochs = [torch.cat([train.batch(2 * epoch + k).index for k in range(2)]).tolist() for epoch in range(8)]
    assert all(len(set(epoch)) == 12 and set(epoch) <= set(indices) for epoch in epochs)
    assert set().union(*epochs) == set(indices)
    assert epochs[0] != epochs[1]


def test_views_and_flips_do_not_change_the_first_crops(split) -> None:
    one, two, unflipped = stream(split).batch(3), stream(split, views=2).batch(3), stream(split, flip=False).batch(3)
    assert torch.equal(one.x, two.x)
    assert one.extra_views == ()
    assert len(two.extra_views) == 1
    assert not torch.equal(two.extra_views[0], two.x)
    same = [torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(unflipped.x, one.x, strict=True)]
    assert all(same)
    assert not torch.equal(unflipped.x, one.x)


def test_crops_reach_every_position_and_flips_are_fair() -> None:
    n = 4000
    windows = random_windows(np.full(n, 10), np.full(n, 12), 8, True, np.random.default_rng(0))
    assert np.bincount(windows.top).min() > n / 3 * 0.9
    assert len(np.bincount(windows.top)) == 3
    assert np.bincount(windows.left).min() > n / 5 * 0.9
    assert len(np.bincount(windows.left)) == 5
    assert abs(windows.flip.mean() - 0.5) < 0.03


def test_fewer_images_than_a_batch_make_one_batch(split) -> None:
    train = stream(split, np.array([4, 9, 2]), batch_size=48)
    assert (train.batch_size, train.steps_per_epoch) == (3, 1)
    for i in range(3):
        assert sorted(train.batch(i).index.tolist()) == [2, 4, 9]


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_refused(split, count: int) -> None:
    with pytest.raises(DataError, match="at least 2"):
        stream(split, np.arange(count))


def test_an_image_smaller_than_the_crop_is_refused(split) -> None:
    message = r"train/cat/0\.jpg is 26x20 pixels .* crop of 21: raise data\.resize to at least 21 or lower training\.image_size"
    with pytest.raises(DataError, match=message):
        stream(split, crop=21)
    with pytest.raises(DataError, match=message):
        next(eval_batches(split, np.arange(3), normal(21), 2))


def test_a_set_up_pass_shows_every_image_once(split) -> None:
    def run(batches: int | None, seed: int = 0) -> list:
        rng = np.random.default_rng(seed)
        return list(train_batches(split, np.arange(11), normal(16), batch_size=4, flip=True, rng=rng, batches=batches))

    assert [len(sample.y) for sample in run(None)] == [4, 4, 3]
    assert sorted(torch.cat([sample.index for sample in run(None)]).tolist()) == list(range(11))
    assert all(torch.equal(a.x, b.x) for a, b in zip(run(2), run(None), strict=False))
    assert len(run(2)) == 2
    assert not torch.equal(run(1, seed=1)[0].index, run(1)[0].index)


@pytest.mark.parametrize("resized", [False, True])
def test_cutting_ahead_changes_no_batch(image_folder, resized: bool) -> None:
    split = prepare(open_dataset(f"folder:{image_folder(per_class=8, sizes=SIZES)}"), Decode(29, keep_aspect=True)).split("train")
    plain, ahead = (stream(split, crop=24, views=2, resized=resized, ahead=ahead) for ahead in (False, True))
    for i in (0, 1, 2, 3, 1, 7, 8):
        one, two = plain.batch(i), ahead.batch(i)
        assert all(torch.equal(a, b) for a, b in zip((*one[:3], *one.extra_views), (*two[:3], *two.extra_views), strict=True))


def test_what_cutting_ahead_raises_is_raised_at_its_batch() -> None:
    def make(i: int) -> int:
        if i == 2:
            raise ValueError("image 2 is gone")
        return i

    ahead = Ahead(make)
    assert [ahead(0), ahead(1)] == [0, 1]
    with pytest.raises(ValueError, match="image 2"):
        ahead(2)
    assert ahead(3) == 3


def test_the_next_batch_is_cut_while_this_one_is_used() -> None:
    made = [threading.Event() for _ in range(4)]
    ahead = Ahead(lambda i: made[i].set())
    ahead(0)
    assert made[1].wait(10)
    assert not made[2].is_set()
