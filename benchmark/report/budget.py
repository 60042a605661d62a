"""What a tuning budget buys: the expected best validation accuracy of k trials, per method.

After Dodge et al., "Show Your Work" (EMNLP 2019), but drawn without replacement from the trials at hand, which needs no assumption.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.storage.run_folder import write_text

CSV = "tuning_budget.csv"


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


def expected_best(scores: Sequence[float], k: int) -> float:
    """Mean over all subsets of ``k`` of the scores of the subset's highest: sum_i s_(i) C(i-1, k-1) / C(n, k), s_(1) <= ... <= s_(n)."""
    n = len(scores)
    if not 1 <= k <= n:
        raise ValueError(f"no {k} of {n} trials can be drawn")
    ranked = sorted(scores)
    return math.fsum(ranked[i - 1] * math.comb(i - 1, k - 1) / math.comb(n, k) for i in range(k, n + 1))


def curve(tuned: Tuned) -> list[float]:
    """The expected best of 1, 2, ... all trials, as fractions."""
    return [expected_best(tuned.scores, k) for k in range(1, len(tuned.scores) + 1)]


def to_csv(found: Sequence[Tuned]) -> str:
    """One row per method and budget; accuracies in percent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", "fraction", "method", "trials", "seeds_per_trial", "expected_best_val_accuracy"])
    for tuned in found:
        for k, value in enumerate(curve(tuned), start=1):
            writer.writerow([tuned.dataset, tuned.fraction, tuned.method, k, tuned.seeds, 100 * value])
    return text.getvalue()


def write_budget(folder: Path, found: Sequence[Tuned]) -> list[Path]:
    """Write ``tables/tuning_budget.csv`` and a figure per data set × fraction below ``folder``; returns their paths."""
    from benchmark.report.figures.budget import draw_budgets

    if not found:
        return []
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    write_text(folder / "tables" / CSV, to_csv(found), durable=False)
    pictures = draw_budgets(found, folder / "figures")
    return [folder / "tables" / CSV, *(folder / "figures" / f"{picture.name}.png" for picture in pictures)]
