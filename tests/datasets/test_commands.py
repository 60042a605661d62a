"""The ``data`` commands, as a user types them."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from benchmark.cli import app
from datasets import counts, fetch
from datasets.arena import decodings
from datasets.base import DataError, DataSet, Use, open_dataset, remember
from tests.datasets import releases
from tests.datasets.test_images import rotated
from tests.datasets.test_parquet import write

LISTS = {
    "cub200",
    "dtd",
    "fgvc_aircraft",
    "food101",
    "mit_indoor67",
    "oxford_iiit_pet",
    "stanford_cars",
    "stanford_dogs",
    "sun397",
}
"""Releases whose images are listed in files of their own; see the tests of flowers102 for one more."""


def run(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str]:
    """Exit code and output of ``smilebench data ...``."""
    monkeypatch.setattr("sys.argv", ["smilebench", "data", *map(str, arguments)])
    try:
        app.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    shown = capsys.readouterr()
    return code, " ".join((shown.out + shown.err).split())


@pytest.fixture
def data(capsys, monkeypatch):
    return lambda *arguments: run(capsys, monkeypatch, *arguments)


def test_prepare_list_verify_show(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    releases.cub200(tmp_path / "birds")
    monkeypatch.setitem(counts.COUNTS, "cub200", (2, {"train": counts.Count(4, (2, 2)), "test": counts.Count(4, (2, 2))}))
    code, shown = data("prepare", "cub200", "--from", tmp_path / "birds", "--resize", 32)
    assert code == 0
    assert "4 train, 4 test images, 2 classes" in shown
    (decode,) = decodings().values()
    assert (decode.resize, decode.keep_aspect) == (32, True)
    code, shown = data("list")
    assert code == 0
    assert "prepared" in shown
    assert "missing, can be fetched" in shown
    assert data("verify", "cub200")[0] == 0
    assert data("show", "cub200", "--split", "test", "--out", tmp_path / "sheet.png")[0] == 0
    page = np.asarray(Image.open(tmp_path / "sheet.png"))
    first = Image.open(tmp_path / "birds/CUB_200_2011/images/001.Black_footed_Albatross/Bird_0006.jpg")
    expected = np.asarray(first.resize((152, 114), Image.Resampling.BICUBIC))
    assert np.array_equal(page[23 : 23 + 114, 4 : 4 + 152], expected)
    assert (page[160:, :160] != 255).any()
    assert (page[:, 4 * 160 :] == 255).all()


def test_a_copy_that_is_not_complete_is_refused_unless_asked_for(data, tmp_path: Path) -> None:
    releases.cub200(tmp_path / "birds")
    code, shown = data("prepare", "cub200", "--from", tmp_path / "birds", "--resize", 16)
    assert code == 2
    assert "2 classes instead of 200; test has 4 images instead of 5794" in shown
    assert "train has 2 classes outside 29 to 30 images (001.Black_footed_Albatross 2," in shown
    assert not decodings()
    code, shown = data("verify", "cub200")
    assert (code, "is not at hand" in shown) == (2, True)
    assert data("prepare", "cub200", "--from", tmp_path / "birds", "--resize", 16, "--partial")[0] == 0
    assert len(open_dataset("cub200").splits["train"]) == 4


def test_verify_names_a_changed_image(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = releases.cub200(tmp_path / "birds")
    data("prepare", "cub200", "--from", tmp_path / "birds", "--resize", 16, "--partial")
    fingerprint = open_dataset("cub200").fingerprint()
    path = next(iter(truth["train"].values()))[1]
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert data("verify", "cub200") == (2, "error: data set 'cub200' is not decoded yet; run 'smilebench data prepare cub200'")
    monkeypatch.setattr(DataSet, "fingerprint", lambda self: fingerprint)
    code, shown = data("verify", "cub200")
    assert code == 2
    assert f"1 images are no longer what was decoded, among them {path}" in shown.replace("\n", "")


def test_download_fetches_checks_and_remembers(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    releases.flowers102(tmp_path / "flowers")

    def copy(source, folder: Path, progress) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if source.file.endswith(".mat"):
            (folder / source.file).write_bytes((tmp_path / "flowers" / source.file).read_bytes())
        elif not (folder / "jpg").exists():
            (folder / "jpg").symlink_to(tmp_path / "flowers" / "jpg")
        progress(source.file, 1, 1)
        return folder / source.file

    monkeypatch.setattr(fetch, "fetch", copy)
    code, _ = data("prepare", "flowers102", "--download", "--partial", "--resize", 16)
    assert code == 0
    assert open_dataset("flowers102").splits["val"][0].path.is_relative_to(cache / "downloads" / "flowers102")


def test_what_nobody_offers_is_refused_with_advice(data) -> None:
    code, shown = data("prepare", "stanford_cars", "--download")
    assert code == 2
    assert "smilebench data prepare stanford_cars --from PATH" in shown


def test_every_table_of_counts_names_a_data_set_and_digits_agree() -> None:
    from datasets import DATASETS

    assert set(counts.COUNTS) == set(DATASETS) - {"folder", "csv"}
    assert counts.differences(open_dataset("digits")) == []


@pytest.mark.parametrize("gone", [1, 3, 4])
def test_missing_files_of_a_release_are_counted_and_left_out_where_asked(data, tmp_path: Path, gone: int) -> None:
    releases.flowers102(tmp_path / "flowers")
    splits = open_dataset(f"flowers102:{tmp_path / 'flowers'}").splits
    total = sum(map(len, splits.values()))
    files = sorted([item.path for item in (*splits["test"][:3], *splits["train"][:1])][:gone])
    for file in files:
        file.unlink()
    prepare = ("prepare", "flowers102", "--from", tmp_path / "flowers", "--resize", 16)
    code, shown = data(*prepare)
    assert code == 2
    assert f"{gone} of {total} images are missing: {', '.join(map(str, files[:3]))}{', ...' if gone > 3 else ''}; get them" in shown
    assert not decodings()
    code, shown = data(*prepare, "--partial")
    assert code == 0, shown
    assert f"not complete: {gone} listed files are missing" in shown
    for use in ("flowers102", f"flowers102:{tmp_path / 'flowers'}"):
        assert sum(map(len, open_dataset(use).splits.values())) == total - gone
    releases.flowers102(tmp_path / "other")
    (tmp_path / "other" / "jpg" / files[0].name).unlink()
    with pytest.raises(DataError, match=f"1 of {total} images are missing"):
        open_dataset(f"flowers102:{tmp_path / 'other'}")


@pytest.mark.parametrize("name", sorted(LISTS))
def test_every_release_that_comes_with_lists_counts_what_is_missing(data, name: str, tmp_path: Path) -> None:
    getattr(releases, name)(tmp_path / "data")
    splits = open_dataset(f"{name}:{tmp_path / 'data'}").splits
    total = sum(map(len, splits.values()))
    (file, *_) = (item.path for item in splits["test"])
    file.unlink()
    prepare = ("prepare", name, "--from", tmp_path / "data", "--resize", 16)
    code, shown = data(*prepare)
    assert code == 2
    assert f"1 of {total} images are missing" in shown
    assert file.name in shown
    code, shown = data(*prepare, "--partial")
    assert code == 0, shown
    assert "not complete: 1 listed files are missing" in shown
    assert sum(map(len, open_dataset(name).splits.values())) == total - 1


def own_list(folder: Path, image_folder: Any) -> tuple[Path, list[Path]]:
    """A CSV file that lists an image folder, and its files."""
    root = image_folder()
    files = sorted(root.rglob("*.jpg"))
    rows = [f"{file.relative_to(folder)},{file.parent.name},{file.parent.parent.name}" for file in files]
    (folder / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    return folder / "list.csv", files


def test_missing_files_of_an_own_list_are_counted_and_left_out_where_asked(data, image_folder, tmp_path: Path) -> None:
    list_file, files = own_list(tmp_path, image_folder)
    use = f"csv:{list_file}"
    for file in files[:2]:
        file.unlink()
    code, shown = data("prepare", use, "--resize", 16)
    assert code == 2
    assert f"2 of 16 images are missing: {files[0]} (line 2), {files[1]} (line 3); get them" in shown
    assert f"'smilebench data prepare {use} --partial'" in shown
    assert not decodings()
    code, shown = data("prepare", use, "--resize", 16, "--partial")
    assert code == 0, shown
    assert f"not complete: 2 listed files are missing, among them {files[0]}" in shown
    assert sum(map(len, open_dataset(use).splits.values())) == 14
    code, shown = data("verify", use)
    assert (code, "not complete: 2 listed files are missing" in shown) == (0, True)
    (tmp_path / "other.csv").write_text(list_file.read_text())
    with pytest.raises(DataError, match="2 of 16 images are missing"):
        open_dataset(f"csv:{tmp_path / 'other.csv'}")


def test_what_is_missing_of_an_own_list_moves_no_image_between_train_and_test(image_folder, tmp_path: Path) -> None:
    list_file, files = own_list(tmp_path, image_folder)
    list_file.write_text(list_file.read_text().replace(",test", ",train"))
    use = Use(f"csv:{list_file}", split=0.5)
    whole = {item.key: name for name, items in open_dataset(use).splits.items() for item in items}
    for file in files[2:5]:
        file.unlink()
    kept = {item.key: name for name, items in open_dataset(use, partial=True).splits.items() for item in items}
    assert kept == {key: name for key, name in whole.items() if (tmp_path / key).exists()}
    assert len(kept) == 13


def test_what_was_accepted_of_a_release_named_with_its_place_stays_accepted(data, tmp_path: Path) -> None:
    releases.cub200(tmp_path / "birds")
    use = f"cub200:{tmp_path / 'birds'}"
    file = open_dataset(use).splits["test"][0].path
    file.unlink()
    assert data("prepare", use, "--resize", 16, "--partial")[0] == 0
    assert len(open_dataset(use).splits["test"]) == 3


@pytest.mark.parametrize("kind", ["folder", "flowers102"])
def test_a_test_split_that_lacks_a_class_is_prepared_and_the_class_is_named(data, image_folder, tmp_path: Path, kind: str) -> None:
    root = image_folder(classes=("a", "b", "c"))
    shutil.rmtree(root / "test" / "b")
    code, shown = data("prepare", f"{kind}:{root}", "--resize", 16, "--partial")
    assert code == 0, shown
    assert "test has no image of 1 of the 3 classes (b); its mean over classes is over the others" in shown
    assert [item.label for item in open_dataset(f"{kind}:{root}").splits["test"]] == [0] * 4 + [2] * 4


@pytest.mark.parametrize("orientation", [6, 3])
def test_orientations_and_transparent_images_are_said_where_they_are_prepared(data, image_folder, orientation: int) -> None:
    root = image_folder()
    (root / "train" / "cat" / "a.png").write_bytes(rotated(orientation))
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(root / "test" / "dog" / "b.png")
    code, shown = data("prepare", f"folder:{root}", "--resize", 16)
    assert code == 0
    assert "1 images carry an EXIF orientation that is not followed, among them train/cat/a.png" in shown
    assert "1 images are transparent in places and are shown on white, among them test/dog/b.png" in shown


@pytest.mark.parametrize("name", ["val", "validation"])
def test_another_split_is_test_where_a_command_says_so(data, image_folder, name: str) -> None:
    root = image_folder()
    (root / "test").rename(root / name)
    code, shown = data("prepare", f"folder:{root}", "--resize", 16)
    assert code == 2
    assert f"test_from: {name}}} takes {name}/ for test" in shown
    code, shown = data("prepare", f"folder:{root}", "--test-from", name, "--resize", 16)
    assert (code, "8 train, 8 test images, 2 classes" in shown) == (0, True)


@pytest.mark.parametrize("place", ["[/x]", "[bold]"])
def test_a_place_in_brackets_is_listed_by_its_name(data, tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    remember("cub200", tmp_path / place)
    code, shown = data("list")
    assert code == 0
    assert f"damaged:'{tmp_path / place}'holdsnocopy" in re.sub("[│ ]", "", shown)


@pytest.mark.parametrize(
    ("split", "words"), [("test", "test holds no image"), ("val", "val holds no image"), ("train", "train/cat holds no image")]
)
def test_a_split_of_folders_without_images_is_refused_in_words(data, image_folder, split: str, words: str) -> None:
    root = image_folder()
    for label in ("cat", "dog"):
        (root / split / label).mkdir(parents=True, exist_ok=True)
        for file in (root / split / label).iterdir():
            file.unlink()
    code, shown = data("prepare", f"folder:{root}", "--resize", 16)
    assert (code, words in shown) == (2, True), shown


def test_own_images_are_prepared_shown_and_verified_with_their_options(data, image_folder, tmp_path: Path) -> None:
    root = image_folder(per_class=5) / "train"
    use = f"folder:{root}"
    code, shown = data("prepare", use, "--resize", 16)
    assert (code, "split: 0.7" in shown) == (2, True)
    code, shown = data("prepare", use, "--split", 0.8, "--resize", 16)
    assert code == 0
    assert "8 train, 2 test images, 2 classes" in shown
    assert data("verify", use, "--split", 0.8)[0] == 0
    assert data("show", use, "--share", 0.8, "--split", "test", "--out", tmp_path / "sheet.png")[0] == 0


def test_notes_and_names_in_brackets_are_printed_as_they_are(data, image_folder) -> None:
    root = image_folder("[v2]")
    (root / "train" / "cat" / "[b].gif").write_bytes(b"")
    code, shown = data("prepare", f"folder:{root}", "--resize", 16)
    assert code == 0
    assert f"{root}: 1 files are no images that are read (.gif 1;" in shown.replace("\n", "").replace("[v2] :", "[v2]:")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("folder", "classes are the sorted folder names of train."),
        ("csv", "see the options split and test_from of datasets.division."),
        ("flowers102", "val"),
    ],
)
def test_what_is_shown_of_a_data_set_is_plain_text(data, image_folder, tmp_path: Path, kind: str, words: str) -> None:
    place = own_list(tmp_path, image_folder)[0] if kind == "csv" else image_folder()
    code, shown = data("show", f"{kind}:{place}", "--out", tmp_path / "sheet.png")
    assert code == 0
    assert words in shown
    assert not any(mark in shown for mark in ("`", ":mod:", ":class:", ":func:"))


@pytest.mark.parametrize("out", ["sheet.foo", "missing/sheet.png"])
def test_a_sheet_that_cannot_be_written_is_an_error_of_usage(data, image_folder, tmp_path: Path, out: str) -> None:
    code, shown = data("show", f"folder:{image_folder()}", "--out", tmp_path / out)
    assert (code, "error: --out" in shown) == (2, True)


def test_every_help_text_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Square brackets among them, and what each option is when it is not given."""
    monkeypatch.setenv("COLUMNS", "1000")
    seen = 0
    for path, command in commands(typer.main.get_command(app.app), ()):
        shown = "".join(CliRunner().invoke(app.app, [*path, "--help"]).output.split())
        texts = [command.help, *(getattr(parameter, "help", None) for parameter in command.params)]
        for text in filter(None, texts):
            assert "".join(text.split("\f")[0].split()) in shown, (path, text)
            seen += 1
    assert seen > 60
    assert "(default: as published work on this data set)" in " ".join(
        CliRunner().invoke(app.app, ["data", "prepare", "--help"]).output.split()
    )


def commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


@pytest.mark.parametrize(
    ("labels", "names"),
    [([0, 1, None, 1], None), ([0, 1, None, 1], ["cat", "dog"]), (["cat", "dog", None], None), (["cat", "", "dog"], None)],
)
def test_a_parquet_copy_with_an_empty_label_becomes_no_class(data, tmp_path: Path, cache: Path, labels: list, names: list | None) -> None:
    for split in ("train", "test"):
        write(tmp_path / "hub", labels, names).rename(tmp_path / "hub" / f"{split}-00000-of-00001.parquet")
    code, shown = data("prepare", "food101", "--from", tmp_path / "hub", "--partial", "--resize", 16)
    assert code == 2
    assert "00000-of-00001.parquet, row" in shown
    assert shown.endswith("the label is empty")
    assert not decodings()
    assert not [path for path in cache.rglob("*") if path.name in ("None", "nan", "")]


@pytest.mark.parametrize(("left", "said"), [((".gif", 20), "(.gif 20, .avif 1, .jfif 1;"), ((".heic", 3), "(.heic 3, .avif 1, .jfif 1;")])
def test_files_that_are_left_out_are_counted_on_the_terminal(data, image_folder, left: tuple[str, int], said: str) -> None:
    root = image_folder()
    suffixes = [left[0]] * left[1] + [".jfif", ".avif"]
    for n, suffix in enumerate(suffixes):
        (root / "train" / "cat" / f"left{n}{suffix}").write_bytes(b"")
    code, shown = data("prepare", f"folder:{root}", "--resize", 16)
    assert code == 0
    assert "8 train, 8 test images" in shown
    assert f"{len(suffixes)} files are no images that are read {said}" in shown


