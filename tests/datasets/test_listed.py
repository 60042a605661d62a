"""Images that a CSV file lists."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets.arena import Decode, prepare
from datasets.base import DataError, DataSet, Item, Use, open_dataset

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with ``0.png`` to ``7.png``."""
    (tmp_path / "photos").mkdir()
    for n in range(8):
        Image.fromarray(np.full((9, 9, 3), n, np.uint8)).save(tmp_path / "photos" / f"{n}.png")
    return tmp_path / "photos"


def listed(photos: Path, text: str | bytes, **options: object) -> DataSet:
    file = photos.parent / "list.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_dataset(Use(f"csv:{file}", **options))


ROWS = [f"photos/{n}.png,{'dog' if n % 2 else 'cat'},{'test' if n > 5 else 'train'}" for n in range(8)]


def test_paths_labels_and_splits_are_read(photos: Path) -> None:
    dataset = listed(photos, "\n".join(["path,label,split", *reversed(ROWS)]))
    assert dataset.classes == ("cat", "dog")
    assert [(item.key, item.label) for item in dataset.splits["test"]] == [("photos/6.png", 0), ("photos/7.png", 1)]
    arena = prepare(dataset, Decode(8, keep_aspect=False))
    assert [int(arena.split("train").image(i).max()) for i in range(6)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_orders_marks_and_absolute_paths_are_read(photos: Path, delimiter: str) -> None:
    rows = [
        delimiter.join([split, f'"{label}"', "x", str(photos.parent / path)]) for path, label, split in (row.split(",") for row in ROWS)
    ]
    dataset = listed(photos, "\ufeff" + "\r\n".join([delimiter.join(["Split", "LABEL", "note", "path"]), *rows, ""]))
    assert {name: len(items) for name, items in dataset.splits.items()} == {"train": 6, "test": 2}
    assert dataset.splits["train"][3] == Item("photos/3.png", 1, photos / "3.png")


def test_without_a_split_a_fixed_part_is_test(photos: Path) -> None:
    rows = [row.rpartition(",")[0] for row in ROWS]
    dataset = listed(photos, "\n".join(["path,label", *rows]), split=0.75)
    assert {name: len(items) for name, items in dataset.splits.items()} == {"train": 6, "test": 2}
    with pytest.raises(DataError, match=r"lists no test image: .*split: 0\.7"):
        listed(photos, "\n".join(["path,label", *rows]))


def test_val_can_be_test(photos: Path) -> None:
    text = "\n".join(["path,label,split", *ROWS]).replace("test", "val")
    assert list(listed(photos, text, test_from="val").splits) == ["train", "test"]
    with pytest.raises(DataError, match="test_from: val"):
        listed(photos, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "first line must name the columns path and label"),
        ("file,label\na,b\n", r"first line must name .*\(found: file, label\)"),
        ("path,label,path\na,b,c\n", "two columns 'path'"),
        ("path,label,split\nphotos/0.png,,train\n", "line 2: the label is empty"),
        ("path,label,split\n ,cat,train\n", "line 2: the path is empty"),
        ("path,label,split\nphotos/0.png,cat\n", "line 2: 2 fields are too few"),
        ("path,label,split\nphotos/0.png,cat,validation\n", "line 2: split 'validation' .valid: train, val, test"),
        ('path,label,split\nphotos/0.png,"a\nb",train\n', "line 3: the label holds a line break"),
        ('path,label,split\n"photos/0.png,cat,train\n', "line 2: unexpected end of data"),
        ("path,label,split\nphotos/0.png,cat,train\n./photos/0.png,dog,test\n", "line 3: .*listed in line 2 already"),
        ("path,label,split\nphotos/0.png,cat,train\nphotos/1.png,dog,test\n", "1 class in train"),
        ("path,label,split\nphotos/0.png,cat,test\n", "no training image"),
        (
            "path,label,split\nphotos/0.png,a,train\nphotos/1.png,b,train\nphotos/2.png,c,test\n",
            "line 4: no training image has the label 'c'",
        ),
        (
            "path,label,split\nphotos/0.png,a,train\ngone.png,b,train\nx/y.png,b,test\n",
            r"2 of 3 images are missing: \S+/gone\.png \(line 3\), \S+/x/y\.png \(line 4\); .*prepare csv:\S+ --partial'",
        ),
        ("path,label,split\nphotos/0.png,caf\u00e9,train\nphotos/1.png,cafe\u0301,train\n", "line 3: .*another Unicode form"),
        ("path,label\nphotos/0.png,caf\u00e9\n".encode("latin-1"), "line 2: not UTF-8"),
        ("path,label\n" + "x" * 200_000 + ",a\n", "line 2: field larger than"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(photos: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as error:
        listed(photos, text)
    assert str(photos.parent / "list.csv") in str(error.value)


@pytest.mark.parametrize("use", ["csv", "csv:/not/there.csv", "csv:."])
def test_a_file_that_is_none_is_said(use: str) -> None:
    with pytest.raises(DataError, match=r"csv|CSV"):
        open_dataset(use)


def test_a_test_split_may_lack_a_class(photos: Path) -> None:
    dataset = listed(photos, "\n".join(["path,label,split", *ROWS[:7]]))
    assert dataset.notes == ("test has no image of 1 of the 2 classes (dog); its mean over classes is over the others",)


@quick
@given(st.lists(st.text(max_size=12), min_size=8, max_size=8), st.sampled_from(",;\t"))
def test_any_label_is_read_or_refused(photos: Path, labels: list[str], delimiter: str) -> None:
    quoted = ['"' + label.replace('"', '""') + '"' for label in labels]
    rows = [delimiter.join([f"photos/{n}.png", label]) for n, label in enumerate(quoted)]
    text = "\n".join([f"path{delimiter}label", *rows]).encode(errors="surrogatepass")
    try:
        dataset = listed(photos, text, split=0.5)
    except DataError as refused:
        error = str(refused)
    else:
        error = None
        found = {item.key: dataset.classes[item.label] for items in dataset.splits.values() for item in items}
        assert found == {f"photos/{n}.png": label.strip() for n, label in enumerate(labels)}
    assert error is None or "list.csv" in error


@quick
@given(st.binary(max_size=200))
def test_any_file_is_read_or_refused(photos: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"list\.csv"):
        listed(photos, content, split=0.5)
