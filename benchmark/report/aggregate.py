"""Methods over a few data sets: interquartile means and probabilities of improvement, where there are too few for tests on ranks.

After Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021). A score is a test accuracy on
one data set at one seed, a mean over the fractions. Intervals are percentiles of a stratified bootstrap: seeds are drawn again within
each data set, the same for all methods, as runs are paired by seed. They speak of other seeds on these data sets, not of other data sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from benchmark.report.across import Across
from benchmark.report.cells import Group
from benchmark.report.intervals import LEVEL, MIN_SEEDS_TO_RESAMPLE, MIN_UNITS_TO_RESAMPLE, RESAMPLES
from benchmark.report.measures import accuracy
from benchmark.report.text import NONE, Table, Value, csv_text

TRIMMED = 0.25
"""Part of the scores that an interquartile mean leaves out at either end."""

AGGREGATE_CAPTION = (
    "Over data sets × seeds together, with 95 % intervals of a stratified bootstrap (seeds drawn again within each data set, the same for "
    "all methods): IQM, the mean of the middle half of the test accuracies, and of their paired differences to the baseline; and the "
    "probability of improvement, that a run of the method is more accurate than a run of the baseline on the same data set (ties count "
    "half), a mean over data sets. Agarwal et al., NeurIPS 2021. The intervals speak of other seeds on these data sets, not of others."
)

_Scores = Sequence[np.ndarray]
"""Per data set the scores of one method, by seed."""


@dataclass(frozen=True)
class Bootstrapped:
    """A value and the ends of its bootstrap interval, None where too little was there to draw from."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Standing:
    """One method. difference and improvement are to the baseline, None for the baseline itself and where it has no runs."""

    method: str
    iqm: Bootstrapped
    difference: Bootstrapped | None
    improvement: Bootstrapped | None


