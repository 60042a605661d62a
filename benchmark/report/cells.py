"""Runs grouped into cells (data set × fraction × method), with their statistics.

Accuracies and their differences are in percent and percentage points from here on.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

from benchmark.report.collect import Absent, Collected, Expected, Run, SweepInfo
from benchmark.report.intervals import Difference, Interval, difference, holm, paired_p, t_interval
from benchmark.report.measures import Read, accuracy

LARGE_TERM = 10
"""A loss term of more than this many times the cross-entropy is warned of."""

MIN_PAIRS_TO_TEST = 3
"""Below this many pairs no p-value is shown: a t-test on two numbers carries nothing."""

MIN_PAIRS_TO_MARK = 5
"""Below this many pairs a table marks no method as best: too few to tell the others apart."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Cell:
    """One method on one data set at one fraction.

    ``runs`` are in the order of their seeds and may be fewer than ``expected``. ``difference`` is to the
    baseline, paired by seed; where there is none ``refused`` says why. ``p_holm`` is adjusted over the methods
    of the group. ``mark`` is ``best``, ``tied`` (not significantly worse than the best) or ''.
    """

    dataset: str
    fraction: float
    method: str
    runs: tuple[Run, ...]
    expected: int
    absent: tuple[Absent, ...] = ()
    difference: Difference | None = None
    refused: str = ""
    p_holm: float | None = None
    mark: str = ""

    @property
    def n(self) -> int:
        return len(self.runs)

    @property
    def hardware(self) -> set[tuple[str, int, int]]:
        """What its runs were made on."""
        return {hardware(run) for run in self.runs}

    @property
    def mixed(self) -> bool:
        """Whether its runs come from different devices, thread counts or numbers of workers per GPU."""
        return len(self.hardware) > 1

    def interval(self, value: Callable[[Run], float | None]) -> Interval | None:
        """t-interval of ``value`` over the runs that have it; None when none has."""
        values = [v for v in map(value, self.runs) if v is not None]
        return t_interval(values) if values else None

    @property
    def accuracy(self) -> Interval | None:
        return self.interval(accuracy)


