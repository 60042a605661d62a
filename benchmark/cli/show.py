"""What ``show`` prints and draws: the first batch of a run as its network sees it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmark.config import grid
from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError, unknown
from benchmark.report.batches import FOLDER
from benchmark.report.cells import file_name
from benchmark.storage.atomic import replacing, write_json
from benchmark.sweep.carry_out import prepare_data
from benchmark.terminal import as_text, say

if TYPE_CHECKING:
    from benchmark.training.first_batch import FirstBatch

DATASET = "digits"
ON_TERMINAL, IN_REPORT = 8, 6
"""Images of a batch that are shown where nobody says how many."""


def show(words: Sequence[str], out: Path | None, images: int, console: Console) -> None:
    """Show the first batch of the run that ``words`` stand for, METHOD and ``key=value``, on the terminal and as a PNG file ``out``."""
    from benchmark.report.figures.batch import batch_png

    method, assignments = _method(words)
    if method:
        assignments = [f"method={method}", *assignments]
    if not any(each.startswith(("method=", "methods=")) for each in assignments):
        raise UsageError("show: name a method: smilebench show mixup (smilebench list methods tells them)")
    if not any(each.startswith(("dataset=", "datasets=")) for each in assignments):
        assignments = [*assignments, f"dataset={DATASET}"]
    (config, *_) = grid.single(assignments).runs
    file = out or Path(f"{_stem(config)}.png")
    if file.suffix.lower() != ".png":
        raise UsageError(f"--out {file}: the name must end in .png")
    found = _first_batch(config, console)
    say(console, found.title())
    say(console, found.words())
    console.print(_table(found, images))
    with replacing(file, durable=False) as handle:
        handle.write(batch_png(found.strips(images), found.title()))
    say(console, f"{file}: the first {min(images, len(found.images))} images")


def show_into(sweep: str, words: Sequence[str], out: Path | None, images: int, console: Console) -> None:
    """Draw the first batch of each method of a sweep on each of its data sets for the sweep's report; of one method where it is named."""
    from benchmark.report.figures.batch import batch_png

    method, assignments = _method(words)
    found = grid.load(sweep, assignments, out)
    assert found.origin is not None
    if method and method not in found.methods:
        raise UsageError("show: " + unknown(f"method of '{found.name}'", method, found.methods))
    first: dict[tuple[str, str], RunConfig] = {}
    for config in found.runs:
        if not method or config.method == method:
            first.setdefault((config.dataset, config.method), config)
    folder = found.origin.folder / FOLDER
    prepare_data(list(first.values()), console)
    for config in first.values():
        batch = _first_batch(config, console)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{_stem(config)}.png"
        with replacing(file, durable=False) as handle:
            handle.write(batch_png(batch.strips(images), batch.title(), small=True))
        about = {"dataset": config.dataset, "method": config.method, "run_id": config.run_id}
        write_json(file.with_suffix(".json"), {**about, "title": batch.title(), "caption": batch.words()}, durable=False)
        say(console, f"{file}: {batch.words()}")
    say(console, f"to have them in the report: {found.origin.command('report')}")


def _method(words: Sequence[str]) -> tuple[str, list[str]]:
    named = [word for word in words if "=" not in word]
    if len(named) > 1:
        raise UsageError(f"show: one method at a time, not {' and '.join(named)} (a composition is written a+b)")
    return (named[0] if named else ""), [word for word in words if "=" in word]


def _stem(config: RunConfig) -> str:
    return f"{file_name(config.dataset)}-{file_name(config.method)}"


def _first_batch(config: RunConfig, console: Console) -> "FirstBatch":
    from benchmark.training.first_batch import first_batch

    prepare_data([config], console)
    with console.status(as_text(f"putting {config.method} together")):
        return first_batch(config)


def _table(found: "FirstBatch", images: int) -> Table:
    """The first ``images`` of the batch: which images, their partners, and the target of each row that the network sees."""
    table = Table("row", "image", "label", "partner", "label of the partner", "own weight", "target")
    count = len(found.images)
    for row in range(len(found.rows)):
        i = row % count
        if i >= images:
            continue
        p = None if found.partner is None else int(found.partner[i])
        partner = (
            ("-", "-", "1.000") if p is None else (f"{p}: {found.keys[p]}", found.classes[found.label[p]], f"{found.own_weight(row):.3f}")
        )
        table.add_row(str(row), found.keys[i], found.classes[found.label[i]], *partner, found.label_words(row))
    return table
