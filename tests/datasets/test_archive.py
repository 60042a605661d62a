"""Archives cannot write outside their folder, and CIFAR-10 is read from its binary release or from images, never from a pickle."""

import bz2
import gzip
import io
import lzma
import pickle
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.archive import extract
from datasets.arena import Decode, prepare
from datasets.base import DataError, open_dataset, remember
from datasets.cifar10 import CLASSES
from tests.datasets import releases


def make_tar(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, compression: str = "gz") -> Path:
    with tarfile.open(path, f"w:{compression}") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_a_plain_archive_unpacks(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar.gz", special("deep", tarfile.DIRTYPE), ("deep/er/file", b"content"), ("./top", b""))
    extract(archive, tmp_path / "out", max_bytes=100)
    assert (tmp_path / "out" / "deep" / "er" / "file").read_bytes() == b"content"
    assert (tmp_path / "out" / "top").read_bytes() == b""


@pytest.mark.parametrize(
    "evil",
    [
        ("../outside", b"x"),
        ("in/../../outside", b"x"),
        ("/tmp/smilebench-outside", b"x"),
        ("..\\outside", b"x"),
        special("link", tarfile.SYMTYPE, "/"),
        special("link", tarfile.SYMTYPE, "good"),
        special("link", tarfile.LNKTYPE, "good"),
        special("pipe", tarfile.FIFOTYPE),
        special("device", tarfile.CHRTYPE),
        ("good", b"again"),
        ("good/below-a-file", b"x"),
        ("good/far/below-a-file", b"x"),
        ("large", bytes(200)),
    ],
    ids=lambda evil: f"{evil.name}-{evil.linkname}-{evil.type.decode()}" if isinstance(evil, tarfile.TarInfo) else str(evil),
)
def test_a_malicious_archive_is_refused_whole(tmp_path: Path, evil) -> None:
    archive = make_tar(tmp_path / "a.tar.gz", ("good", b"x"), evil)
    with pytest.raises(DataError, match=r"a\.tar\.gz"):
        extract(archive, tmp_path / "out" / "data", max_bytes=100)
    assert set(tmp_path.iterdir()) == {archive, tmp_path / "out"}
    assert list((tmp_path / "out").iterdir()) == []
    assert not Path("/tmp/smilebench-outside").exists()


def make_zip(path: Path, *members: tuple[str, bytes], link: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
        if link:
            info = zipfile.ZipInfo("link")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, link)
    return path


def test_a_plain_zip_unpacks(tmp_path: Path) -> None:
    extract(make_zip(tmp_path / "a.zip", ("deep/", b""), ("deep/er/file", b"content")), tmp_path / "out", max_bytes=100)
    assert (tmp_path / "out" / "deep" / "er" / "file").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("member", "link"),
    [
        (("../outside", b"x"), ""),
        (("/tmp/smilebench-outside", b"x"), ""),
        (("..\\outside", b"x"), ""),
        (("fine", b"x"), "/"),
        (("good", b"again"), ""),
        (("large", bytes(200)), ""),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_malicious_zip_is_refused_whole(tmp_path: Path, member, link: str) -> None:
    archive = make_zip(tmp_path / "a.zip", ("good", b"x"), member, link=link)
    with pytest.raises(DataError, match=r"a\.zip"):
        extract(archive, tmp_path / "out" / "data", max_bytes=100)
    assert set(tmp_path.iterdir()) == {archive, tmp_path / "out"}
    assert list((tmp_path / "out").iterdir()) == []
    assert not Path("/tmp/smilebench-outside").exists()


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: flip(content, len(content) // 2)])
def test_a_damaged_zip_is_named(tmp_path: Path, damage) -> None:
    archive = make_zip(tmp_path / "a.zip", ("good", np.random.default_rng(0).bytes(1 << 16)))
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(DataError, match=r"a\.zip is damaged"):
        extract(archive, tmp_path / "out", max_bytes=1 << 20)
    assert not (tmp_path / "out").exists()


def flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 255]) + content[position + 1 :]


def sparse(**headers: str) -> bytes:
    """A tar whose one member says of itself, in extended headers, where its bytes belong."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("file")
        member.pax_headers = {f"GNU.sparse.{name}": value for name, value in headers.items()}
        tar.addfile(member)
    return packed.getvalue()


def zipped(*changes: tuple[bytes, bytes]) -> bytes:
    """A zip with one file, some of its bytes changed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("näme", b"content")
    content = packed.getvalue()
    for old, new in changes:
        assert old in content
        content = content.replace(old, new)
    return content


@pytest.mark.parametrize(
    "content",
    [
        zipped(("näme".encode(), b"n\xff\xffme")),
        zipped((b"content", b"co")),  # all offsets lie before the beginning of the file
        sparse(map="a,b"),
        sparse(size="x"),
        sparse(major="1", minor="0", realsize="x"),
        sparse(major="1", minor="0"),
    ],
    ids=["name", "offset", "map", "size", "real size", "map in the content"],
)
def test_an_archive_with_senseless_headers_is_named(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "a.bin"
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.bin is damaged or no archive: .") as refusal:
        extract(archive, tmp_path / "out", max_bytes=1 << 20)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_a_name_that_no_disk_takes_is_of_the_archive(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar.gz", ("long" * 100, b"x"))
    with pytest.raises(DataError, match=r"a\.tar\.gz is damaged or no archive"):
        extract(archive, tmp_path / "out", max_bytes=100)


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: flip(content, len(content) // 2),
        lambda content: flip(content, 3 * len(content) // 4),
        lambda content: b"no tar at all",
        lambda content: b"",
    ],
)
def test_a_damaged_archive_is_named(tmp_path: Path, damage, compression: str) -> None:
    noise = np.random.default_rng(0).bytes(1 << 16)
    archive = make_tar(tmp_path / "a.tar", ("good", noise), ("better", noise), compression=compression)
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(DataError, match=r"a\.tar is damaged"):
        extract(archive, tmp_path / "out", max_bytes=1 << 20)
    assert not (tmp_path / "out").exists()


def test_the_binary_release_is_read(tmp_path: Path) -> None:
    records = releases.cifar10(tmp_path / "data")
    dataset = open_dataset(f"cifar10:{releases.pack(tmp_path / 'data', tmp_path / 'cifar-10-binary.tar.gz')}")
    assert dataset.classes == CLASSES
    assert (len(dataset.splits["train"]), len(dataset.splits["test"])) == (100, 20)
    item = next(item for item in dataset.splits["train"] if item.key == "dog/data_batch_2-00015")
    assert item.label == records[15, 0] == 5
    assert np.array_equal(np.asarray(dataset.open(item)), records[15, 1:].reshape(3, 32, 32).transpose(1, 2, 0))
    split = prepare(dataset, Decode(32, keep_aspect=False)).split("train")
    assert np.array_equal(split.image(split.keys.index(item.key)), np.asarray(dataset.open(item)))


def test_cifar100_is_read_with_its_fine_labels(tmp_path: Path) -> None:
    records = releases.cifar100(tmp_path / "data")
    dataset = open_dataset(f"cifar100:{releases.pack(tmp_path / 'data', tmp_path / 'cifar-100-binary.tar.gz')}")
    item = next(item for item in dataset.splits["train"] if item.key == "class42/train-00142")
    assert item.label == records[142, 1] == 42
    assert np.array_equal(np.asarray(dataset.open(item)), records[142, 2:].reshape(3, 32, 32).transpose(1, 2, 0))
    assert (len(dataset.classes), len(dataset.splits["test"])) == (100, 200)


def test_the_archive_its_folder_and_a_remembered_place_are_one(tmp_path: Path) -> None:
    releases.cifar10(tmp_path / "data")
    archive = releases.pack(tmp_path / "data", tmp_path / "cifar-10-binary.tar.gz")
    extract(archive, tmp_path / "unpacked", max_bytes=1 << 22)
    remember("cifar10", archive)
    uses = ("cifar10", f"cifar10:{archive}", f"cifar10:{tmp_path / 'unpacked'}", f"cifar10:{tmp_path / 'unpacked/cifar-10-batches-bin'}")
    arenas = [prepare(open_dataset(use), Decode(32, keep_aspect=False)) for use in uses]
    assert len({arena.data_hash for arena in arenas}) == 1
    assert len({arena.split("train").keys for arena in arenas}) == 1


def test_an_image_folder_copy_is_read_packed_or_not(image_folder, tmp_path: Path) -> None:
    root = image_folder()
    with tarfile.open(tmp_path / "copy.tar.xz", "w:xz") as tar:
        for split in ("train", "test"):
            tar.add(root / split, split)
    arenas = [prepare(open_dataset(f"cifar10:{path}"), Decode(32, keep_aspect=False)) for path in (root, tmp_path / "copy.tar.xz")]
    assert arenas[0].classes == ("cat", "dog")
    assert arenas[0].data_hash == arenas[1].data_hash


def test_the_pickled_release_is_refused_unread(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    content = pickle.dumps(Bomb())
    names = ["cifar-10-batches-py/batches.meta", "cifar-10-batches-py/data_batch_1"]
    archive = make_tar(tmp_path / "cifar-10-python.tar.gz", *((name, content) for name in names))
    extract(archive, tmp_path / "unpacked", max_bytes=1 << 20)
    for path in (archive, tmp_path / "unpacked", tmp_path / "unpacked" / "cifar-10-batches-py"):
        with pytest.raises(DataError, match=r"pickle.*cifar-10-binary\.tar\.gz"):
            open_dataset(f"cifar10:{path}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / "data_batch_3.bin").unlink(), ["data_batch_3.bin", "missing"]),
        (lambda folder: (folder / "data_batch_3.bin").write_bytes(bytes(3074)), ["data_batch_3.bin", "multiple of 3073"]),
        (lambda folder: (folder / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072)), ["test_batch.bin", "label 10"]),
        (lambda folder: (folder / "data_batch_1.bin").unlink(), ["data_batch_1.bin"]),
    ],
)
def test_a_damaged_binary_release_is_named(tmp_path: Path, break_it, words: list[str]) -> None:
    releases.cifar10(tmp_path / "data")
    break_it(tmp_path / "data" / "cifar-10-batches-bin")
    with pytest.raises(DataError) as error:
        open_dataset(f"cifar10:{tmp_path / 'data'}")
    assert all(word in str(error.value) for word in words)


def test_the_jpeg_copy_of_cifar10_prepares(tmp_path: Path) -> None:
    archive = Path(__file__).parents[3] / "shared" / "data" / "cifar10_jpg.tar.xz"
    if not archive.is_file():
        pytest.skip("the JPEG copy of CIFAR-10 is not beside the repository")
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith("000.jpg"):
                (tmp_path / "part" / member.name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "part" / member.name).write_bytes(tar.extractfile(member).read())
    dataset = open_dataset(f"cifar10:{tmp_path / 'part'}")
    assert dataset.classes == CLASSES
    split = prepare(dataset, Decode(32, keep_aspect=False)).split("train")
    for i in range(len(split)):
        assert np.array_equal(split.image(i), np.asarray(Image.open(tmp_path / "part" / "train" / split.keys[i]).convert("RGB")))


def bomb(kind: bytes, size: int) -> bytes:
    """A tar whose first header announces ``size`` bytes of long name or attributes."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, size
    start = b"%d comment=" % size if kind in (tarfile.XHDTYPE, tarfile.XGLTYPE) else b""
    return header.tobuf(tarfile.GNU_FORMAT) + start.ljust(size, b"a") + tarfile.TarInfo("a").tobuf() + bytes(1024)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("open_packed", [gzip.open, bz2.open, lzma.open, open])
def test_a_huge_header_is_refused_before_it_is_read(tmp_path: Path, kind: bytes, open_packed) -> None:
    archive = tmp_path / "bomb.tar"
    with open_packed(archive, "wb") as file:
        file.write(bomb(kind, 3 << 20))
    with pytest.raises(DataError, match=r"bomb\.tar: a header asks for more than 1048576 bytes"):
        extract(archive, tmp_path / "out", max_bytes=1 << 30)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_many_members_are_read(tmp_path: Path, form: int) -> None:
    names = [f"{'long' * 40}/{n}/{'näme' * 20}.txt" for n in range(50)]
    with tarfile.open(tmp_path / "long.tar.gz", "w:gz", format=form) as tar:
        for n, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = 70_000
            tar.addfile(member, io.BytesIO(bytes([n]) * 70_000))
    extract(tmp_path / "long.tar.gz", tmp_path / "out", max_bytes=1 << 30)
    assert all((tmp_path / "out" / name).read_bytes() == bytes([n]) * 70_000 for n, name in enumerate(names))
