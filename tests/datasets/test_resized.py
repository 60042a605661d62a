"""Crops of random area: torchvision's law, torchvision's pixels, and the distance to cropping the original file."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as F
from PIL import Image
from scipy.stats import ks_2samp, kstest
from sklearn.datasets import load_sample_images
from torchvision.datasets.folder import default_loader
from torchvision.transforms import RandomResizedCrop, Resize

from datasets.arena import ArenaSplit, Decode, prepare
from datasets.base import open_dataset
from datasets.resized import POINT, RATIO, SCALE, Boxes, cut_boxes, random_boxes, weights
from datasets.stream import Cutter, TrainStream
from methods.testing import trained
from tests.datasets.test_stream import MEAN, SIZES, STD, FakeRng, normal
from tests.runs import config

CPU = torch.device("cpu")


def boxes(height: int, width: int, n: int, seed: int = 0) -> Boxes:
    return random_boxes(np.full(n, height), np.full(n, width), True, np.random.default_rng(seed))


@pytest.fixture
def split(image_folder) -> tuple[Path, ArenaSplit]:
    root = image_folder(per_class=8, sizes=SIZES)
    return root, prepare(open_dataset(f"folder:{root}"), Decode(29, keep_aspect=True)).split("train")


def stream(split: ArenaSplit, **changes) -> TrainStream:
    options = {"batch_size": 6, "flip": True, "rng": FakeRng(), "resized": True, **changes}
    return TrainStream(split, np.arange(len(split)), normal(24), **options)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 383), (300, 200)])
def test_boxes_have_the_law_of_torchvision(height: int, width: int) -> None:
    ours = boxes(height, width, 6000)
    image = torch.empty(3, height, width)
    torch.manual_seed(0)
    top, left, tall, wide = np.array([RandomResizedCrop.get_params(image, SCALE, RATIO) for _ in range(2000)]).T
    measures = {
        "area": (ours.height * ours.width, tall * wide),
        "aspect": (ours.width / ours.height, wide / tall),
        "top": (ours.top, top),
        "left": (ours.left, left),
    }
    assert {name: ks_2samp(*pair).pvalue > 1e-3 for name, pair in measures.items()} == dict.fromkeys(measures, True)
    assert abs(ours.flip.mean() - 0.5) < 0.03


def test_boxes_lie_inside_and_keep_to_their_ranges() -> None:
    rng = np.random.default_rng(1)
    heights, widths = rng.integers(180, 400, (2, 5000))
    found = random_boxes(heights, widths, True, rng)
    assert min(found.top.min(), found.left.min()) == 0
    assert (found.top + found.height <= heights).all()
    assert (found.left + found.width <= widths).all()
    area = found.height * found.width / (heights * widths)
    assert SCALE[0] - 0.01 < area.min() < SCALE[0] + 0.01
    assert 0.97 < area.max() <= SCALE[1]
    aspect = found.width / found.height
    assert RATIO[0] - 0.02 < aspect.min() < RATIO[0] + 0.02
    assert RATIO[1] - 0.02 < aspect.max() < RATIO[1] + 0.02
    roomy = boxes(100_000, 100_000, 5000)
    small = np.log(roomy.width / roomy.height)[roomy.height * roomy.width < 0.7e10]
    assert kstest(small, "uniform", (np.log(RATIO[0]), np.log(RATIO[1] / RATIO[0]))).pvalue > 1e-3


@pytest.mark.parametrize(("height", "width"), [(256, 20), (20, 256), (401, 57), (57, 401)])
def test_where_no_box_fits_it_is_torchvisions_central_one(height: int, width: int) -> None:
    expected = RandomResizedCrop.get_params(torch.empty(3, height, width), SCALE, RATIO)
    assert {tuple(int(v) for v in box) for box in zip(*boxes(height, width, 50)[:4], strict=True)} == {expected}


def test_batches_equal_torchvisions_resized_crop(split: tuple[Path, ArenaSplit]) -> None:
    root, pixels = split
    train = stream(pixels)
    for i in range(3):
        sample, raw = train.batch(i), train.raw(i)
        index = sample.index.numpy()
        drawn = random_boxes(pixels.heights[index], pixels.widths[index], True, FakeRng().numpy("augment", i))
        for b, (*box, flip) in enumerate(zip(*drawn, strict=True)):
            image = Resize(29)(default_loader(str(root / "train" / pixels.keys[index[b]])))
            image = F.resized_crop(image, *map(int, box), [24, 24])
            image = F.hflip(image) if flip else image
            assert torch.equal(raw[b], F.pil_to_tensor(image))
            assert torch.allclose(sample.x[b], F.normalize(F.to_tensor(image), MEAN, STD), rtol=0, atol=1e-6)
        assert sample.x.is_contiguous(memory_format=torch.channels_last)


def test_products_on_a_resident_split_equal_the_host(split: tuple[Path, ArenaSplit]) -> None:
    _, pixels = split
    indices = np.arange(16)
    for crop in (7, 13, 24, 29, 61):
        for seed in range(4):
            drawn = random_boxes(pixels.heights[indices], pixels.widths[indices], True, np.random.default_rng([crop, seed]))
            host = Cutter(pixels, crop, CPU, None)(indices, drawn)
            assert torch.equal(host, Cutter(pixels, crop, CPU, torch.from_numpy(np.array(pixels.pixels)))(indices, drawn))


def one_image(height: int, width: int, seed: int) -> ArenaSplit:
    """A split of one image of black and white noise, whose rounding is the hardest."""
    noise = np.random.default_rng(seed).choice(np.array([0, 255], np.uint8), 3 * height * width)
    return ArenaSplit("train", noise, np.zeros(1, np.int64), np.array([height]), np.array([width]), np.zeros(1, np.int64), ("a",))


@pytest.mark.parametrize(
    ("height", "width", "crop"),
    [(341, 256, 224), (256, 341, 224), (225, 224, 224), (224, 225, 224), (300, 210, 9), (700, 400, 8), (5, 3, 50)],
)
def test_host_and_device_agree_with_torchvision_whatever_the_scale(height: int, width: int, crop: int) -> None:
    pixels = one_image(height, width, crop)
    whole = Boxes(*(np.array([value]) for value in (0, 0, height, width)), np.zeros(1, bool))
    expected = F.resized_crop(Image.fromarray(pixels.image(0)), 0, 0, height, width, [crop, crop])
    for resident in (None, torch.from_numpy(np.array(pixels.pixels))):
        assert np.array_equal(Cutter(pixels, crop, CPU, resident)(np.zeros(1, int), whole)[0].numpy(), np.asarray(expected))


def test_the_sums_of_a_device_are_exact_with_ten_bits_of_mantissa() -> None:
    """As on tensor cores (TF32), whose products keep 11 significant bits of each factor."""
    for sides, crop in ((341, 224), (300, 9)):
        found = weights(torch.tensor([sides]), sides, crop)
        assert found.max() <= 1 << POINT
        taps = int((found > 0).sum(2).max())
        bits = min(11, 24 - 8 - (2 * -(-sides // crop) + 1).bit_length())
        assert taps * ((1 << bits) - 1) * 255 < 1 << 24
        assert int(found.max()) >> (range(0, POINT, bits)[-1]) <= 1 << 11


def test_a_batch_depends_on_its_number_alone(split: tuple[Path, ArenaSplit]) -> None:
    _, pixels = split
    forward, fresh = stream(pixels), stream(pixels)
    batches = [forward.batch(i) for i in range(4)]
    for i in (3, 0, 2, 2):
        assert all(torch.equal(a, b) for a, b in zip(fresh.batch(i)[:3], batches[i][:3], strict=True))
    assert torch.equal(batches[0].index, stream(pixels, resized=False).batch(0).index)


def test_views_flips_and_sizes_do_not_change_the_first_boxes(split: tuple[Path, ArenaSplit]) -> None:
    _, pixels = split
    one, two, unflipped = stream(pixels).batch(3), stream(pixels, views=2).batch(3), stream(pixels, flip=False).batch(3)
    assert torch.equal(one.x, two.x)
    assert not torch.equal(two.extra_views[0], two.x)
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(unflipped.x, one.x, strict=True))
    sizes = np.array([[200, 300], [200, 300]]), np.array([[200, 300], [200, 310]])
    first, second = (random_boxes(*size, True, np.random.default_rng(0)) for size in sizes)
    assert [field[0] for field in first] == [field[0] for field in second]


def test_all_methods_see_the_same_boxes(images: Path, backbone: str) -> None:
    def batches(method: str) -> list[torch.Tensor]:
        fit = trained(config(images, backbone, method, training={"crop": "resized"}), 0)
        return [t for i in range(3) for t in fit.stream.batch(i)[:3]]

    expected = batches("fine_tuning")
    for method in ("smile", "bi_tuning", "rifle+mixup"):
        assert all(torch.equal(a, b) for a, b in zip(expected, batches(method), strict=True)), method


def test_training_and_augmented_set_up_passes_are_resized_and_plain_passes_are_not(images: Path, backbone: str) -> None:
    fits = [trained(config(images, backbone, training={"crop": crop, "flip": False}), 0) for crop in ("random", "resized")]
    for changes, first in (
        (True, lambda fit: fit.stream.batch(0)),
        (True, lambda fit: next(fit.ctx.train_pass(5, augment=True))),
        (False, lambda fit: next(fit.ctx.train_pass(5))),
    ):
        square, resized = map(first, fits)
        assert torch.equal(square.index, resized.index)
        assert torch.equal(square.x, resized.x) == (not changes)


def test_the_distance_to_cropping_the_original_file_is_what_the_module_states() -> None:
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    decoded = [np.asarray(Resize(256)(photo)) for photo in photos]
    height, width = decoded[0].shape[:2]
    flat, size = np.concatenate([image.ravel() for image in decoded]), decoded[0].size
    sizes = np.full(2, height, np.int32), np.full(2, width, np.int32)
    pixels = ArenaSplit("train", flat, np.array([0, size]), *sizes, np.arange(2), ("china", "flower"))
    indices = np.arange(80) % 2
    drawn = random_boxes(pixels.heights[indices], pixels.widths[indices], False, np.random.default_rng(0))
    ours = np.empty((80, 224, 224, 3), np.uint8)
    cut_boxes(pixels, indices, drawn, ours)
    ratio = photos[0].height / height
    differences = [
        np.abs(np.asarray(F.resized_crop(photos[i], *(round(int(v) * ratio) for v in box[:4]), [224, 224])) - ours[b].astype(float)).mean()
        for b, (i, box) in enumerate(zip(indices, zip(*drawn, strict=True), strict=True))
    ]
    assert np.mean(differences) == pytest.approx(3.4, abs=0.4)
