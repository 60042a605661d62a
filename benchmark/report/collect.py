"""Reads the records of a sweep's run folders: what is there, what is absent, and why.

Only the standard library is imported: an unchanged report is recognised without pandas or matplotlib.
"""

import csv
import hashlib
import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmark.report.made_with import data_section, hashes, image_settings
from benchmark.report.text import one_line
from benchmark.terminal import clean

AbsentState = Literal["missing", "failed", "unreadable", "stale"]

_TEXT = ("run_id", "subset_hash", "data_hash", "weights_hash", "device", "finished_at")
_NUMBERS = ("test_accuracy", "test_mean_class_accuracy", "wall_seconds", "images_per_second", "threads")
_OPTIONAL_NUMBERS = ("train_loss", "train_accuracy", "test_nll", "test_ece", "val_accuracy", "peak_memory_bytes")
MEASURES = ("feature_gap_rel", "feature_gap", "label_l1", "label_kl")
"""The measures of ``linearity.csv``."""

PREDICTIONS = "predictions.parquet"

_DRAWN_FILES = ("linearity.csv", "curves.jsonl", "snapshots.csv", "config.yaml", PREDICTIONS)
"""Files beside a record that a report is drawn from."""

ALSO_TEST = ("accuracy", "mean_class_accuracy", "nll", "ece")
"""What a record says of a second test set; accuracies are fractions."""

_GAPS = ("feature", "feature_rel", "label_l1", "label_kl")


@dataclass(frozen=True)
class Tuned:
    """One method's trials on one data set at one fraction. scores: mean validation accuracy of each, 0 if it failed. seeds: per trial."""

    dataset: str
    fraction: float
    method: str
    scores: tuple[float, ...]
    seeds: int

    @property
    def group(self) -> tuple[str, float]:
        return self.dataset, self.fraction


