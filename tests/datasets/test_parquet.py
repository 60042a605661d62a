"""Odd Hugging Face parquet files are read for what they say, or named with their row."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.base import DataError
from datasets.parquet import unpack
from tests.datasets.test_images import photo

PICTURE = {"bytes": photo("PNG"), "path": None}


def write(folder: Path, labels: list[Any], names: Any = None, images: list[Any] | None = None, metadata: bytes | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    table = pyarrow.table({"image": images or [PICTURE] * len(labels), "label": labels})
    if names is not None:
        metadata = json.dumps({"info": {"features": {"label": {"names": names}}}}).encode()
    file = folder / "train-0.parquet"
    pyarrow.parquet.write_table(table.replace_schema_metadata({b"huggingface": metadata} if metadata is not None else None), file)
    return file


def unpacked(file: Path, max_bytes: int = 1 << 20) -> list[str]:
    """The class folders that ``file`` becomes."""
    target = file.parent.parent / f"unpacked-{len(list(file.parent.parent.iterdir()))}"
    unpack([file], target, max_bytes=max_bytes)
    return sorted(entry.name for entry in (target / "train").iterdir())


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([0, 1], ["cat", "dog"], ["000.cat", "001.dog"]),
        ([0.0, 1.0], ["cat", "dog"], ["000.cat", "001.dog"]),
        ([0.0, 1.0], None, ["0", "1"]),
        (["cat", "dog"], None, ["cat", "dog"]),
    ],
)
def test_labels_become_class_folders(tmp_path: Path, labels: list, names: list | None, expected: list[str]) -> None:
    assert unpacked(write(tmp_path / "hub", labels, names)) == expected


@pytest.mark.parametrize("length", [300, 5000])
def test_a_long_class_name_is_read(tmp_path: Path, length: int) -> None:
    names = ["x" * length, "x" * (length - 1) + "y", "日" * 200]
    found = unpacked(write(tmp_path / "hub", [0, 1, 2], names))
    assert len(found) == 3
    assert all(len(name.encode()) <= 200 for name in found)
    assert found == unpacked(write(tmp_path / "hub", [0, 1, 2], names))


@pytest.mark.parametrize("metadata", [b"null", b"[]", b'{"info": null}', b'{"info": {"features": {"label": null}}}'])
def test_metadata_without_names_is_no_error(tmp_path: Path, metadata: bytes) -> None:
    assert unpacked(write(tmp_path / "hub", [0, 1], metadata=metadata)) == ["0", "1"]


@pytest.mark.parametrize(
    ("labels", "names", "reason"),
    [
        ([0, None], ["cat", "dog"], "row 1: the label is empty"),
        ([0, None], None, "row 1: the label is empty"),
        (["a", ""], None, "row 1: the label is empty"),
        ([0.0, float("nan")], None, "row 1: the label is empty"),
        ([0, 2], ["cat", "dog"], "row 1: label 2 is outside the 2 classes"),
        ([0, -1], ["cat", "dog"], "row 1: label -1 is outside the 2 classes"),
        ([0.5], ["cat", "dog"], "row 0: the label '0.5' is neither"),
        ([True], ["cat", "dog"], "row 0: the label 'True' is neither"),
        ([[1]], ["cat", "dog"], r"row 0: the label '\[1\]' is neither"),
        ([0], "cat", "gives no list of class names"),
        ([0], [None], "gives no list of class names"),
        (["."], None, "row 0: the class name '.' points outside"),
        ([".hidden"], None, "row 0: the class name '.hidden' begins with a dot"),
    ],
)
def test_labels_that_are_none_are_named_with_their_row(tmp_path: Path, labels: list, names: Any, reason: str) -> None:
    file = write(tmp_path / "hub", labels, names)
    with pytest.raises(DataError, match=reason) as error:
        unpacked(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (None, "row 1: the image is empty"),
        ({"bytes": None, "path": None}, "row 1: the image is empty"),
        ({"bytes": b"", "path": "a.jpg"}, "row 1: it holds no image, only the path 'a.jpg'"),
    ],
)
def test_images_that_are_none_are_named_with_their_row(tmp_path: Path, image: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        unpacked(write(tmp_path / "hub", [0, 1], images=[PICTURE, image]))


def test_an_image_that_is_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 0: the image is no bytes, but str"):
        unpacked(write(tmp_path / "hub", [0], images=["a.jpg"]))


def test_metadata_that_is_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-0\.parquet: its 'huggingface' metadata is no JSON"):
        unpacked(write(tmp_path / "hub", [0], metadata=b"{"))


def test_a_file_of_few_bytes_and_many_images_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "hub", [0] * 400, images=[bytes(100_000)] * 400)
    assert file.stat().st_size < 10_000
    with pytest.raises(DataError, match="row 20: its images unpack to more than 2000000 bytes"):
        unpacked(file, max_bytes=2_000_000)
    assert [entry.name for entry in tmp_path.iterdir()] == ["hub"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(*(st.lists(st.none() | kind, min_size=1, max_size=5) for kind in (st.integers(-3, 5), st.floats(), st.text(max_size=20)))),
    st.none() | st.lists(st.text(max_size=20), min_size=1, max_size=4),
)
def test_any_labels_are_read_or_named(tmp_path: Path, labels: list, names: list[str] | None) -> None:
    error = None
    try:
        found = unpacked(write(tmp_path / "hub", labels, names))
    except DataError as refused:
        error = str(refused)
    else:
        assert len(found) <= len(set(labels))
    assert error is None or "train-0.parquet" in error
