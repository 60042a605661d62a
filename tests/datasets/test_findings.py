"""What decoding a whole data set shows is said; pixels have an identity of their own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import decode
from datasets.arena import Arena, Decode, find, prepare
from datasets.base import open_dataset
from tests.datasets.test_images import COLOURS, RAMP, encoded, photo, rotated

SQUARE = Decode(16, keep_aspect=False)


def arena(root: Path, decode: Decode = SQUARE) -> Arena:
    return prepare(open_dataset(f"folder:{root}"), decode)


def add(root: Path, content: bytes, *names: str) -> None:
    for name in names:
        (root / name).write_bytes(content)


def test_there_is_nothing_to_say_of_plain_photos(image_folder) -> None:
    assert arena(image_folder()).notes == ()


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientations_that_are_not_followed_are_counted(image_folder, orientation: int) -> None:
    root = image_folder()
    add(root, rotated(orientation), "train/cat/a.png")
    add(root, rotated(1), "train/cat/b.png")
    add(root, photo("JPEG", exif=b"Exif\0\0damaged"), "train/cat/c.jpg")
    exif = Image.Exif()
    exif[0x0112] = orientation
    add(root, photo("JPEG", exif=exif), "test/dog/d.jpg")
    (note,) = arena(root).notes
    assert note.startswith("2 images carry an EXIF orientation that is not followed, among them train/cat/a.png; data.exif: true")
    assert arena(root, Decode(16, keep_aspect=False, exif=True)).notes == ()


def test_transparent_images_are_counted(image_folder) -> None:
    root = image_folder()
    add(root, encoded(Image.fromarray(np.dstack([COLOURS, RAMP])), "PNG"), "test/dog/a.png")
    add(root, encoded(Image.fromarray(np.dstack([COLOURS, 0 * RAMP + 255])), "PNG"), "test/dog/b.png")
    assert arena(root).notes == ("1 images are transparent in places and are shown on white, among them test/dog/a.png",)


@pytest.mark.parametrize(("bits", "said"), [(10, True), (12, True), (15, True), (16, False)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_scans_of_fewer_bits_are_said_to_become_dark(image_folder, bits: int, said: bool, kind: str) -> None:
    root = image_folder()
    values = (RAMP.astype(np.uint16) * ((1 << bits) // 256)).astype(np.uint16)
    add(root, encoded(Image.fromarray(values), kind), "train/cat/a.png", "test/cat/b.png")
    notes = [note for note in arena(root).notes if "16-bit" in note]
    assert len(notes) == said
    assert not said or notes[0].startswith(f"2 of 2 images of 16-bit grey hold no value above {values.max()} ")


def test_dark_scans_among_bright_ones_are_counted(image_folder) -> None:
    root = image_folder()
    add(root, encoded(Image.fromarray(RAMP * np.uint16(257)), "PNG"), "train/cat/a.png", "train/cat/b.png")
    add(root, encoded(Image.fromarray(RAMP.astype(np.uint16)), "PNG"), "train/dog/c.png")
    assert any(note.startswith("1 of 3 images of 16-bit grey hold no value above 255 (as train/dog/c.png)") for note in arena(root).notes)


def test_an_image_in_two_splits_or_two_classes_is_said(image_folder) -> None:
    root = image_folder()
    shutil.copy(root / "train/cat/1.jpg", root / "test/cat/again.jpg")
    shutil.copy(root / "train/dog/2.jpg", root / "train/cat/other.jpg")
    assert arena(root).notes == (
        "1 images of test are in train too, among them test/cat/again.jpg (train/cat/1.jpg)",
        "1 images are in two classes, among them train/cat/other.jpg and train/dog/2.jpg",
    )


def test_notes_are_kept_with_the_decoded_copy(image_folder) -> None:
    root = image_folder()
    shutil.copy(root / "train/cat/1.jpg", root / "test/cat/again.jpg")
    built = arena(root)
    assert find(open_dataset(f"folder:{root}"), SQUARE, closed={"test"}).notes == built.notes != ()


def test_pixels_hash_is_of_pixels_alone(image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = image_folder()
    before = arena(root)
    moved = Path(shutil.copytree(root, tmp_path / "moved"))
    (moved / "train/cat/0.jpg").rename(moved / "train/cat/zz.jpg")
    assert arena(moved).pixels_hash == before.pixels_hash
    assert find(open_dataset(f"folder:{root}"), SQUARE, closed={"test"}).pixels_hash == before.pixels_hash
    # Another version of the decoder: the same files, one level lighter in one pixel.
    original = decode.decode_image

    def lighter(image: Image.Image, options: Decode) -> Image.Image:
        decoded = original(image, options)
        red, *others = decoded.getpixel((3, 3))
        decoded.putpixel((3, 3), (red ^ 1, *others))
        return decoded

    monkeypatch.setattr(decode, "decode_image", lighter)
    monkeypatch.setenv("SMILEBENCH_CACHE", str(tmp_path / "other machine"))
    other = arena(root)
    assert other.data_hash == before.data_hash
    assert other.pixels_hash != before.pixels_hash