@dataclass(frozen=True)
class Aggregate:
    """standings: in the order of the methods, of ``seeds`` per data set of ``datasets``; left_out: what is not in them, and why."""

    baseline: str
    standings: tuple[Standing, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    left_out: tuple[str, ...] = ()


def aggregate(groups: Sequence[Group], across: Across) -> Aggregate | None:
    """What can be said where Friedman's test is refused; None where it is not, or below two data sets."""
    if not across.refused:
        return None
    scores: dict[str, dict[str, np.ndarray]] = {}
    left_out = list(across.left_out)
    for block in across.blocks:
        found = _scores([group for group in groups if group.dataset == block.dataset], across.methods)
        if found is None:
            left_out.append(f"{block.dataset}: no seed is finished for all methods at all fractions")
        else:
            scores[block.dataset] = found
    if len(scores) < 2:
        return None
    counts = [len(next(iter(found.values()))) for found in scores.values()]
    draws = resampled(counts)
    baseline = groups[0].baseline
    of = {method: [found[method] for found in scores.values()] for method in across.methods}
    return Aggregate(
        baseline,
        tuple(_standing(method, of[method], None if method == baseline else of.get(baseline), draws) for method in across.methods),
        tuple(scores),
        tuple(counts),
        tuple(left_out),
    )


def _scores(groups: Sequence[Group], methods: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Per method its accuracy by seed, a mean over the fractions, of the seeds that all methods have at all of them."""
    by_seed = [
        {cell.method: {run.seed: accuracy(run) for run in cell.runs} for cell in group.cells if cell.method in methods} for group in groups
    ]
    seeds = sorted(set.intersection(*(set(runs) for cells in by_seed for runs in cells.values())))
    if not seeds:
        return None
    return {method: np.round([np.mean([cells[method][seed] for cells in by_seed]) for seed in seeds], 9) for method in methods}


def resampled(counts: Sequence[int], draws: int = RESAMPLES) -> list[np.ndarray] | None:
    """Per data set of ``counts`` seeds the indices [draws, count], drawn with a fixed seed; None where there are too few to draw from."""
    if _too_few(counts):
        return None
    rng = np.random.default_rng(0)
    return [rng.integers(count, size=(draws, count)) for count in counts]


def _too_few(counts: Sequence[int]) -> bool:
    return sum(counts) < MIN_UNITS_TO_RESAMPLE or min(counts) < MIN_SEEDS_TO_RESAMPLE


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is left without a quarter of the values, rounded down, at either end."""
    return scipy.stats.trim_mean(scores, TRIMMED, axis=-1)


def improvement(left: _Scores, right: _Scores) -> float:
    """Probability that a score of ``left`` is above one of ``right`` on the same data set, ties counting half; a mean over data sets."""
    return float(np.mean([_wins(a, b).mean() for a, b in zip(left, right, strict=True)]))


def _wins(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[i, j]: 1 where the i-th of ``left`` is above the j-th of ``right``, a half where they tie."""
    return np.heaviside(left[:, None] - right[None, :], 0.5)


def _standing(method: str, ours: _Scores, base: _Scores | None, draws: Sequence[np.ndarray] | None) -> Standing:
    if base is None:
        return Standing(method, _iqm(ours, draws), None, None)
    return Standing(
        method, _iqm(ours, draws), _iqm([a - b for a, b in zip(ours, base, strict=True)], draws), _improvement(ours, base, draws)
    )


def _iqm(scores: _Scores, draws: Sequence[np.ndarray] | None) -> Bootstrapped:
    value = float(interquartile_mean(np.concatenate(scores)))
    if draws is None:
        return Bootstrapped(value)
    drawn = np.concatenate([each[index] for each, index in zip(scores, draws, strict=True)], axis=1)
    return _estimate(value, interquartile_mean(drawn))


def _improvement(left: _Scores, right: _Scores, draws: Sequence[np.ndarray] | None) -> Bootstrapped:
    value = improvement(left, right)
    if draws is None:
        return Bootstrapped(value)
    means = []
    for a, b, index in zip(left, right, draws, strict=True):
        times = np.stack([(index == seed).sum(1) for seed in range(len(a))], axis=1)  # how often each seed was drawn
        means.append(np.einsum("ri,ij,rj->r", times, _wins(a, b), times, optimize=True) / len(a) ** 2)
    return _estimate(value, np.mean(means, axis=0))


def _estimate(value: float, drawn: np.ndarray) -> Bootstrapped:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Bootstrapped(value, float(low), float(high))


def aggregate_table(found: Aggregate) -> Table:
    """One row per method, the highest interquartile mean first."""
    rows = [
        (
            Value(each.method, each.method),
            _value(each.iqm, "{:.1f}"),
            Value("baseline", 0.0) if each.method == found.baseline else _value(each.difference, "{:+.1f}"),
            Value("baseline", 0.5) if each.method == found.baseline else _value(each.improvement, "{:.2f}"),
        )
        for each in sorted(found.standings, key=lambda each: -each.iqm.value)
    ]
    return Table(
        title="Across few data sets",
        columns=("Method", "IQM of accuracy (%)", f"IQM of difference to {found.baseline} (points)", f"P(better than {found.baseline})"),
        rows=tuple(rows),
        marks=("",) * len(rows),
        notes=tuple(_notes(found)),
        compact=(0, 1, 2, 3),
    )


def _value(found: Bootstrapped | None, form: str) -> Value:
    if found is None:
        return Value(NONE)
    text = form.format(found.value)
    if found.low is not None and found.high is not None:
        text += f" [{form.format(found.low)}, {form.format(found.high)}]"
    return Value(text.replace("-", "−"), found.value)


def _notes(found: Aggregate) -> list[str]:
    lines = [
        f"Data sets and the seeds that all methods share: {', '.join(f'{n} {c}' for n, c in zip(found.datasets, found.seeds, strict=True))}"
    ]
    if _too_few(found.seeds):
        lines.append(
            f"No interval is given: drawing seeds again within each data set takes at least {MIN_SEEDS_TO_RESAMPLE} seeds on every one, "
            f"and {MIN_UNITS_TO_RESAMPLE} data sets × seeds"
        )
    return [*lines, *(f"Left out: {line}" for line in found.left_out)]


def aggregate_csv(found: Aggregate) -> str:
    """One row per method with unrounded numbers; accuracies in percent, differences in points."""
    names = ("iqm", "difference_iqm", "improvement")
    columns = ["method", *(f"{name}{end}" for name in names for end in ("", "_low", "_high")), "datasets", "seeds"]
    rows = []
    for each in found.standings:
        parts = (each.iqm, each.difference, each.improvement)
        numbers = [value for part in parts for value in ((part.value, part.low, part.high) if part else (None, None, None))]
        rows.append([each.method, *numbers, len(found.datasets), sum(found.seeds)])
    return csv_text(columns, rows)
