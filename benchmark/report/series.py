"""The numbers behind the line figures: means and intervals over seeds, per lambda or per step."""

from collections import defaultdict

from benchmark.report.cells import Cell
from benchmark.report.intervals import Interval, t_interval

MEASURES = ("feature_gap", "feature_gap_rel", "label_l1", "label_kl")

MAX_POINTS = 200
"""A curve keeps at most this many steps: more cannot be told apart at one-column width."""


def linearity_series(cell: Cell) -> dict[tuple[str, str], list[tuple[float, Interval]]]:
    """Per (split, measure of ``linearity.csv``) the (lambda, interval over seeds), by rising lambda; empty without measurements."""
    values: dict[tuple[str, str], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in cell.runs:
        for row in run.linearity():
            for measure in MEASURES:
                values[row["split"], measure][row["lam"]].append(row[measure])
    return {key: [(lam, t_interval(by_lam[lam])) for lam in sorted(by_lam)] for key, by_lam in values.items()}


def loss_series(cell: Cell) -> dict[str, list[tuple[int, float]]]:
    """Per loss term the (step, mean over the runs that logged it there), thinned to ``MAX_POINTS``."""
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in cell.runs:
        for row in run.curves():
            for key, value in row.items():
                if key.startswith("loss/"):
                    values[key.removeprefix("loss/")][int(row["step"])].append(value)
    return {term: _thin([(step, sum(v) / len(v)) for step, v in sorted(by_step.items())]) for term, by_step in values.items()}


def _thin(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(points) <= MAX_POINTS:
        return points
    return [points[round(i * (len(points) - 1) / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]
