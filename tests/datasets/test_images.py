"""Odd image files are read for what they are, or named."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.arena import Decode, prepare
from datasets.base import DataError, open_dataset

SIDE = 16
DECODE = Decode(SIDE, keep_aspect=False)
RAMP = np.linspace(0, 255, SIDE * SIDE).astype(np.uint8).reshape(SIDE, SIDE)
COLOURS = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=2)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(kind: str = "JPEG", **options: object) -> bytes:
    return encoded(Image.fromarray(COLOURS), kind, **options)


def arena_pixels(root: Path, content: bytes, name: str = "odd.jpg", decode: Decode = DECODE) -> np.ndarray:
    (root / "train" / "cat" / name).write_bytes(content)
    split = prepare(open_dataset(f"folder:{root}"), decode).split("train")
    return split.image(split.keys.index(f"cat/{name}"))


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return photo("PNG", exif=exif)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (photo("PNG"), COLOURS),
        (photo("BMP"), COLOURS),
        (photo("WEBP", lossless=True), COLOURS),
        (encoded(Image.fromarray(RAMP), "PNG"), np.dstack([RAMP] * 3)),
        (encoded(Image.fromarray(RAMP * np.uint16(257)), "PNG"), np.dstack([RAMP] * 3)),
        (encoded(Image.fromarray(RAMP * np.uint16(257)), "TIFF"), np.dstack([RAMP] * 3)),
        (encoded(Image.fromarray(RAMP * np.int32(257)), "TIFF"), np.dstack([RAMP] * 3)),
        (encoded(Image.fromarray(RAMP).convert("P"), "PNG"), np.dstack([RAMP] * 3)),
        (encoded(Image.fromarray(np.dstack([COLOURS, 0 * RAMP + 255])), "PNG"), COLOURS),
        (encoded(Image.fromarray(np.dstack([COLOURS, 0 * RAMP])), "PNG"), 0 * COLOURS + 255),
        (encoded(Image.fromarray(np.dstack([RAMP, 0 * RAMP])), "PNG"), 0 * COLOURS + 255),
        (
            encoded(Image.fromarray(np.dstack([COLOURS, (RAMP > 100) * np.uint8(255)])), "PNG"),
            np.where(RAMP[:, :, None] > 100, COLOURS, 255),
        ),
        (encoded(Image.fromarray(RAMP).convert("P"), "PNG", transparency=0), np.dstack([np.where(RAMP == 0, 255, RAMP)] * 3)),
        (encoded(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"), COLOURS),
        (rotated(6), COLOURS),
    ],
    ids=[
        "png",
        "bmp",
        "webp",
        "grey",
        "16-bit png",
        "16-bit tiff",
        "32-bit tiff",
        "palette",
        "opaque",
        "transparent",
        "transparent grey",
        "cut out",
        "transparent palette",
        "cmyk",
        "exif ignored",
    ],
)
def test_a_file_named_jpg_is_read_for_what_it_is(image_folder, content: bytes, expected: np.ndarray) -> None:
    assert np.array_equal(arena_pixels(image_folder(), content), expected)


def test_cmyk_jpeg_is_read_as_pillow_does(image_folder) -> None:
    content = encoded(Image.fromarray(COLOURS).convert("CMYK"), "JPEG")
    assert Image.open(io.BytesIO(content)).mode == "CMYK"
    assert np.array_equal(arena_pixels(image_folder(), content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_a_photo_is_turned_where_asked(image_folder) -> None:
    assert np.array_equal(
        arena_pixels(image_folder(), rotated(6), decode=Decode(SIDE, keep_aspect=False, exif=True)), np.rot90(COLOURS, -1)
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot identify image file"),
        (b"<html>404 Not Found</html>", "cannot identify image file"),
        (photo()[:-40], "[Tt]runcated"),
        (photo("PNG")[:-40], "[Tt]runcated|broken"),
        (encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), "floating-point"),
        (encoded(Image.fromarray(RAMP * np.int32(70000)), "TIFF"), "beyond 16 bits"),
    ],
    ids=["zero bytes", "a web page", "half a jpeg", "half a png", "float", "more than 16 bits"],
)
def test_what_cannot_be_read_is_named(image_folder, content: bytes, reason: str) -> None:
    root = image_folder()
    with pytest.raises(DataError, match=rf"cat/odd\.jpg: .*({reason})"):
        arena_pixels(root, content)
    (root / "train" / "cat" / "odd.jpg").unlink()
    prepare(open_dataset(f"folder:{root}"), DECODE)


def test_fast_decoding_stays_within_its_stated_error(image_folder) -> None:
    from datasets.decode import FAST_DECODE_ERROR

    root = image_folder(sizes=((640, 480), (500, 375), (375, 500)))
    exact, fast = (
        prepare(open_dataset(f"folder:{root}"), Decode(64, keep_aspect=False, fast_decode=fast)).split("train") for fast in (False, True)
    )
    errors = [np.abs(exact.image(i).astype(int) - fast.image(i)).mean() for i in range(len(exact))]
    assert 0 < max(errors) < FAST_DECODE_ERROR
