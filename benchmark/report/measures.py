"""What a record measures, read as one number per run: for tables, for the columns that a sweep file asks for, and for claims.

Nothing heavy is imported: the names are checked where sweep files are read.
"""

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.report.collect import Run

Read = Callable[[Run], float | None]
"""A number of a run, or None where it was not measured."""

SPLITS = ("train", "test")


def accuracy(run: Run) -> float:
    """Test accuracy in percent."""
    return 100 * run.record["test_accuracy"]


def mean_class_accuracy(run: Run) -> float:
    """Mean of the per-class test accuracies in percent."""
    return 100 * run.record["test_mean_class_accuracy"]


def minutes(run: Run) -> float:
    """Wall time of the whole run in minutes."""
    return run.record["wall_seconds"] / 60


def images_per_second(run: Run) -> float:
    """Training images per second, set-up and evaluation apart."""
    return run.record["images_per_second"]


def gap(split: str, name: str) -> Read:
    """Reader of one linearity gap."""
    return lambda run: run.gap(split, name)


def on_second(name: str, measure: str) -> Read:
    """Reader of one of ``ALSO_TEST`` on the second test set ``name``, accuracies in percent."""

    def read(run: Run) -> float | None:
        value = run.also_test(name, measure)
        return 100 * value if value is not None and measure.endswith("accuracy") else value

    return read


def _field(name: str, factor: float = 1.0) -> Read:
    """Reader of a field of the record that older records lack."""

    def read(run: Run) -> float | None:
        value = run.record.get(name)
        return None if value is None else factor * value

    return read


peak_memory_mib = _field("peak_memory_bytes", 2**-20)
"""Peak memory in MiB, or None where it was not measured."""


@dataclass(frozen=True)
class Measure:
    """title: heads its column, with its unit. form: how a number of it is written."""

    title: str
    form: str
    read: Read


def accuracy_per_minute(run: Run) -> float | None:
    """Points of test accuracy per minute of wall time; None for a run of no time."""
    return accuracy(run) / minutes(run) if minutes(run) > 0 else None


_ACCURACY = Measure("Accuracy (%)", "{:.1f}", accuracy)
_SECONDS = Measure("Seconds", "{:.1f}", _field("wall_seconds"))

CLAIMABLE: dict[tuple[str, str], Measure] = {
    ("accuracy", "test"): _ACCURACY,
    ("accuracy", "train"): Measure("Accuracy, train (%)", "{:.1f}", _field("train_accuracy", 100)),
    ("nll", "test"): Measure("NLL", "{:.3f}", _field("test_nll")),
    ("nll", "train"): Measure("NLL, train", "{:.3f}", _field("train_loss")),
    ("ece", "test"): Measure("ECE", "{:.3f}", _field("test_ece")),
    ("seconds", "test"): _SECONDS,
    **{
        (name, split): Measure(f"{title}, {split}", "{:.3f}", gap(split, name))
        for name, title in {
            "feature_rel": "Feature gap",
            "feature": "Feature gap (to norms)",
            "label_l1": "Label gap",
            "label_kl": "Label KL",
        }.items()
        for split in SPLITS
    },
}
"""What a claim may be about, by metric and split: accuracies in percent, ``ece`` and the gaps as in the record, ``nll`` in nats."""

METRICS = tuple(dict.fromkeys(metric for metric, _ in CLAIMABLE))

LOSS_RATIOS = "loss_ratios"

COLUMNS: dict[str, Measure] = {
    "mean_class_accuracy": Measure("Mean-class accuracy (%)", "{:.1f}", mean_class_accuracy),
    "train_accuracy": CLAIMABLE["accuracy", "train"],
    "nll": CLAIMABLE["nll", "test"],
    "train_nll": CLAIMABLE["nll", "train"],
    "ece": CLAIMABLE["ece", "test"],
    **{f"{name}_{split}": CLAIMABLE[name, split] for name in ("feature", "label_kl") for split in SPLITS},
    "seconds": _SECONDS,
    "accuracy_per_minute": Measure("Accuracy per minute (points)", "{:.2f}", accuracy_per_minute),
}
"""Columns that a sweep file may ask for, beside ``loss_ratios``, which is of a cell's curves."""

COLUMN_NAMES = (*COLUMNS, LOSS_RATIOS)
