"""What a tuning budget buys: the expected best validation accuracy of k trials, per method.

After Dodge et al., "Show Your Work" (EMNLP 2019), but drawn without replacement from the trials at hand, which needs no assumption.
"""

import math
from collections.abc import Sequence

from benchmark.report.collect import Tuned
from benchmark.report.text import csv_text

CSV = "tuning_budget.csv"


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


def budget_csv(found: Sequence[Tuned]) -> str:
    """One row per method and budget; accuracies in percent."""
    columns = ("dataset", "fraction", "method", "trials", "seeds_per_trial", "expected_best_val_accuracy")
    rows = [(t.dataset, t.fraction, t.method, k, t.seeds, 100 * value) for t in found for k, value in enumerate(curve(t), start=1)]
    return csv_text(columns, rows)
