"""A few real steps of each method, to plan a sweep of which nothing is measured yet."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.storage import yamlio
from benchmark.storage.run_folder import RunFolder, read_json
from benchmark.sweep import cost
from benchmark.sweep.cost import Sample
from benchmark.sweep.order import Order
from benchmark.sweep.plan import Plan, with_estimate
from benchmark.sweep.progress import open_view
from benchmark.sweep.runner import run_local

STEPS = 10


def measured(plan: Plan, console: Console) -> Plan:
    """``plan`` with its cost by its finished runs and, for each method without one, by a short run in a temporary folder.

    That run is the largest of its method, cut to :data:`STEPS` steps, with all of its set-up, evaluation and linearity, in a worker of
    its own on one device. The first half of the steps is warm-up and not counted.
    """
    if plan.missing:
        raise UsageError("\n".join(plan.missing))
    own = plan.estimate.samples if plan.estimate.own else ()
    known = {sample.method for sample in own}
    largest = {cost.uses(run.config): run.config for run in sorted(plan.todo, key=lambda run: run.work)}
    chosen = [config for method, config in largest.items() if method not in known]
    if not chosen:
        return plan
    with tempfile.TemporaryDirectory() as folder:
        samples = _carry_out(chosen, Path(folder), console)
        basis = f"a probe of {STEPS} steps of {len(samples)} methods" + (f" and {plan.estimate.basis}" if own else "")
        return with_estimate(plan, cost.by([*own, *samples], basis, own=bool(own)))


def _carry_out(configs: Sequence[RunConfig], folder: Path, console: Console) -> list[Sample]:
    short = {each.run_id: each for each in map(_short, configs)}
    for run_id, config in short.items():
        RunFolder(folder / "runs" / run_id).create(yamlio.dump(config.model_dump(mode="json")))
    runtime = configs[0].runtime
    outcome = run_local(Order(str(folder), tuple(short), runtime.device, 1, runtime.threads), open_view(console))
    if outcome.message:
        raise UsageError(f"the probe was not carried out: {outcome.message}")
    return [each for run_id in outcome.done if (each := _sample(short[run_id], RunFolder(folder / "runs" / run_id))) is not None]


def _short(config: RunConfig) -> RunConfig:
    steps = min(STEPS, config.training.steps)
    training = config.training.model_copy(update={"steps": steps, "log_every": max(1, steps // 2)})
    return config.model_copy(update={"training": training})


def _sample(config: RunConfig, run: RunFolder) -> Sample | None:
    """As of any finished run, but with the time of a step by the second half of the steps."""
    record = read_json(run.record_path) or {}
    found = cost.sample(config, record, run.path)
    rows = [json.loads(line) for line in (run.path / "curves.jsonl").read_text(encoding="utf-8").splitlines()]
    if found is None or len(rows) < 2:
        return found
    steps, elapsed = zip(*((row["step"], row["step"] * record["batch_size"] / row["images_per_second"]) for row in rows), strict=True)
    step = (elapsed[-1] - elapsed[0]) / (steps[-1] - steps[0])
    return found._replace(step=step, fixed=record["wall_seconds"] - record["steps"] * step)