@pytest.mark.parametrize("top", [4095, 1023])
def test_what_decoding_finds_is_said_on_the_terminal(data, image_folder, top: int) -> None:
    root = image_folder()
    for split, n in (("train", 1), ("train", 2), ("test", 3)):
        scan = np.linspace(0, top, 400).astype(np.uint16).reshape(20, 20) // n
        scan[0, 0] = top
        Image.fromarray(scan).save(root / split / "dog" / f"scan{n}.png")
    (root / "test" / "cat" / "again.jpg").write_bytes((root / "train" / "cat" / "1.jpg").read_bytes())
    (root / "train" / "dog" / "too.jpg").write_bytes((root / "train" / "cat" / "2.jpg").read_bytes())
    code, shown = data("prepare", f"folder:{root}", "--resize", 16)
    assert code == 0
    assert f"3 of 3 images of 16-bit grey hold no value above {top} " in shown
    assert "1 images of test are in train too, among them test/cat/again.jpg (train/cat/1.jpg)" in shown
    assert "1 images are in two classes, among them train/cat/2.jpg and train/dog/too.jpg" in shown


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_images_is_refused_even_where_part_is_enough(data, tmp_path: Path, split: str) -> None:
    releases.flowers102(tmp_path / "flowers")
    for item in open_dataset(f"flowers102:{tmp_path / 'flowers'}").splits[split]:
        item.path.unlink()
    code, shown = data("prepare", "flowers102", "--from", tmp_path / "flowers", "--resize", 16, "--partial")
    assert code == 2
    assert f"the {split} split of 'flowers102:" in shown
    assert "holds no image" in shown