@dataclass(frozen=True)
class StatedClaim:
    """What a sweep says it expects: ``metric`` on ``split`` of ``left`` minus that of ``right`` lies beyond ``margin`` in ``direction``.

    applicable: whether the sweep has both methods. seeds, cells: what it was to be measured on when it was stated; cells maps each data set
    and fraction, as ``cifar10/0.15``, to a hash of all settings of the two methods there, and is empty where the sweep lacked one.
    first_seen: when all this was first kept with the sweep, in ISO format. late: ``added`` or ``edited`` where runs existed by then, else
    ''. before: earlier texts that were changed once runs existed, the newest last. withdrawn: when it was taken out, or one of its methods
    was, although runs existed, else ''. changed: in words, what of seeds and cells is no more as it was stated.
    """

    name: str
    metric: str
    split: str
    left: str
    right: str
    direction: Literal["higher", "lower"]
    margin: float
    applicable: bool = True
    seeds: tuple[int, ...] = ()
    cells: Mapping[str, str] = field(default_factory=dict)
    first_seen: str = ""
    late: Literal["", "added", "edited"] = ""
    before: tuple[str, ...] = ()
    withdrawn: str = ""
    changed: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The claim in one line."""
        beyond = f" by more than {self.margin:g}" if self.margin else ""
        on = "" if self.metric == "seconds" else f" on {self.split}"
        return f"{self.left} {self.direction} than {self.right} in {self.metric}{on}{beyond}"


@dataclass(frozen=True)
class SweepInfo:
    """What a report says about the sweep as a whole.

    ``methods`` are the sweep's labels in their order, ``baseline`` is one of them, ``source`` the path
    of the sweep file as text, and ``command`` the command line that runs the sweep again. ``redo`` maps
    :func:`cell_name` to the command line that carries out that cell alone, into a folder of its own. ``selection`` says how
    settings were chosen, '' that none were; ``tuning`` is what the trials scored. ``looks`` are the (colour, marker) that methods
    declare, by the method's name. ``claims`` are those of the sweep file, ``columns`` what it asks for in the main tables. ``averaged``
    are the methods whose evaluated network is made of several iterates.
    """

    name: str
    baseline: str
    methods: tuple[str, ...]
    protocol: str
    source: str
    command: str
    redo: Mapping[str, str] = field(default_factory=dict)
    selection: str = ""
    tuning: tuple[Tuned, ...] = ()
    looks: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    claims: tuple[StatedClaim, ...] = ()
    columns: tuple[str, ...] = ()
    averaged: tuple[str, ...] = ()


def cell_name(dataset: str, fraction: float, method: str) -> str:
    """How people write a cell: ``cifar10/0.15/smile``."""
    return f"{dataset}/{fraction:g}/{method}"


SECTIONS = ("training", "data", "linearity", "evaluation")
"""The parts of ``config.yaml`` that reports show."""


@dataclass(frozen=True)
class Expected:
    """One run the sweep asks for."""

    run_id: str
    dataset: str
    fraction: float
    method: str
    seed: int


@dataclass(frozen=True)
class Run:
    """A finished run: what was asked for, its record (written by ``benchmark.training.record``) and its folder."""

    expected: Expected
    record: Mapping[str, Any]
    folder: Path

    @property
    def seed(self) -> int:
        return self.expected.seed

    def gap(self, split: str, name: str) -> float | None:
        """Linearity gap ``name`` on ``split``, or None where linearity was not measured."""
        linearity = self.record["linearity"]
        return None if linearity is None else linearity[split][name]

    def also_test(self, name: str, measure: str) -> float | None:
        """One of ``ALSO_TEST`` on the second test set ``name``, or None where the run has none of this name."""
        return self.record.get("also_test", {}).get(name, {}).get(measure)

    def linearity(self) -> list[dict[str, Any]]:
        """Rows of ``linearity.csv``: ``split`` as text, all else as floats; none where the file was not kept or is damaged."""
        return self._read("linearity.csv", _linearity_rows)[0]

    def curves(self) -> list[dict[str, float]]:
        """Rows of ``curves.jsonl``, one per log point; none where the file was not kept or is damaged."""
        return self._read("curves.jsonl", _curve_rows)[0]

    def snapshots(self) -> list[tuple[int, float]]:
        """The (step, accuracy on ``test``) of ``snapshots.csv``; none where the file was not kept or is damaged."""
        return self._read("snapshots.csv", _snapshot_rows)[0]

    def damage(self) -> list[str]:
        """Files beside the record that are there and cannot be read, each with the reason; the record counts all the same."""
        readers: dict[str, Callable[[str], list[Any]]]
        readers = {"linearity.csv": _linearity_rows, "curves.jsonl": _curve_rows, "snapshots.csv": _snapshot_rows}
        return [f"{name} is damaged ({why})" for name, parse in readers.items() if (why := self._read(name, parse)[1])]

    def settings(self) -> dict[str, Any]:
        """The resolved ``config.yaml``; empty where the file was not kept or is damaged."""
        from benchmark.storage import yamlio

        try:
            found = yamlio.parse((_bytes(self.folder / "config.yaml") or b"").decode("utf-8"), str(self.folder))
        except (OSError, ValueError):
            return {}
        return found if _are_settings(found) else {}

    def data_settings(self) -> Mapping[str, Any]:
        """The section ``data`` of :meth:`settings`; empty where that is. Runs that differ in their seed alone cost one look."""
        try:
            text = (_bytes(self.folder / "config.yaml") or b"").decode("utf-8")
        except (OSError, UnicodeDecodeError):
            return {}
        return data_section(re.sub(r"^seed: .*\n", "", text, flags=re.M))

    def files(self) -> list[str]:
        """Names of the files of the run that people read and that were kept."""
        return [
            name
            for name in ("config.yaml", "record.json", "curves.jsonl", "linearity.csv", PREDICTIONS, "log.txt")
            if (self.folder / name).is_file()
        ]

    def _read(self, name: str, parse: Callable[[str], list[Any]]) -> tuple[list[Any], str]:
        """The rows of a file, and why there are none where it is damaged."""
        try:
            content = _bytes(self.folder / name)
            return ([], "") if content is None else (parse(content.decode("utf-8")), "")
        except UnicodeDecodeError:
            return [], "not UTF-8"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return [], one_line(str(error)) or type(error).__name__


@dataclass(frozen=True)
class Absent:
    """A run without a usable record, and why it is not in the numbers."""

    expected: Expected
    state: AbsentState
    reason: str


@dataclass(frozen=True)
class Collected:
    """Everything read from a sweep folder.

    ``extra`` counts run folders the sweep does not ask for; ``fingerprint`` changes with any record,
    failure or expected run.
    """

    runs: tuple[Run, ...]
    absent: tuple[Absent, ...]
    extra: int
    fingerprint: str


def flat_rows(runs: Sequence[Run], names: Sequence[str]) -> list[dict[str, Any]]:
    """Records as flat rows with the columns ``names`` first: gaps by split, other nested values as JSON text."""
    rows = []
    for run in runs:
        row: dict[str, Any] = {name: getattr(run.expected, name) for name in names}
        for key, value in run.record.items():
            if key == "linearity":
                row |= {f"{split}_{name}": gap for split, gaps in (value or {}).items() for name, gap in gaps.items()}
            elif key == "also_test":
                row |= {f"{name}_{measure}": number for name, values in value.items() for measure, number in values.items()}
            elif key not in row:
                row[key] = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        rows.append(row)
    return rows


class _Unreadable(ValueError):
    """A record that cannot be used; the message says what is wrong with it."""


def collect(sweep_dir: Path, expected: Sequence[Expected]) -> Collected:
    """Read the records of ``expected`` from ``sweep_dir/runs``, in the order given.

    A record that cannot be read or lacks a field is reported as unreadable, never skipped. Where the
    records of one data set disagree in ``data_hash`` or ``weights_hash``, those that differ from the
    record finished last are stale; images are compared among runs that were to decode and divide them alike.
    """
    digest = hashlib.sha256()
    runs: list[Run] = []
    absent: dict[str, Absent] = {}
    for item in expected:
        folder = sweep_dir / "runs" / item.run_id
        found = _read(folder, item, digest)
        if isinstance(found, Run):
            runs.append(found)
        else:
            absent[item.run_id] = found
    for stale in _stale(runs):
        absent[stale.expected.run_id] = stale
    return Collected(
        runs=tuple(run for run in runs if run.expected.run_id not in absent),
        absent=tuple(absent[item.run_id] for item in expected if item.run_id in absent),
        extra=_count_extra(sweep_dir / "runs", {item.run_id for item in expected}),
        fingerprint=digest.hexdigest(),
    )


def read_run(folder: Path, item: Expected) -> Run | Absent:
    """The run ``item`` in its ``folder``, or why its record cannot be used; without a look at other runs none is stale."""
    return _read(folder, item, hashlib.sha256())


def _read(folder: Path, item: Expected, digest: Any) -> Run | Absent:
    try:
        content = _bytes(folder / "record.json")
        failure = _bytes(folder / "failure.json") if content is None else None
    except OSError as error:
        digest.update(f"{item.run_id}: {error}".encode())
        return Absent(item, "unreadable", one_line(f"{Path(str(error.filename)).name}: {error.strerror}"))
    for part in (item.run_id.encode(), content or b"", failure or b"", _ages(folder) if content else b""):
        digest.update(hashlib.sha256(part).digest())
    if content is not None:
        try:
            return Run(item, _record(content, item.run_id), folder)
        except _Unreadable as error:
            return Absent(item, "unreadable", f"record.json: {error}")
    if failure is not None:
        return Absent(item, "failed", _failure_reason(failure))
    return Absent(item, "missing", "no record yet")


def _ages(folder: Path) -> bytes:
    """Sizes and times of the files beside a record: to read them all would cost an unchanged report as much as a new one."""
    found = []
    for name in _DRAWN_FILES:
        try:
            status = (folder / name).stat()
        except OSError:
            continue
        found.append(f"{name} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(found).encode()


def _linearity_rows(text: str) -> list[dict[str, Any]]:
    reader, rows = csv.DictReader(io.StringIO(text)), []
    if not {"split", "lam", *MEASURES} <= set(reader.fieldnames or ()):
        raise ValueError("line 1 does not name its columns")
    for number, row in enumerate(reader, start=2):
        if row["split"] not in ("train", "test"):
            raise ValueError(f"line {number} is not one of train or test pairs")
        rows.append({k: v if k == "split" else _number(v, number) for k, v in row.items() if k is not None})
    train, test = ([row["lam"] for row in rows if row["split"] == split] for split in ("train", "test"))
    if train != test:
        raise ValueError("it is cut off")
    return rows


def _curve_rows(text: str) -> list[dict[str, float]]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number} is not JSON") from error
        if not isinstance(row, dict) or "step" not in row or not all(isinstance(row[k], int | float) for k in row if _drawn(k)):
            raise ValueError(f"line {number} is no log point")
        rows.append(row)
    if not rows:
        raise ValueError("it has no rows")
    return rows


def _drawn(key: str) -> bool:
    return key == "step" or key.startswith("loss/")


def _snapshot_rows(text: str) -> list[tuple[int, float]]:
    lines = enumerate(csv.DictReader(io.StringIO(text)), start=2)
    rows = [(int(_number(row["step"], number)), _number(row["test_accuracy"], number)) for number, row in lines]
    if not rows:
        raise ValueError("it has no rows")
    return rows


def _number(text: Any, line: int) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"line {line} holds no number") from error
    if not math.isfinite(value):
        raise ValueError(f"line {line} holds no finite number")
    return value


def _bytes(path: Path) -> bytes | None:
    """Content of a file; None where there is none. OSError where it cannot be read, or is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _are_settings(found: object) -> bool:
    """Whether what a ``config.yaml`` holds has the shape of a run's settings; one that was cut off may still be YAML."""
    if not isinstance(found, dict) or not all(isinstance(found.get(name, {}), dict) for name in (*SECTIONS, "runtime")):
        return False
    components = found.get("components", [])
    return isinstance(components, list) and all(map(_is_component, components))


