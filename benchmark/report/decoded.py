"""Notes on methods and fractions of one data set whose settings give them unlike images."""

from collections.abc import Sequence

from benchmark.report.cells import Cell, Group
from benchmark.report.collect import Run
from benchmark.report.made_with import DECODE, DIVISION


def decode_notes(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """Per group, what a reader must know of how its images were decoded and divided; nothing where a data set was the same for all runs."""
    return [_notes(group, [run for other in groups if other.dataset == group.dataset for run in other.runs]) for group in groups]


def _notes(group: Group, runs: Sequence[Run]) -> tuple[str, ...]:
    if len({run.record["data_hash"] for run in runs}) < 2:
        return ()
    keys = [key for key in (*DECODE, *DIVISION) if len({str(run.data_settings().get(key)) for run in runs}) > 1]
    cells = {cell.method: words for cell in group.cells if (words := _words(cell, keys))}
    if len(set(cells.values())) > 1:
        listed = "; ".join(f"{method}: {words}" for method, words in cells.items())
        return (f"Not all methods were given the same images, so differences are of both ({listed})",)
    others = "figures and tables over several fractions compare unlike images"
    return tuple(f"The images are not those of the other fractions ({words}): {others}" for words in dict.fromkeys(cells.values()))


def _words(cell: Cell, keys: Sequence[str]) -> str:
    """The settings ``keys`` of its runs: ``resize 64``, and with ``or`` where its seeds differ."""
    found = [", ".join(f"{key} {run.data_settings().get(key, 'not kept')}" for key in keys) for run in cell.runs]
    return " or ".join(dict.fromkeys(found))
