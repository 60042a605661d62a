"""Made-up sweeps on disk. Every number comes from a formula below; none is a result of anything."""

import csv
import hashlib
import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from benchmark.config.method_options import method_looks
from benchmark.report.collect import Absent, Collected, Expected, Run, SweepInfo

QUICK = ("fine_tuning", "linear_probe", "l2_sp", "delta", "rifle", "mixup", "smile", "l2_sp+mixup", "smile_weak")

ABLATION = ("smile", "fine_tuning", "smile_no_feature", "smile_weak")
"""A sweep whose baseline is the full method."""

VARIANTS = {"smile_weak": ("smile", {"feature_weight": 0.001}), "smile_no_feature": ("smile", {"feature_weight": 0.0})}
DEFAULTS = {"smile": {"feature_weight": 0.01, "alpha": 0.2}, "l2_sp": {"alpha": 0.01}}

TERMS = {"l2_sp": ("l2_sp",), "delta": ("delta", "head_decay"), "smile": ("feature", "source_label")}


def info(methods: Sequence[str] = QUICK, name: str = "made_up") -> SweepInfo:
    about = (name, methods[0], tuple(methods), "smile", f"sweeps/{name}.yaml", f"smilebench sweep {name}")
    return SweepInfo(*about, looks=dict(method_looks()))


def with_redo(found: SweepInfo, names: Iterable[str]) -> SweepInfo:
    """``found`` with a command for each cell."""
    return replace(found, redo={name: f"smilebench sweep {found.name} {name}" for name in names})


def grid(
    methods: Sequence[str] = QUICK, datasets: Sequence[str] = ("toys",), fractions: Sequence[float] = (0.15,), seeds: int = 3
) -> list[Expected]:
    return [
        Expected(
            f"{dataset}-{fraction:g}-{method}-s{seed}-{_number(dataset, fraction, method, seed) % 16**8:08x}",
            dataset,
            fraction,
            method,
            seed,
        )
        for dataset in datasets
        for fraction in fractions
        for method in methods
        for seed in range(seeds)
    ]


def _number(*parts: Any) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8])


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def record(item: Expected) -> dict[str, Any]:
    """A complete record: a seed effect shared by all methods, a method effect, and noise."""
    method, seed = item.method, item.seed
    shared = random.Random(_number("seed", item.dataset, item.fraction, seed)).gauss(0, 0.012)
    effect = random.Random(_number("method", method)).uniform(-0.02, 0.035) if method != "linear_probe" else -0.12
    noise = random.Random(_number("noise", item)).gauss(0, 0.006)
    test = round(min(0.995, 0.7 + 0.2 * item.fraction**0.5 + shared + effect + noise) * 360) / 360
    smooth = (0.6 if "mixup" in method or "smile" in method else 1.0) * (1 + 4 * effect)
    rate = (400 if method == "linear_probe" else 150 / (1 + 0.35 * len(TERMS.get(method, ())))) * (1 + noise)
    gaps = {"feature": 0.21, "feature_rel": 0.42, "label_l1": 0.5, "label_kl": 0.35}
    linearity = {
        split: {name: value * smooth * (1 + 0.1 * (split == "test") + 4 * noise) for name, value in gaps.items()}
        for split in ("train", "test")
    }
    return {
        "run_id": item.run_id,
        "sweep": "made_up",
        "dataset": item.dataset,
        "fraction": item.fraction,
        "method": method,
        "components": [{"name": part, "options": {}, "version": 1} for part in method.split("+")],
        "seed": seed,
        "backbone": "tiny_net",
        "weights_hash": _digest("weights"),
        "data_hash": _digest("data", item.dataset),
        "subset_hash": _digest("subset", item.dataset, item.fraction, seed),
        "protocol": "smile",
        "num_classes": 10,
        "num_train": round(1437 * item.fraction),
        "steps": 60,
        "batch_size": 32,
        "lr": 0.01,
        "precision": "fp32",
        "compile": "off",
        "threads": 1,
        "train_loss": 0.1,
        "train_accuracy": 0.99,
        "test_accuracy": test,
        "test_mean_class_accuracy": test - 0.004,
        "val_accuracy": None,
        "linearity": linearity,
        "wall_seconds": 60 * 32 / rate + 4,
        "images_per_second": rate,
        "peak_memory_bytes": 500 * 2**20 + _number(method) % 2**27,
        "device": "Imaginary CPU @ 2.00GHz",
        "hostname": "nowhere",
        "resumes": 0,
        "versions": {"python": "3.11.7", "smilebench": "0.1.0", "torch": "0.0-made-up"},
        "git_commit": "0" * 40,
        "config_hash": _digest("config", item),
        "started_at": f"2000-01-01T00:{seed:02d}:00+00:00",
        "finished_at": f"2000-01-01T00:{seed:02d}:20+00:00",
    }


