"""What a sweep of 10,000 runs costs outside training: planning it, looking at it, creating its folders, collecting its records.

Every number is of a whole process, imports included: processor seconds (user and system), which a busy machine leaves alone, and the
peak of its memory. The sweep's records are made up; their sizes are those of real ones.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

import methods
from benchmark.config import grid, weights
from benchmark.config.run_config import RunConfig
from benchmark.storage import yamlio
from benchmark.storage.run_folder import RunFolder, claim

METHODS = list(methods.METHODS)[:10]
SWEEP = {
    "name": "wide",
    "datasets": ["digits"],
    "fractions": [n / 10 for n in range(1, 11)],
    "seeds": 100,
    "baseline": METHODS[0],
    "methods": METHODS,
    "training": {"steps": 60, "batch_size": 32, "image_size": 48, "log_every": 10},
    "linearity": {"pairs": 64, "lambdas": 5},
    "overrides": [{"match": {"method": name, "fraction": 0.1}, "set": {"training.lr": 0.02}} for name in METHODS],
    "runtime": {"device": "cpu"},
}
"""10 methods x 10 fractions x 100 seeds."""

_CREATE = """
import sys
from pathlib import Path
from benchmark.config import grid
from benchmark.sweep import carry_out, plan
carry_out.create_folders(plan.make(grid.load(sys.argv[1]), Path(sys.argv[2])))
"""
_COLLECT = """
import sys
from pathlib import Path
from benchmark.report.cells import group_runs
from benchmark.report.collect import collect
from benchmark.config import grid
from benchmark.sweep import results
info, expected = results.asked_for(grid.load(sys.argv[1]))
found = collect(Path(sys.argv[2]), expected)
print(len(found.runs), len(group_runs(info, expected, found)))
"""
_SPENT = """
import json, os, subprocess, sys, time
start = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([usage.ru_utime + usage.ru_stime, time.monotonic() - start, usage.ru_maxrss]))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""In a small process: on Linux the peak of a child starts at that of the process that forked it."""


class CommandCost(NamedTuple):
    """Of one process. cpu, wall: seconds. memory: peak, MiB."""

    cpu: float
    wall: float
    memory: float


class CommandRow(NamedTuple):
    """wanted: the most processor seconds it should take; None where nothing is promised."""

    what: str
    cost: CommandCost
    wanted: float | None


def measure(folder: Path, seeds: int = 100) -> list[CommandRow]:
    """Make the sweep with ``seeds`` seeds in ``folder``, an empty one, and time every command on it."""
    file, out = write_sweep(folder, seeds), folder / "results"
    names = [str(file), "--out", str(out)]
    rows = [CommandRow("plan, nothing done", spent("-m", "benchmark", "plan", *names), 5)]
    rows.append(CommandRow("create the run folders", spent("-c", _CREATE, str(file), str(out)), None))
    rows.append(CommandRow("status, nothing done", spent("-m", "benchmark", "status", *names), 1))
    write_runs(out, grid.load(str(file)).runs)
    rows.append(CommandRow("status", spent("-m", "benchmark", "status", *names), 1))
    rows.append(CommandRow("plan", spent("-m", "benchmark", "plan", *names), 5))
    rows.append(CommandRow("collect and group the records", spent("-c", _COLLECT, str(file), str(out)), 20))
    return rows


def spent(*arguments: str) -> CommandCost:
    """Run Python with ``arguments`` and say what the process, without its children, took."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-P", "-c", _SPENT, sys.executable, "-P", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    cpu, wall, memory = json.loads(done.stdout)
    return CommandCost(cpu, wall, memory / (2**20 if sys.platform == "darwin" else 2**10))


def write_sweep(folder: Path, seeds: int) -> Path:
    """The sweep file, with ``seeds`` seeds."""
    file = folder / "wide.yaml"
    file.write_text(yamlio.dump({**SWEEP, "seeds": seeds}))
    return file


