"""A few real steps of each method, to plan a sweep of which nothing is measured yet; and of one method in either precision, on a CPU."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.report.cells import large_terms, ratios_of
from benchmark.storage import yamlio
from benchmark.storage.run_folder import RunFolder, read_json
from benchmark.sweep import cost
from benchmark.sweep.cost import Sample
from benchmark.sweep.order import Order
from benchmark.sweep.plan import Plan, with_estimate
from benchmark.sweep.progress import open_view
from benchmark.sweep.runner import run_local

STEPS = 10
_TEST_IMAGES = 64
"""Evaluated where only steps are timed."""
_OVER = f"means over {STEPS} steps"
_ALIKE = 1.05
"""Steps whose times differ by a smaller factor count as equally fast."""


class Short(NamedTuple):
    """A run of a few steps. sample: what it cost. terms: each loss term's mean size over that of the cross-entropy."""

    sample: Sample
    method: str
    terms: Mapping[str, float]


class Probed(NamedTuple):
    """plan: with its cost. runs: those that were carried out for it."""

    plan: Plan
    runs: Sequence[Short] = ()

    @property
    def terms(self) -> list[str]:
        """How large each loss term is beside the cross-entropy, a line for each method that has one."""
        shown = [(run.method, ", ".join(f"{term} {ratio:.2g}" for term, ratio in run.terms.items())) for run in self.runs if run.terms]
        return [f"loss terms of {method}, over the cross-entropy ({_OVER}): {text}" for method, text in shown]

    @property
    def warnings(self) -> list[str]:
        """Of terms that rule the training."""
        return [line for run in self.runs for line in large_terms(run.method, run.terms, _OVER)]


class Precisions(NamedTuple):
    """fp32, bf16: seconds that a step of ``method`` takes in each. chosen: whether runs are to be carried out in bf16."""

    method: str
    fp32: float
    bf16: float
    chosen: bool

    @property
    def loses(self) -> bool:
        """Whether bf16 was chosen and is the slower one."""
        return self.chosen and self.bf16 > _ALIKE * self.fp32

    def words(self) -> str:
        """What bf16 gives, in one line."""
        times = f"a step of {self.method} takes {self.fp32:.3g} s in fp32 and {self.bf16:.3g} s in bf16 on this CPU"
        if self.bf16 > _ALIKE * self.fp32:
            slower = f"bf16 is {self.bf16 / self.fp32:.2g} times slower"
            return f"precision: {times}: {slower}" + (", and it was chosen: precision=fp32 is better here" if self.chosen else "")
        if self.fp32 > _ALIKE * self.bf16:
            return f"precision: {times}: bf16 is {self.fp32 / self.bf16:.2g} times faster" + ("" if self.chosen else " (precision=bf16)")
        return f"precision: {times}: there is no difference"


def measured(plan: Plan, console: Console) -> Probed:
    """``plan`` with its cost by its finished runs and, for each method without one, by a short run in a temporary folder.

    That run is the largest of its method, cut to :data:`STEPS` steps, with all of its set-up, evaluation and linearity, in a worker of
    its own on one device. The first half of the steps is warm-up and not counted.
    """
    if plan.missing:
        raise UsageError("\n".join(plan.missing))
    own = plan.estimate.samples if plan.estimate.own else ()
    known = {sample.method for sample in own}
    largest = {run.config.uses: run.config for run in sorted(plan.todo, key=lambda run: run.work)}
    chosen = [config for method, config in largest.items() if method not in known]
    if not chosen:
        return Probed(plan)
    with tempfile.TemporaryDirectory() as folder:
        runs = _carry_out(chosen, Path(folder), console)
        basis = f"a probe of {STEPS} steps of {len(runs)} methods" + (f" and {plan.estimate.basis}" if own else "")
        return Probed(with_estimate(plan, cost.by([*own, *(run.sample for run in runs)], basis, own=bool(own))), runs)


def precisions(plan: Plan, console: Console) -> Precisions | None:
    """The baseline (where it is still to do, else another method) timed in fp32 and bf16; None where nothing is to do on a CPU.

    None too where one of the two cannot be carried out. Of its largest run, as in :func:`measured`, but with little evaluation.
    """
    runs = [run.config for run in plan.todo if run.config.runtime.device == "cpu"]
    if not runs:
        return None
    config = max((each for each in runs if each.method == plan.sweep.baseline), key=cost.work, default=runs[0])
    little = {
        "data": config.data.model_copy(update={"test_images": _TEST_IMAGES, "also_test": None}),
        "linearity": config.linearity.model_copy(update={"pairs": 0}),
        "evaluation": config.evaluation.model_copy(update={"snapshots": 0}),
    }
    both = [config.model_copy(update={**little, "precision": precision}) for precision in ("fp32", "bf16")]
    with tempfile.TemporaryDirectory() as folder:
        found = _carry_out(both, Path(folder), console)
    if len(found) < len(both):
        return None
    return Precisions(config.method, found[0].sample.step, found[1].sample.step, any(each.precision == "bf16" for each in runs))


def _carry_out(configs: Sequence[RunConfig], folder: Path, console: Console) -> list[Short]:
    short = {each.run_id: each for each in map(_short, configs)}
    for run_id, config in short.items():
        RunFolder(folder / "runs" / run_id).create(yamlio.dump(config.model_dump(mode="json")))
    runtime = configs[0].runtime
    outcome = run_local(Order(str(folder), tuple(short), runtime.device, 1, runtime.threads), open_view(console))
    if outcome.message:
        raise UsageError(f"the probe was not carried out: {outcome.message}")
    return [each for run_id in outcome.done if (each := _read(short[run_id], RunFolder(folder / "runs" / run_id))) is not None]


def _short(config: RunConfig) -> RunConfig:
    steps = min(STEPS, config.training.steps)
    training = config.training.model_copy(update={"steps": steps, "log_every": max(1, steps // 2)})
    return config.model_copy(update={"training": training})


def _read(config: RunConfig, run: RunFolder) -> Short | None:
    """As of any finished run, but with the time of a step by the second half of the steps."""
    record = read_json(run.record_path) or {}
    found = cost.sample(config, record, run.path)
    if found is None:
        return None
    rows = [json.loads(line) for line in (run.path / "curves.jsonl").read_text(encoding="utf-8").splitlines()]
    if len(rows) > 1:
        steps, elapsed = zip(*((row["step"], row["step"] * record["batch_size"] / row["images_per_second"]) for row in rows), strict=True)
        step = (elapsed[-1] - elapsed[0]) / (steps[-1] - steps[0])
        found = found._replace(step=step, fixed=record["wall_seconds"] - record["steps"] * step)
    return Short(found, config.method, ratios_of(rows))