def _is_component(part: object) -> bool:
    return (
        isinstance(part, dict)
        and isinstance(part.get("name"), str)
        and isinstance(part.get("use"), str)
        and isinstance(part.get("options"), dict)
        and "version" in part
    )


def _record(content: bytes, run_id: str) -> dict[str, Any]:
    try:
        record = json.loads(content)
    except ValueError as error:
        raise _Unreadable(f"not JSON ({error})") from error
    if not isinstance(record, dict):
        raise _Unreadable("not a JSON object")
    for name in _TEXT:
        if not isinstance(record.get(name), str):
            raise _Unreadable(f"`{name}` is missing or not text")
    if record.get("test_accuracy") is None and _is_number(record.get("val_accuracy")):
        raise _Unreadable("it is of a tuning run, which is never scored on test")
    for name in _NUMBERS:
        if not _is_number(record.get(name)):
            raise _Unreadable(f"`{name}` is missing or not a finite number")
    for name in _OPTIONAL_NUMBERS:  # older records lack some; a loss that overflowed is infinite
        if not isinstance(record.get(name), int | float | None) or isinstance(record.get(name), bool):
            raise _Unreadable(f"`{name}` is no number")
    if "linearity" not in record:
        raise _Unreadable("`linearity` is missing")
    if record["linearity"] is not None:
        _check_linearity(record["linearity"])
    _check_also_test(record.get("also_test", {}))
    if record["run_id"] != run_id:
        raise _Unreadable(f"it belongs to run {record['run_id']}")
    return record


