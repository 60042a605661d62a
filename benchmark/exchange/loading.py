"""The records of a results folder as pandas frames, for notebooks and scripts."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import pyarrow as pa

from benchmark.config.method_options import method_looks
from benchmark.config.sweep_file import SweepFile
from benchmark.errors import UsageError, unknown
from benchmark.report.cells import Cell, Group, NotPaired, OtherImages, group_runs, paired_by_seed
from benchmark.report.collect import Expected, Run, SweepInfo, collect, flat_rows
from benchmark.report.intervals import LEVEL, difference
from benchmark.storage import yamlio

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RUN = ("run_id", "dataset", "fraction", "method", "seed")
_SPLITS = ("train", "test")
_KINDS = ("feature", "label", "difference")


@dataclass(frozen=True)
class LoadedSweep:
    """The finished runs of a sweep, from :func:`load`. Accuracies are fractions, times seconds, as in the records.

    folder: the results folder. baseline: the method that the report compares with. methods: in the order of the sweep.

    - ``runs``: a row per finished run: run_id, dataset, fraction, method, seed, and every field of its record; the linearity gaps are
      ``test_feature``, ``test_feature_rel``, ``test_label_l1``, ``test_label_kl`` and the same with ``train_``.
    - ``absent``: a row per run that the sweep asks for and that is not in ``runs``: state and reason.
    - ``linearity``: the rows of every ``linearity.csv``; ``curves``: those of every ``curves.jsonl``; both with the run's columns.
    """

    folder: Path
    baseline: str
    methods: tuple[str, ...]
    runs: pd.DataFrame
    absent: pd.DataFrame
    linearity: pd.DataFrame
    curves: pd.DataFrame
    _groups: tuple[Group, ...] = field(repr=False)

    def paired(self, left: str, right: str, metric: str = "test_accuracy", level: float = LEVEL) -> pd.DataFrame:
        """Differences left - right of the methods at equal seeds, a row per data set, fraction and seed.

        metric: a numeric column of ``runs``. Columns: dataset, fraction, seed, left, right, difference; and, the same in all rows of one
        data set and fraction: mean, low, high (the paired-t interval at ``level``; NaN for one pair), n, p. A data set without a shared
        seed is warned of. UsageError for an unknown name, where nothing pairs, and where a shared seed saw different training images.
        """
        self._check_metric(metric)
        values = self.runs.set_index("run_id")[metric]
        rows: list[dict[str, Any]] = []
        for group in self._groups:
            first, second = (self._cell(group, method) for method in (left, right))
            try:
                by_seed = paired_by_seed(first, second, lambda run: _known(values[run.expected.run_id]))
            except NotPaired as error:
                if isinstance(error, OtherImages):
                    raise UsageError(f"{group.title}: {left} {error}") from error
                warnings.warn(f"{group.title}: no finished seed of both {left} and {right} with {metric}", stacklevel=2)
                continue
            ours, theirs = ({run.seed: values[run.expected.run_id] for run in cell.runs} for cell in (first, second))
            found = difference(list(by_seed.values()), level)
            same = {"mean": found.mean, "low": _or_nan(found.low), "high": _or_nan(found.high), "n": found.n, "p": _or_nan(found.p)}
            place = {"dataset": group.dataset, "fraction": group.fraction}
            rows += [
                {**place, "seed": seed, "left": ours[seed], "right": theirs[seed], "difference": value, **same}
                for seed, value in by_seed.items()
            ]
        if not rows:
            raise UsageError(f"{left} and {right} have no finished seed with {metric} in common")
        return pd.DataFrame(rows)

    def plot_linearity(
        self,
        kind: Literal["feature", "label", "difference"] = "feature",
        split: Literal["train", "test"] | None = None,
        *,
        dataset: str | None = None,
        fraction: float | None = None,
        methods: Sequence[str] | None = None,
    ) -> "Figure":
        """The report's figure of the gaps against lambda, of one data set and fraction, as a matplotlib figure.

        kind: gaps of the features, of the labels, or the paired difference of both to the baseline. split: pairs of training or of test
        images; None: both, side by side. dataset, fraction: needed where the sweep has several. methods: None for all; the baseline is
        always among them for ``difference``.
        """
        import matplotlib

        from benchmark.report.figures import lines
        from benchmark.report.figures.canvas import fix_layout, font_families
        from benchmark.report.style import RC, Looks

        _check("kind", kind, _KINDS)
        for text, value, choices in (("split", split, _SPLITS), *(("method", name, self.methods) for name in methods or ())):
            if value is not None:
                _check(text, value, choices)
        group = self._group(dataset, fraction)
        kept = {*(self.methods if methods is None else methods), *([self.baseline] if kind == "difference" else [])}
        group = replace(group, cells=tuple(cell for cell in group.cells if cell.method in kept))
        draws: Mapping[str, Callable[..., Any]] = {
            "feature": lines.draw_linearity_feature,
            "label": lines.draw_linearity_label,
            "difference": lines.draw_linearity_difference,
        }
        families = font_families([group.dataset, *kept])[0]
        with matplotlib.rc_context(RC | {"font.family": families}):
            drawing = draws[kind](group, Looks(dict(method_looks())), _SPLITS if split is None else (split,))
            if drawing is None:
                raise UsageError(f"{group.title}: no linearity was measured that this figure could show")
            fix_layout(drawing.figure)
        return drawing.figure

    def _cell(self, group: Group, method: str) -> Cell:
        _check("method", method, self.methods)
        return group.cell(method) or Cell(group.dataset, group.fraction, method, (), 0)

    def _group(self, dataset: str | None, fraction: float | None) -> Group:
        chosen = [g for g in self._groups if dataset in (None, g.dataset) and fraction in (None, g.fraction)]
        if len(chosen) != 1:
            there = ", ".join(f"dataset={g.dataset!r} fraction={g.fraction:g}" for g in self._groups)
            raise UsageError(f"{len(chosen)} figures for dataset={dataset!r} fraction={fraction!r}: choose one of {there}")
        return chosen[0]

    def _check_metric(self, metric: str) -> None:
        columns = [str(name) for name in self.runs if name not in _RUN and pd.api.types.is_numeric_dtype(self.runs[name])]
        _check("metric", metric, columns)


def load(folder: str | Path) -> LoadedSweep:
    """The sweep whose results lie in ``folder``, such as ``results/quick``.

    Which runs belong to it, the last report says; the records are read anew. UsageError where there is no report yet.
    """
    folder = Path(folder)
    if not (folder / "runs").is_dir():
        raise UsageError(f"{folder}: no results folder: it has no runs/")
    expected = _expected(folder / "runs.parquet")
    methods = tuple(dict.fromkeys(item.method for item in expected))
    found = collect(folder, expected)
    baseline = _baseline(folder / "sweep.yaml", methods)
    info = SweepInfo(folder.name, baseline, methods, "", "", "")
    states = [{**_asked(item.expected), "state": item.state, "reason": item.reason} for item in found.absent]
    return LoadedSweep(
        folder,
        baseline,
        methods,
        runs=pd.DataFrame(flat_rows(found.runs, _RUN), columns=None if found.runs else list(_RUN)),
        absent=pd.DataFrame(states, columns=[*_RUN, "state", "reason"]),
        linearity=_rows_of(found.runs, Run.linearity),
        curves=_rows_of(found.runs, Run.curves),
        _groups=group_runs(info, expected, found),
    )


def _expected(path: Path) -> list[Expected]:
    """The runs that the sweep asked for when its report was drawn."""
    try:
        rows = pd.read_parquet(path, columns=list(_RUN)).to_numpy()
        found = [Expected(run_id, dataset, float(fraction), method, int(seed)) for run_id, dataset, fraction, method, seed in rows]
    except FileNotFoundError as error:
        raise UsageError(f"{path}: not there yet: it comes with the report (smilebench report SWEEP)") from error
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged: remove it, and draw the report again (smilebench report SWEEP)") from error
    if not found:
        raise UsageError(f"{path}: it names no run: remove it, and draw the report again (smilebench report SWEEP)")
    return found


def _baseline(path: Path, methods: Sequence[str]) -> str:
    """What the sweep's file calls its baseline; the first method where it is not kept."""
    try:
        named = yamlio.read_mapping(path).get("baseline", SweepFile.model_fields["baseline"].default)
    except (UsageError, OSError):
        named = None
    return named if named in methods else methods[0]


def _asked(item: Expected) -> dict[str, Any]:
    return {name: getattr(item, name) for name in _RUN}


def _rows_of(runs: Sequence[Run], read: Callable[[Run], Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    rows = [{**_asked(run.expected), **row} for run in runs for row in read(run)]
    return pd.DataFrame(rows, columns=None if rows else list(_RUN))


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _check(what: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(unknown(what, value, choices))