def settings(item: Expected) -> dict[str, Any]:
    """What ``config.yaml`` says, as far as a report reads it; JSON is YAML."""
    parts = []
    for name in item.method.split("+"):
        use, changed = VARIANTS.get(name, (name, {}))
        parts.append({"name": name, "use": use, "options": DEFAULTS.get(use, {}) | changed, "version": 1})
    training = {"steps": 60, "batch_size": 32, "lr": 0.01}
    return {"components": parts, "training": training, "precision": "fp32", "compile": "off", "runtime": {"device": "cpu", "threads": 1}}


def write_run(sweep: Path, item: Expected, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write one finished run as training would, its record changed by ``changes``."""
    folder = sweep / "runs" / item.run_id
    folder.mkdir(parents=True, exist_ok=True)
    content = record(item) | (changes or {})
    (folder / "config.yaml").write_text(json.dumps(settings(item)))
    _write_linearity(folder / "linearity.csv", content["linearity"])
    with (folder / "curves.jsonl").open("w") as file:
        for step in range(0, 60, 2):
            file.write(json.dumps(_curve(item, step)) + "\n")
    (folder / "record.json").write_text(json.dumps(content))
    return content


def write_predictions(sweep: Path, item: Expected, labels: Sequence[int], top1: Sequence[int], names: Mapping[int, str]) -> None:
    """The predictions of a run, as a training run keeps them."""
    columns = {"index": list(range(len(labels))), "label": list(labels), "top1": list(top1)}
    columns |= {"probability": [0.9] * len(labels), "true_probability": [0.8] * len(labels)}
    columns |= {f"{key}_name": [names[label] for label in values] for key, values in (("label", labels), ("top1", top1))}
    parquet.write_table(pa.table(columns), sweep / "runs" / item.run_id / "predictions.parquet")


def write_failure(sweep: Path, item: Expected, reason: str = "the loss became NaN at step 12") -> None:
    folder = sweep / "runs" / item.run_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failure.json").write_text(json.dumps({"reason": reason, "kind": "nan", "traceback": "", "step": 12, "time": 0}))


def write_sweep(sweep: Path, expected: Sequence[Expected], holes: Iterable[str] = ()) -> None:
    """Write every expected run but those whose id is in ``holes``."""
    for item in expected:
        if item.run_id not in set(holes):
            write_run(sweep, item)


def _write_linearity(path: Path, linearity: dict[str, dict[str, float]] | None) -> None:
    names = {"feature_gap": "feature", "feature_gap_rel": "feature_rel", "label_l1": "label_l1", "label_kl": "label_kl"}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "lam", *names, "n_pairs"])
        for split, gaps in (linearity or {}).items():
            for lam in (0.0, 0.25, 0.5, 0.75, 1.0):
                shape = math.sin(math.pi * lam) * (0.9 + 0.2 * lam) if 0 < lam < 1 else 0.0
                writer.writerow([split, lam, *(gaps[name] * shape for name in names.values()), 64])


def _curve(item: Expected, step: int) -> dict[str, float]:
    noise = random.Random(_number("curve", item, step)).uniform(0.9, 1.1)
    row = {"step": step, "lr": 0.01, "loss/cross_entropy": (0.2 + 2.1 * math.exp(-step / 15)) * noise, "images_per_second": 100.0}
    for part in item.method.split("+"):
        for number, term in enumerate(TERMS.get(part, ())):
            row[f"loss/{term}"] = 0.02 * (number + 1) * (1 - math.exp(-step / 20)) * noise + 1e-4
    row["loss/total"] = sum(value for key, value in row.items() if key.startswith("loss/"))
    return row


def in_memory(expected: Sequence[Expected], accuracies: Mapping[tuple[str, float, str, int], float]) -> Collected:
    """Runs that never were on disk: those of ``expected`` with an accuracy (a fraction) by (dataset, fraction, method, seed)."""
    runs, absent = [], []
    for item in expected:
        value = accuracies.get((item.dataset, item.fraction, item.method, item.seed))
        if value is None:
            absent.append(Absent(item, "missing", "no record yet"))
        else:
            subset = f"subset of {item.dataset} at {item.fraction:g}, seed {item.seed}"
            fields = {"test_accuracy": value, "test_mean_class_accuracy": value, "subset_hash": subset, "linearity": None}
            fixed = {"device": "none", "threads": 1, "wall_seconds": 60.0, "images_per_second": 1.0}
            runs.append(Run(item, fields | fixed, Path("nowhere")))
    return Collected(tuple(runs), tuple(absent), 0, "")