def _check_also_test(also: Any) -> None:
    if not isinstance(also, dict):
        raise _Unreadable("`also_test` is no mapping of test sets")
    for name, values in also.items():
        for key in ALSO_TEST:
            if not isinstance(values, dict) or not _is_number(values.get(key)):
                raise _Unreadable(f"`also_test.{name}.{key}` is missing or not a finite number")


def _check_linearity(linearity: Any) -> None:
    for split in ("train", "test"):
        gaps = linearity.get(split) if isinstance(linearity, dict) else None
        for name in _GAPS:
            if not isinstance(gaps, dict) or not _is_number(gaps.get(name)):
                raise _Unreadable(f"`linearity.{split}.{name}` is missing or not a finite number")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _failure_reason(content: bytes) -> str:
    try:
        return clean(" ".join(str(json.loads(content)["reason"]).split()))
    except (ValueError, KeyError, TypeError):
        return "failure.json could not be read"


def _stale(runs: Iterable[Run]) -> list[Absent]:
    rivals: dict[tuple[str, str], list[tuple[Run, str]]] = defaultdict(list)
    for run in runs:
        for name, value in hashes(run.record).items():
            if not name.startswith("pixels_hash"):
                rivals[run.expected.dataset, name].append((run, value))
    differing: dict[str, list[tuple[Run, Run, str]]] = defaultdict(list)
    for (_, name), group in rivals.items():
        if len({value for _, value in group}) == 1:
            continue  # all are alike, whatever their settings: there is no need to read those
        for alike in _alike(group, name):
            latest, wanted = max(alike, key=lambda found: _finished(found[0]))
            for run, value in alike:
                if value != wanted:
                    differing[run.expected.run_id].append((run, latest, name))
    return [_stale_run(found) for found in differing.values()]


def _alike(group: Sequence[tuple[Run, str]], name: str) -> list[list[tuple[Run, str]]]:
    """Runs of one data set by their settings of images; those whose settings were not kept go with the run finished last of the others."""
    settings = [image_settings(data, name) if (data := run.data_settings()) else "" for run, _ in group]
    known = [(_finished(run), key) for (run, _), key in zip(group, settings, strict=True) if key]
    default = max(known)[1] if known else ""
    found: dict[str, list[tuple[Run, str]]] = defaultdict(list)
    for each, key in zip(group, settings, strict=True):
        found[key or default].append(each)
    return list(found.values())


def _stale_run(found: Sequence[tuple[Run, Run, str]]) -> Absent:
    """found: the run, the latest of those that it should be like, and the hash in which it differs; for each of its hashes."""
    names: dict[str, list[str]] = defaultdict(list)
    for _, latest, name in found:
        names[latest.expected.run_id].append(name)
    lines = [f"{' and '.join(listed)} differ from the latest record of this data set ({run_id})" for run_id, listed in names.items()]
    return Absent(found[0][0].expected, "stale", "; ".join(lines))


def _finished(run: Run) -> tuple[str, str]:
    return run.record["finished_at"], run.expected.run_id


def _count_extra(folder: Path, known: set[str]) -> int:
    if not folder.is_dir():
        return 0
    return sum(1 for path in folder.iterdir() if path.is_dir() and path.name not in known)