def write_runs(out: Path, runs: Sequence[RunConfig]) -> None:
    """Finish nine tenths of the runs; of the others one in ten each is running, interrupted or failed, the rest are queued."""
    for n, run in enumerate(runs):
        folder = RunFolder(out / "runs" / run.run_id)
        if n % 10:
            folder.claims.mkdir(parents=True, exist_ok=True)
            (folder.claims / "1").write_text(json.dumps({"session": "s", "start_step": 0, "time": 0.0}))
            (folder.claims / "1.end").write_text(json.dumps({"reason": "done", "session": "s", "time": 0.0}))
            _finish(folder, run, n)
        elif n % 100 in (10, 20, 30):
            own = claim(folder.path, "s")
            assert own is not None
            own.beat({"step": 20, "total": 60, "phase": "train", "images_per_second": 100.0, "updated": time.time()})
            if n % 100 == 20:
                own.end("interrupted")
            if n % 100 == 30:
                own.fail({"reason": "loss is not finite at step 20", "kind": "nan", "traceback": "", "step": 20})


def _finish(folder: RunFolder, run: RunConfig, n: int) -> None:
    curves = [_CURVE | {"step": step} for step in range(10, run.training.steps + 1, 10)]
    lines = [f"{split},{lam / 4},0.1,0.2,0.3,0.4,64" for split in ("train", "test") for lam in range(5)]
    (folder.path / "curves.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curves))
    (folder.path / "linearity.csv").write_text("\n".join(["split,lam,feature_gap,feature_gap_rel,label_l1,label_kl,n_pairs", *lines, ""]))
    folder.record_path.write_text(json.dumps(record(run, n), indent=1))


_CURVE = {"lr": 0.01, "loss/cross_entropy": 0.1234567, "loss/total": 0.1234567, "images_per_second": 100.0}
_GAPS = {"feature": 0.21, "feature_rel": 0.42, "label_l1": 0.5, "label_kl": 0.35}
_VERSIONS = dict.fromkeys(("python", "smilebench", "torch", "torchvision", "timm", "numpy", "scipy", "pillow"), "1.0")


def record(run: RunConfig, n: int) -> dict[str, Any]:
    """A made-up record with every field; n: varies its accuracies."""
    accuracy = 0.8 + (n * 7919 % 1000) / 10000
    known = run.model_dump(include={"sweep", "dataset", "fraction", "method", "seed", "backbone", "protocol", "precision", "compile"})
    return {
        "run_id": run.run_id,
        **known,
        "components": [component.model_dump(mode="json", exclude={"use"}) for component in run.components],
        "weights_hash": weights.parse(run.backbone).sha256,
        "data_hash": "0" * 64,
        "subset_hash": f"{run.fraction}-{run.seed}".rjust(64, "0"),
        **dict.fromkeys(("num_classes", "num_train", "threads", "resumes"), 1),
        **run.training.model_dump(include={"steps", "batch_size", "lr"}),
        **dict.fromkeys(("train_loss", "train_accuracy", "test_accuracy", "test_mean_class_accuracy", "val_accuracy"), accuracy),
        "linearity": {"train": _GAPS, "test": _GAPS},
        "wall_seconds": 20.0 + accuracy,
        "images_per_second": 100.0,
        "peak_memory_bytes": 500 * 2**20,
        **dict.fromkeys(("device", "hostname", "git_commit"), "made up"),
        "versions": _VERSIONS,
        "config_hash": run.config_hash,
        **dict.fromkeys(("started_at", "finished_at"), "2000-01-01T00:00:00+00:00"),
    }


def report(console: Console) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder))
    table = Table("10,000 runs", "processor, s", "wanted", "wall, s", "peak memory, MiB", "wanted")
    for row in rows:
        wanted = "" if row.wanted is None else f"<= {row.wanted:g}"
        table.add_row(row.what, f"{row.cost.cpu:.2f}", wanted, f"{row.cost.wall:.2f}", f"{row.cost.memory:.0f}", "<= 500")
    console.print(table)


if __name__ == "__main__":
    report(Console())
