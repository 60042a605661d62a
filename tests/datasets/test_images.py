"""Odd image files are read for what they are, or named."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets.arena import Decode, prepare
from datasets.base import DataError, DataSet, Item, open_dataset
from datasets.decode import decode_items

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


def with_alpha(colours: np.ndarray, alpha: np.ndarray) -> bytes:
    return encoded(Image.fromarray(np.dstack([colours, alpha.astype(np.uint8)])), "PNG")


GREY = np.dstack([RAMP] * 3)
WHITE = np.full_like(COLOURS, 255)
NOTHING, EVERYTHING = np.zeros_like(RAMP), np.full_like(RAMP, 255)
CUT_OUT = RAMP > 100
READ = {
    "png": (photo("PNG"), COLOURS),
    "bmp": (photo("BMP"), COLOURS),
    "webp": (photo("WEBP", lossless=True), COLOURS),
    "gif": (encoded(Image.fromarray(RAMP), "GIF"), GREY),
    "grey": (encoded(Image.fromarray(RAMP), "PNG"), GREY),
    "16-bit png": (encoded(Image.fromarray(RAMP * np.uint16(257)), "PNG"), GREY),
    "16-bit tiff": (encoded(Image.fromarray(RAMP * np.uint16(257)), "TIFF"), GREY),
    "32-bit tiff": (encoded(Image.fromarray(RAMP * np.int32(257)), "TIFF"), GREY),
    "palette": (encoded(Image.fromarray(RAMP).convert("P"), "PNG"), GREY),
    "opaque": (with_alpha(COLOURS, EVERYTHING), COLOURS),
    "transparent": (with_alpha(COLOURS, NOTHING), WHITE),
    "transparent grey": (with_alpha(RAMP, NOTHING), WHITE),
    "cut out": (with_alpha(COLOURS, 255 * CUT_OUT), np.where(CUT_OUT[:, :, None], COLOURS, 255)),
    "transparent colour": (encoded(Image.fromarray(RAMP), "PNG", transparency=7), np.where(GREY == 7, 255, GREY)),
    "transparent palette": (encoded(Image.fromarray(RAMP).convert("P"), "PNG", transparency=0), np.where(GREY == 0, 255, GREY)),
    "cmyk": (encoded(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"), COLOURS),
    "exif ignored": (rotated(6), COLOURS),
}


@pytest.mark.parametrize(("content", "expected"), READ.values(), ids=READ)
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


@pytest.mark.parametrize("size", [(1, 5000), (1, 30_000), (30_000, 1), (3, 9000)])
def test_an_image_that_would_become_huge_is_named(image_folder, size: tuple[int, int]) -> None:
    root = image_folder()
    content = encoded(Image.new("L", size), "PNG")
    with pytest.raises(DataError, match=r"cat/odd\.jpg: .*its longer side would become \d{6,}; cut it"):
        arena_pixels(root, content, decode=Decode(256, keep_aspect=True))
    assert arena_pixels(root, content).shape == (SIDE, SIDE, 3)


def test_long_images_keep_their_aspect(image_folder) -> None:
    content = encoded(Image.new("L", (20, 1)), "PNG")
    assert arena_pixels(image_folder(), content, decode=Decode(64, keep_aspect=True)).shape == (64, 1280, 3)


@pytest.mark.parametrize("side", [13_000, 20_000])
def test_a_file_that_unpacks_to_a_huge_image_is_not_unpacked(image_folder, side: int) -> None:
    packed = bytearray(photo("PNG"))
    packed[16:24] = struct.pack(">II", side, side)
    packed[29:33] = struct.pack(">I", zlib.crc32(packed[12:29]))
    with pytest.raises(DataError, match=r"cat/odd\.jpg: .*more than 89 million pixels"):
        arena_pixels(image_folder(), bytes(packed))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (encoded(Image.fromarray(COLOURS), "EPS"), "EPS"),  # Ghostscript
        (struct.pack("<IHhhhhHIHHHH", 0x9AC6CDD7, 0, 0, 0, 9, 9, 72, 0, 0, 1, 9, 0x300) + bytes(40), "WMF"),  # the system's metafiles
    ],
)
@pytest.mark.parametrize("name", ["odd.jpg", "odd.png"])
def test_what_needs_another_program_is_not_read(image_folder, content: bytes, kind: str, name: str) -> None:
    assert Image.open(io.BytesIO(content)).format == kind
    with pytest.raises(DataError, match=rf"cat/{name}: .*cannot identify image file; replace"):
        arena_pixels(image_folder(), content, name)


SEEDS = [content for content, _ in READ.values()]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_are_decoded_or_named(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SEEDS) | st.binary(max_size=64)))
    for position in data.draw(st.lists(st.integers(0, max(len(content) - 1, 0)), max_size=4)) if content else ():
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    content = content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))]
    item = Item("odd.jpg", 0, tmp_path / "odd.jpg")
    item.path.write_bytes(content)
    error = None
    try:
        (pixels,), (seen,) = decode_items(DataSet(), [item], Decode(8, keep_aspect=data.draw(st.booleans())))
    except DataError as refused:
        error = str(refused)
    else:
        assert len(pixels) == 3 * seen.size[0] * seen.size[1]
    assert error is None or ("odd.jpg" in error and "0x" not in error)