@dataclass(frozen=True)
class Group:
    """All cells of one data set and fraction, in the order of the sweep's methods. unmarked: why none of them is marked as best, or ''."""

    dataset: str
    fraction: float
    baseline: str
    cells: tuple[Cell, ...]
    unmarked: str = ""

    @property
    def title(self) -> str:
        return f"{self.dataset}, {percent(self.fraction)} of the labels"

    @property
    def slug(self) -> str:
        return group_slug(self.dataset, self.fraction)

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(run for cell in self.cells for run in cell.runs)

    @property
    def second_tests(self) -> tuple[str, ...]:
        """Names of the second test sets of its runs."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.record.get("also_test", {})))

    def cell(self, method: str) -> Cell | None:
        return next((cell for cell in self.cells if cell.method == method), None)


def hardware(run: Run) -> tuple[str, int, int]:
    """The device, the threads, and how many workers shared a GPU (1 on a CPU); runs are timed alike where all three are equal."""
    return run.record["device"], run.record["threads"], run.record.get("workers_per_gpu", 1)


def group_slug(dataset: str, fraction: float) -> str:
    """What the files of a data set and fraction are called after."""
    return f"{file_name(dataset)}-{fraction:g}"


def file_name(text: str) -> str:
    """``text`` as a part of a file's name on every system, of at most 60 characters.

    Anything but letters, digits and ``._+-`` becomes ``-``; a text that this changes ends with a part of its hash, so that no two
    get the same name.
    """
    clean = re.sub(r"[^\w.+-]+", "-", text).strip("-.")
    if clean == text and len(text.encode()) <= 60:
        return text
    return f"{clean.encode()[:50].decode(errors='ignore')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")


def given(value: _T | None) -> _T:
    """``value``, which the caller knows to be there."""
    assert value is not None
    return value


def percent(fraction: float) -> str:
    """A fraction in words: ``15 %``."""
    return f"{100 * fraction:g} %"


class NotPaired(ValueError):
    """Two cells cannot be compared seed by seed; the message says why."""


class OtherImages(NotPaired):
    """A seed of both was trained on different images."""


def group_runs(info: SweepInfo, expected: Sequence[Expected], found: Collected) -> tuple[Group, ...]:
    """Groups in the order in which ``expected`` names data sets and fractions; cells in the order of ``info.methods``."""
    wanted = Counter(map(_key, expected))
    runs, absent = defaultdict(list), defaultdict(list)
    for run in sorted(found.runs, key=lambda run: run.seed):
        runs[_key(run.expected)].append(run)
    for item in found.absent:
        absent[_key(item.expected)].append(item)
    groups = []
    for dataset, fraction in dict.fromkeys((e.dataset, e.fraction) for e in expected):
        keys = [(dataset, fraction, method) for method in info.methods]
        cells = [Cell(*key, tuple(runs[key]), wanted[key], tuple(absent[key])) for key in keys if wanted[key]]
        groups.append(_compare(Group(dataset, fraction, info.baseline, tuple(cells))))
    return tuple(groups)


def _key(item: Expected) -> tuple[str, float, str]:
    return item.dataset, item.fraction, item.method


def _compare(group: Group) -> Group:
    base = group.cell(group.baseline)
    cells = [cell if cell.method == group.baseline else _against(cell, base) for cell in group.cells]
    differences = ((i, cell.difference) for i, cell in enumerate(cells) if cell.difference)
    tested = {i: found.p for i, found in differences if found.n >= MIN_PAIRS_TO_TEST and found.p is not None}
    for i, p in zip(tested, holm(list(tested.values())), strict=True):
        cells[i] = replace(cells[i], p_holm=p)
    marked, unmarked = _marked(cells)
    return replace(group, cells=tuple(marked), unmarked=unmarked)


def _against(cell: Cell, base: Cell | None) -> Cell:
    """``cell`` with its paired difference to ``base``, or with the reason why there is none."""
    try:
        return replace(cell, difference=difference(paired_values(cell, base)))
    except NotPaired as error:
        return replace(cell, refused=str(error))


def paired_values(cell: Cell, base: Cell | None) -> list[float]:
    """Differences of test accuracy cell - base in points, by rising seed; NotPaired as :func:`paired_by_seed`."""
    return list(paired_by_seed(cell, base, accuracy).values())


def paired_by_seed(cell: Cell, base: Cell | None, read: Read) -> dict[int, float]:
    """Differences cell - base of what ``read`` gives, by rising seed; seeds at which one of them lacks it are left out.

    NotPaired where no seed is left, or where a shared seed was trained on different images.
    """
    if base is None or not base.runs:
        raise NotPaired("the baseline has no finished run")
    ours, theirs = ({run.seed: run for run in c.runs} for c in (cell, base))
    shared = sorted(ours.keys() & theirs.keys())
    differing = [s for s in shared if ours[s].record["subset_hash"] != theirs[s].record["subset_hash"]]
    if not shared:
        raise NotPaired(f"no finished seed in common with {base.method}")
    if differing:
        raise OtherImages(f"trained on other images than {base.method} at seed {', '.join(map(str, differing))}")
    both = {seed: (read(ours[seed]), read(theirs[seed])) for seed in shared}
    found = {seed: a - b for seed, (a, b) in both.items() if a is not None and b is not None}
    if not found:
        raise NotPaired("its records lack this measure")
    return found


def _too_few(cells: Sequence[Cell]) -> str:
    """What is missing before a method can be marked as best, or ''."""
    if len(cells) < 2:
        return "there is no other to compare it with"
    if any(cell.n < MIN_PAIRS_TO_MARK for cell in cells):
        return f"that takes at least {MIN_PAIRS_TO_MARK} finished seeds of every method"
    if lacking := [f"{cell.method} lacks {cell.expected - cell.n} of {cell.expected} seeds" for cell in cells if cell.n < cell.expected]:
        return f"that takes all seeds of every method, and {', '.join(lacking)}"
    return ""


def _marked(cells: Sequence[Cell]) -> tuple[list[Cell], str]:
    """Cells with the best mean marked, and those that a paired test cannot call worse; and why none is, or ''.

    Which one is best is only known after a look at all of them, so the tests are Holm-corrected over all pairs of methods:
    over the comparisons with the best alone, equal methods would be called worse in up to three times the stated 5 % of
    tables. Nothing is marked unless every cell is complete and has at least ``MIN_PAIRS_TO_MARK`` seeds.
    """
    if lacking := _too_few(cells):
        return list(cells), lacking
    best = max(range(len(cells)), key=lambda i: given(cells[i].accuracy).mean)
    pairs = list(combinations(range(len(cells)), 2))
    try:
        p_values = [paired_p(paired_values(cells[i], cells[j])) for i, j in pairs]
    except NotPaired as error:
        return list(cells), f"not all methods are paired: {error}"
    known = [(pair, p) for pair, p in zip(pairs, p_values, strict=True) if p is not None]
    adjusted = holm([p for _, p in known])
    tied = {i for (pair, _), p in zip(known, adjusted, strict=True) if best in pair and p >= 0.05 for i in pair}
    marks = dict.fromkeys(tied, "tied") | {best: "best"}
    return [replace(cell, mark=marks.get(i, "")) for i, cell in enumerate(cells)], ""


def term_ratios(cell: Cell) -> dict[str, float]:
    """:func:`ratios_of` all log points of all runs."""
    return ratios_of(row for run in cell.runs for row in run.curves())


def ratios_of(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Per loss term beside the cross-entropy: mean of its size over mean cross-entropy, over the log points that have both."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        for key in row.keys() - {"loss/cross_entropy", "loss/total"}:
            if key.startswith("loss/") and "loss/cross_entropy" in row:
                found = sums[key.removeprefix("loss/")]
                found[0] += abs(row[key])
                found[1] += row["loss/cross_entropy"]
    return {term: size / cross for term, (size, cross) in sorted(sums.items()) if cross > 0}


def large_terms(method: str, ratios: Mapping[str, float], over: str) -> list[str]:
    """A warning for each loss term above :data:`LARGE_TERM`; over: what the means are over."""
    return [
        f"{method}: the loss term {term} is {ratio:.0f} times the cross-entropy ({over}): it rules the training, check its weight"
        for term, ratio in ratios.items()
        if ratio > LARGE_TERM
    ]


@dataclass(frozen=True)
class Hours:
    """How the hours of runs are counted: ``kinds`` maps each device's name to ``GPU``, ``CPU`` or '' where its runs kept no settings."""

    kinds: Mapping[str, str]

    @property
    def unit(self) -> str:
        """``GPU-hours``, ``CPU-hours``, or ``hours`` where devices of both kinds, or of a kind not known, come together."""
        (kind,) = found if len(found := set(self.kinds.values())) == 1 else ("",)
        return f"{kind}-hours" if kind else "hours"

    def of(self, run: Run) -> float:
        """Wall hours of a GPU, divided by the workers that share it, or wall hours times threads on a CPU."""
        device, threads, workers = hardware(run)
        wall = run.record["wall_seconds"] / 3600
        return wall * threads if self.kinds[device] == "CPU" else wall / workers

    def total(self, runs: Iterable[Run]) -> float | None:
        """Hours of all ``runs`` together; None for no runs."""
        found = [self.of(run) for run in runs]
        return sum(found) if found else None


def hours_of(runs: Iterable[Run]) -> Hours:
    """The kinds of the devices of ``runs``, each read from the settings of one of its runs."""
    kinds: dict[str, str] = {}
    for run in runs:
        device = run.record["device"]
        if not kinds.get(device):
            kinds[device] = {"cuda": "GPU", "cpu": "CPU"}.get(run.settings().get("runtime", {}).get("device"), "")
    return Hours(kinds)
