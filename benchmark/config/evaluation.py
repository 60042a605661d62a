"""Which evaluations mean something: the section ``evaluation`` beside those it depends on."""

from benchmark.config.run_config import Data, Evaluation, Linearity, Training
from benchmark.errors import UsageError


def check_evaluation(evaluation: Evaluation, data: Data, training: Training, linearity: Linearity, where: str) -> None:
    """Refuse a run that would score nothing, or snapshots that would not be snapshots."""
    count = evaluation.snapshots
    if count == 1 or count > training.steps:
        raise UsageError(f"{where}: evaluation.snapshots: {count}: give 0, or 2 to training.steps ({training.steps})")
    if evaluation.test:
        return
    for key, wrong, right in (
        ("data.val_fraction", data.val_fraction == 0, "above 0: nothing else is left to score"),
        ("linearity.pairs", linearity.pairs > 0, "0: linearity is measured on test pairs too"),
        ("evaluation.snapshots", count > 0, "0: snapshots are scored on test"),
    ):
        if wrong:
            raise UsageError(f"{where}: evaluation.test: false needs {key} {right}")
