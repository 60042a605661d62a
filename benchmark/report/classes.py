"""Per-class accuracy and the most confused classes of a cell, from the predictions that its runs kept."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import parquet

from benchmark.report.cells import Group
from benchmark.report.collect import PREDICTIONS, Run
from benchmark.report.intervals import Interval, mean, t_interval, wilson_interval
from benchmark.report.text import csv_text, one_line

CLASSES_CSV = "tables/classes.csv"

LOWEST = 10
"""A cell shows this many classes, those of the lowest accuracy; the CSV file has all."""

MOST_CONFUSED = 5

_COLUMNS = ("label", "top1", "label_name", "top1_name")

Counts = Mapping[tuple[int, int], int]
"""Test images by (class, predicted class)."""


@dataclass(frozen=True)
class ClassResult:
    """A class: its number of test ``images``, and its accuracy in percent.

    ``accuracy`` has the t-interval over seeds. ``wilson`` is the interval over test images of the mean accuracy: what so few images
    can tell, where all seeds agree too.
    """

    name: str
    images: int
    accuracy: Interval
    wilson: tuple[float, float]


@dataclass(frozen=True)
class Confusion:
    """Images of class ``name`` predicted as ``other``: how many per run, and what share of the class in percent."""

    name: str
    other: str
    per_run: float
    share: float


@dataclass(frozen=True)
class ClassResults:
    """The classes of a cell from the lowest accuracy up and its confusions from the most frequent down, over ``n`` runs."""

    classes: tuple[ClassResult, ...]
    confusions: tuple[Confusion, ...]
    n: int


def class_results(group: Group) -> tuple[dict[str, ClassResults], list[str]]:
    """What the predictions say by method, without methods that kept none, and the files that could not be read."""
    found: dict[str, ClassResults] = {}
    damaged = []
    for cell in group.cells:
        names: dict[int, str] = {}
        counts = []
        for run in cell.runs:
            try:
                read = _predictions(run)
            except (OSError, ValueError, pa.ArrowException) as error:
                reason = one_line(str(error)) or type(error).__name__
                damaged.append(f"{cell.method}, seed {run.seed}: runs/{run.expected.run_id}/{PREDICTIONS} is damaged ({reason})")
                continue
            if read:
                counts.append(read[0])
                names |= read[1]
        if counts:
            found[cell.method] = summarise_classes(counts, names)
    return found, damaged


def _predictions(run: Run) -> tuple[Counts, dict[int, str]] | None:
    """The counts of a run and the names of its classes; None where no predictions were kept. ValueError where a column is missing."""
    file = run.folder / PREDICTIONS
    if not file.is_file():
        return None
    table = parquet.read_table(file, columns=list(_COLUMNS))
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing or not len(table):
        raise ValueError(f"it lacks {', '.join(missing)}" if missing else "it has no rows")
    groups = table.group_by(list(_COLUMNS)).aggregate([([], "count_all")]).to_pylist()
    counts = {(row["label"], row["top1"]): row["count_all"] for row in groups}
    return counts, {row[key]: str(row[f"{key}_name"]) for row in groups for key in ("label", "top1")}


def summarise_classes(runs: Sequence[Counts], names: Mapping[int, str]) -> ClassResults:
    """Means over ``runs``; ``names`` of the classes."""
    images = [_totals(counts) for counts in runs]
    classes = []
    for label in sorted(set().union(*images)):
        shares = [counts.get((label, label), 0) / total[label] for counts, total in zip(runs, images, strict=True) if total[label]]
        most = max(total[label] for total in images)
        low, high = wilson_interval(mean(shares), most)
        classes.append(ClassResult(names[label], most, t_interval([100 * share for share in shares]), (100 * low, 100 * high)))
    wrong: Counter[tuple[int, int]] = Counter()
    for counts in runs:
        wrong.update({pair: count for pair, count in counts.items() if pair[0] != pair[1]})
    together: Counter[int] = sum(images, Counter())
    ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    confusions = (Confusion(names[a], names[b], count / len(runs), 100 * count / together[a]) for (a, b), count in ordered)
    return ClassResults(tuple(sorted(classes, key=lambda c: (c.accuracy.mean, c.name))), tuple(confusions), len(runs))


def _totals(counts: Counts) -> Counter[int]:
    """Images of each class."""
    found: Counter[int] = Counter()
    for (label, _), count in counts.items():
        found[label] += count
    return found


def classes_csv(groups: Sequence[tuple[Group, Mapping[str, ClassResults]]]) -> str:
    """One row per cell and class with unrounded numbers: accuracies in percent, empty where undefined."""
    columns = ("dataset", "fraction", "method", "class", "images", "n", "accuracy", "low", "high", "wilson_low", "wilson_high")
    rows = [
        (group.dataset, group.fraction, method, c.name, c.images, results.n, c.accuracy.mean, c.accuracy.low, c.accuracy.high, *c.wilson)
        for group, found in groups
        for method, results in found.items()
        for c in results.classes
    ]
    return csv_text(columns, rows)
