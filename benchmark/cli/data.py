"""The ``data`` commands: prepare, list, verify and show data sets."""

from pathlib import Path

from rich.console import Console
from rich.progress import DownloadColumn, Progress
from rich.table import Table

import datasets
from benchmark.errors import UsageError
from benchmark.terminal import as_text, say
from datasets import counts
from datasets.arena import Decode, changed, copies, decodings, verify
from datasets.base import DataError, DataSet, cache_root, data_class, open_dataset, recorded_place, remember


def prepare(name: str, source: Path | None, download: bool, resize: int, keep_aspect: bool | None, partial: bool, console: Console) -> None:
    """Fetch or read, check, remember and decode one data set."""
    from benchmark.sweep.carry_out import decode_with_progress

    if download:
        source = fetch(name, console)
    use = f"{name}:{source}" if source else name
    with console.status(as_text(f"reading {use}")):
        dataset = open_dataset(use)
    wrong = counts.differences(dataset)
    if wrong and not partial:
        raise UsageError(f"'{name}' is not complete: {'; '.join(wrong)} (--partial takes it as it is; its results compare with no others)")
    for line in wrong:
        say(console, f"not complete: {line}", "yellow")
    decode_with_progress(use, Decode(resize, dataset.keep_aspect if keep_aspect is None else keep_aspect), console)
    if source and name != "folder":
        remember(name, source)
    say(console, f"{name}: {sizes(dataset)} images, {len(dataset.classes)} classes; licence: {dataset.licence}")


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
            fetch_file(file, folder, lambda _, done, total, task=task: bar.update(task, completed=done, total=total))
            if not file.md5:
                say(console, f"{file.file}: its authors publish no checksum; the counts below are the check")
    return folder


def table(console: Console) -> None:
    """Every data set: prepared, present or missing, its size on disk, its images and classes."""
    prepared = decodings()
    out = Table("data set", "state", "decoded", "images", "classes", "licence")
    for name in datasets.DATASETS:
        if name == "folder":
            out.add_row("folder:PATH", "yours", "", "", "", "yours")
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


def check(name: str, console: Console) -> None:
    """Check one data set: its counts, every decoded copy, and that the images are still those which were decoded."""
    dataset = open_dataset(name)
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


def show(name: str, split: str, out: Path | None, console: Console) -> None:
    """Print what is known of a data set and write a contact sheet of one split."""
    from datasets.contact import sheet

    cls = data_class(name.partition(":")[0])
    facts = {"split": cls.__doc__, "licence": cls.licence, "homepage": cls.homepage, "read from": cls.layouts, "known defects": cls.defects}
    for fact, text in facts.items():
        if text:
            say(console, f"{fact}: {text}")
    dataset = open_dataset(name)
    if split not in dataset.splits:
        raise UsageError(f"no split '{split}' (the data set has: {', '.join(dataset.splits)})")
    file = out or Path(f"{name.partition(':')[0]}-{split}.png")
    sheet(dataset, split).save(file)
    say(console, f"{file}: {split} images of {name}")


def sizes(dataset: DataSet) -> str:
    """Images per split, in words."""
    return ", ".join(f"{len(items)} {split}" for split, items in dataset.splits.items())


def _side(decode: Decode) -> str:
    return f"{decode.resize}{' shorter side' if decode.keep_aspect else ''} px"


def _megabytes(folder: Path) -> int:
    return round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6)
