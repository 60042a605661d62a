"""The ``data`` commands: prepare, list, verify and show data sets."""

import re
from pathlib import Path

from rich.console import Console
from rich.progress import DownloadColumn, Progress, TaskID
from rich.table import Column, Table

import datasets
from benchmark.errors import UsageError
from benchmark.terminal import as_text, say
from datasets import counts
from datasets.arena import Decode, changed, copies, decodings, verify
from datasets.base import DataError, DataSet, Use, accept_missing, cache_root, data_class, open_dataset, recorded_place, remember


def prepare(
    name: str,
    source: Path | None,
    download: bool,
    resize: int,
    keep_aspect: bool | None,
    partial: bool,
    console: Console,
    split: float | None = None,
    test_from: str | None = None,
) -> None:
    """Fetch or read, check, remember and decode one data set."""
    from benchmark.sweep.carry_out import decode_with_progress

    if download:
        source = fetch(name, console)
    use = Use(f"{name}:{source}" if source else name, split, test_from)
    with console.status(as_text(f"reading {use}")):
        dataset = open_dataset(use, partial)
    wrong = counts.differences(dataset)
    if wrong and not partial:
        raise UsageError(f"'{name}' is not complete: {'; '.join(wrong)} (--partial takes it as it is; its results compare with no others)")
    for line in wrong:
        say(console, f"not complete: {line}", "yellow")
    decode_with_progress(use, Decode(resize, dataset.keep_aspect if keep_aspect is None else keep_aspect), console, partial)
    kind, _, place = use.text.partition(":")
    if dataset.missing and place:
        accept_missing(kind, Path(place))
    if source and not dataset.own:
        remember(name, source, partial)
    summary = f"{name}: {sizes(dataset)} images, {len(dataset.classes)} classes; licence: {dataset.licence}"
    say(console, summary)


def fetch(name: str, console: Console) -> Path:
    """The folder with a data set's official files, downloaded where they are not there yet."""
    from datasets.fetch import fetch as fetch_file

    cls = data_class(name)
    offered = [source for source in cls.sources if source.urls]
    if not offered:
        raise UsageError(f"nobody offers '{name}' for download; say where your copy lies: smilebench data prepare {name} --from PATH")
    folder = cache_root() / "downloads" / name
    say(console, f"{name}: {cls.licence}; {cls.homepage}")
    with Progress(*Progress.get_default_columns(), DownloadColumn(), console=console) as bar:
        for file in offered:
            task = bar.add_task(file.file, total=None)

            def progress(_: str, done: int, total: int | None, task: TaskID = task) -> None:
                bar.update(task, completed=done, total=total)

            fetch_file(file, folder, progress)
            if not file.md5:
                say(console, f"{file.file}: its authors publish no checksum; the counts below are the check")
    return folder


def table(console: Console) -> None:
    """Every data set: prepared, present or missing, its size on disk, its images and classes."""
    prepared = decodings()
    out = Table("data set", Column("state", overflow="fold"), "decoded", "images", "classes", "licence")
    for name in datasets.DATASETS:
        if data_class(name).own:
            out.add_row(f"{name}:PATH", "yours", "", "", "", "yours")
            continue
        try:
            found = open_dataset(name)
        except DataError as error:
            offered = any(source.urls for source in data_class(name).sources)
            absent = recorded_place(name) is None
            out.add_row(name, ("missing, can be fetched" if offered else "missing") if absent else f"damaged: {error}")
            continue
        arenas = copies(found, prepared)
        decoded = ", ".join(f"{_side(prepared[arena.path])} ({_megabytes(arena.path)} MB)" for arena in arenas)
        state = "prepared" if arenas else "present"
        out.add_row(name, state, decoded, sizes(found), str(len(found.classes)), found.licence)
    console.print(out)
    say(console, "missing: smilebench data prepare NAME --from PATH, or --download where it can be fetched")


def check(name: str, console: Console, split: float | None = None, test_from: str | None = None) -> None:
    """Check one data set: its counts, every decoded copy, and that the images are still those which were decoded."""
    dataset = open_dataset(Use(name, split, test_from))
    prepared = decodings()
    arenas = copies(dataset, prepared)
    if not arenas:
        raise UsageError(f"data set '{name}' is not decoded yet; run 'smilebench data prepare {name}'")
    for line in counts.differences(dataset):
        say(console, f"not complete: {line}", "yellow")
    for arena in arenas:
        verify(arena)
        if files := changed(dataset, arena):
            raise DataError(f"{len(files)} images are no longer what was decoded, among them {files[0]}; get them again")
        say(console, f"{name}: {arena.path} is intact")
        for line in (*dataset.notes, *arena.notes):
            say(console, line, "yellow")


def show(name: str, split: str, out: Path | None, console: Console, share: float | None = None, test_from: str | None = None) -> None:
    """Print what is known of a data set and write a contact sheet of one split. share: the option ``split`` of :class:`Use`."""
    from datasets.contact import sheet

    kind = name.partition(":")[0]
    cls = data_class(kind)
    facts = {"split": _plain(cls.__doc__), "licence": cls.licence, "homepage": cls.homepage, "read from": cls.layouts}
    facts["known defects"] = cls.defects
    for fact, text in facts.items():
        if text:
            say(console, f"{fact}: {text}")
    dataset = open_dataset(Use(name, share, test_from))
    for line in dataset.notes:
        say(console, line, "yellow")
    if split not in dataset.splits:
        raise UsageError(f"no split '{split}' (the data set has: {', '.join(dataset.splits)})")
    file = out or Path(f"{kind}-{split}.png")
    page = sheet(dataset, split)
    try:
        page.save(file)
    except ValueError as error:
        raise UsageError(f"--out {file}: the name must end in that of an image format, such as .png") from error
    except OSError as error:
        raise UsageError(f"--out {file}: {error.strerror or error}") from error
    say(console, f"{file}: {split} images of {name}")


def _plain(text: str | None) -> str:
    """A docstring as one paragraph of plain words: without the marks of reStructuredText."""
    return " ".join(re.sub(r":\w+:`~?([^`]+)`|``([^`]+)``", r"\1\2", text or "").split())


def sizes(dataset: DataSet) -> str:
    """Images per split, in words."""
    return ", ".join(f"{len(items)} {split}" for split, items in dataset.splits.items())


def _side(decode: Decode) -> str:
    return f"{decode.resize}{' shorter side' if decode.keep_aspect else ''} px"


def _megabytes(folder: Path) -> int:
    return round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6)
