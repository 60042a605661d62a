"""The ledger against its source, and every outcome and reason of ``compare`` against made-up records."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

import methods
from benchmark.config import grid
from benchmark.errors import UsageError
from benchmark.published import comparison, published_numbers
from benchmark.storage import yamlio
from datasets import DATASETS
from tests.report import fakes

TABLE = """
fine_tuning | 51.2 64.6 74.6 81.8 | 41.1 65.9 78.4 87.8 | 41.6 57.8 68.7 80.2
lwf_tllib   | 56.7 66.8 73.4 81.5 | 44.9 67.0 77.6 87.5 | 44.1 60.6 68.7 82.4
bss         | 53.4 66.7 76.0 82.0 | 43.3 67.6 79.6 88.0 | 43.6 59.5 69.6 81.2
delta       | 54.8 67.3 76.3 82.3 | 45.0 68.4 79.6 88.4 | 44.4 61.9 71.4 82.7
stoch_norm  | 54.8 66.8 75.8 82.2 | 44.4 68.1 79.3 87.9 | 44.3 60.6 70.1 81.5
co_tuning   | 57.6 70.1 77.3 82.5 | 49.0 70.6 81.9 89.1 | 45.9 61.2 71.3 82.2
bi_tuning   | 55.8 69.3 77.2 83.1 | 48.3 72.8 83.3 90.2 | 47.2 64.3 73.7 84.3
"""


def of(source: str) -> list[published_numbers.PublishedNumber]:
    return [entry for entry in published_numbers.load() if entry.source == source]


def test_the_tables_over_fractions_are_their_sources() -> None:
    expected = {
        (method.strip(), dataset, fraction): float(value)
        for method, *columns in (line.split("|") for line in TABLE.strip().splitlines())
        for dataset, values in zip(("cub200", "stanford_cars", "fgvc_aircraft"), columns, strict=True)
        for fraction, value in zip((0.15, 0.3, 0.5, 1.0), values.split(), strict=True)
    }
    table = of("README of the Transfer Learning Library (TLLib)")
    assert {(e.method, e.dataset, e.fraction): e.value for e in table} == expected
    assert len(table) == len(expected) == 84
    assert {(e.metric, e.backbone, e.selection, e.n, e.plus_minus) for e in table} == {("top1", "ResNet-50", "best_epoch_on_test", 1, None)}
    others = [*of("the Self-Tuning paper"), *of("thuml/Self-Tuning issue 6")]
    assert [e.value for e in others] == [36.8, 53.1]
    assert {(e.dataset, e.fraction, e.method, e.backbone, e.protocol, e.selection, e.n) for e in others} == {
        ("stanford_cars", 0.15, "fine_tuning", None, None, None, None)
    }


TEN = """
fine_tuning | 85.1 96.6 84.1 63.7 87.8 80.1 70.8 93.2 91.1 93.0
lwf_tllib   | 83.9 96.5 83.6 64.1 87.4 82.2 72.2 94.0 89.8 92.9
delta       | 83.8 95.9 83.7 64.5 88.1 82.3 72.2 94.2 90.1 93.1
bss         | 85.0 96.6 84.2 63.5 88.4 81.8 70.2 93.3 91.6 92.7
stoch_norm  | 85.0 96.8 83.9 63.0 87.7 81.5 71.3 93.6 90.5 92.9
bi_tuning   | 85.7 97.1 84.3 64.2 90.3 84.8 70.6 93.5 91.5 94.5
"""


def test_where_one_readme_disagrees_with_itself_both_values_stand() -> None:
    ten = of("README of the Transfer Learning Library (TLLib), table of ten data sets")
    names = [
        "food101",
        "cifar10",
        "cifar100",
        "sun397",
        "stanford_cars",
        "fgvc_aircraft",
        "dtd",
        "oxford_iiit_pet",
        "caltech101",
        "flowers102",
    ]
    lines = [line.split("|") for line in TEN.strip().splitlines()]
    expected = {(m.strip(), d): float(v) for m, row in lines for d, v in zip(names, row.split(), strict=True)}
    assert {(e.method, e.dataset): e.value for e in ten} == expected
    assert {e.dataset for e in ten if e.metric == "mean_per_class"} == {"fgvc_aircraft", "oxford_iiit_pet", "caltech101", "flowers102"}
    fractions = {
        e.method: e.value
        for e in of("README of the Transfer Learning Library (TLLib)")
        if (e.dataset, e.fraction) == ("stanford_cars", 1.0)
    }
    for entry in (e for e in ten if e.dataset == "stanford_cars"):
        other = fractions[entry.method]
        assert (other != entry.value) == (f"gives {other}" in (entry.note or ""))


def test_the_other_sources_say_what_is_inferred_and_use_names_of_this_suite() -> None:
    entries = published_numbers.load()
    assert {e.dataset for e in entries} <= set(DATASETS)
    assert {e.method for e in entries} <= {*methods.METHODS, *methods.VARIANTS}
    assert [e.value for e in of("README of StochNorm's authors")] == [50.41, 62.09, 72.05, 79.65]
    openmixup = of("OpenMixup")
    assert [e.value for e in openmixup if e.dataset == "cub200"] == [77.68, 78.39, 78.40, 79.76, 77.28, 78.50]
    assert [e.value for e in openmixup if e.dataset == "fgvc_aircraft"] == [80.23, 79.52, 78.84, 80.68, 79.36, 78.10]
    l2_sp = of("the L2-SP paper (ICML 2018)")
    assert [e.value for e in l2_sp if e.method == "fine_tuning"] == [79.28, 81.77, 82.15, 86.22]
    assert [e.value for e in l2_sp if e.method == "l2_sp"] == [84.18, 84.84, 85.31, 89.66]
    paddle = of("PaddlePaddle/Research, CV/SMILE")
    assert [e.value for e in paddle] == [80.79, 82.38, 90.72, 91.74, 86.93, 89.00]
    assert all("inferred" in (e.note or "") for e in [*of("README of StochNorm's authors"), *l2_sp, *paddle])


ENTRY = {
    "value": 50.0, "plus_minus": None, "n": 1, "metric": "top1", "dataset": "cub200", "fraction": 0.15, "backbone": "ResNet-50",
    "protocol": "tllib", "selection": "last_epoch", "method": "fine_tuning", "published_as": "x", "source": "s", "note": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": 501.0}, "entries.0.value"),
        ({"value": "50"}, "entries.0.value"),
        ({"selection": "best"}, "entries.0.selection"),
        ({"metric": "f1"}, "entries.0.metric"),
        ({"vale": 3}, "did you mean 'value'"),
        ({"source": None}, "entries.0.source"),
    ],
)
def test_a_ledger_entry_is_strict(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(yamlio.dump({"entries": [{**ENTRY, **change}]}))
    with pytest.raises(UsageError, match=words):
        published_numbers.load(tmp_path)


def test_a_missing_fact_and_a_number_given_twice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(yamlio.dump({"entries": [{k: v for k, v in ENTRY.items() if k != "selection"}]}))
    with pytest.raises(UsageError, match=r"entries\.0\.selection: this key is missing"):
        published_numbers.load(tmp_path)
    (tmp_path / "x.yaml").write_text(yamlio.dump({"common": ENTRY, "entries": [{}, {"value": 51.0}]}))
    with pytest.raises(UsageError, match=r"s gives fine_tuning on cub200 at 0\.15 twice"):
        published_numbers.load(tmp_path)


def test_the_prediction_interval_holds_a_new_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for n, m in ((3, 1), (5, 1), (5, 3)):
        inside = 0
        for values in rng.normal(size=(3000, n + m)):
            inside += abs(values[:n].mean() - values[n:].mean()) <= comparison.prediction_reach(list(values[:n]), m)
        low, high = stats.binom.interval(0.999, 3000, 0.95)
        assert low <= inside <= high
    assert comparison.prediction_reach([1.0, 2.0, 3.0], 1) == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(4 / 3))
    with pytest.raises(ValueError, match="from 1 value"):
        comparison.prediction_reach([1.0], 1)


def made_up(folder: Path, accuracies: list[float], snapshots: list[float] | None = None, **changes: Any) -> tuple[grid.Sweep, Path]:
    """Fine-tuning on CUB at 15 % under TLLib's protocol, with ResNet-50's weights, and these test accuracies."""
    content = {
        "name": "cub", "backbone": "resnet50.tv_in1k", "datasets": ["cub200"], "fractions": [0.15], "seeds": len(accuracies),
        "methods": ["fine_tuning"], "protocol": "tllib", "runtime": {"device": "cpu"}, **changes,
    }  # fmt: skip
    (folder / "cub.yaml").write_text(yamlio.dump(content))
    sweep, out = grid.load(str(folder / "cub.yaml")), folder / "out"
    for config, accuracy in zip(sweep.runs, accuracies, strict=True):
        item = fakes.Expected(config.run_id, config.dataset, config.fraction, config.method, config.seed)
        record = fakes.record(item) | {"test_accuracy": accuracy / 100, "num_classes": 200, "num_train": 1000}
        (out / "runs" / item.run_id).mkdir(parents=True)
        (out / "runs" / item.run_id / "record.json").write_text(json.dumps(record))
        if snapshots is not None:
            rows = "".join(f"{n},{value / 100},0\n" for n, value in enumerate([*snapshots, accuracy], start=1))
            (out / "runs" / item.run_id / "snapshots.csv").write_text("step,test_accuracy,test_mean_class_accuracy\n" + rows)
    return sweep, out


def entry(**changes: Any) -> published_numbers.PublishedNumber:
    return published_numbers.PublishedNumber.model_validate({**ENTRY, **changes})


def outcome(found: tuple[grid.Sweep, Path], *entries: published_numbers.PublishedNumber) -> comparison.Comparison:
    (only,) = comparison.compare(*found, entries)
    return only


ACCURACIES = [50.0, 51.0, 52.0, 51.0]


def test_inside_the_prediction_interval_is_reproduced_and_outside_is_off(tmp_path: Path) -> None:
    found = made_up(tmp_path, ACCURACIES)
    reach = stats.t.ppf(0.975, 3) * np.std(ACCURACIES, ddof=1) * math.sqrt(1 + 1 / 4)
    inside, outside = outcome(found, entry(value=51 - reach + 0.01)), outcome(found, entry(value=51 + reach + 0.01))
    assert (inside.outcome, outside.outcome) == ("reproduced", "off")
    assert inside.reach == pytest.approx(reach)
    assert inside.difference == pytest.approx(reach - 0.01)
    assert (inside.rule, inside.reasons, inside.remarks) == ("last iterate", (), ())
    narrower = outcome(found, entry(value=51 - reach + 0.01, n=5))
    assert narrower.outcome == "off"


def test_a_best_epoch_on_test_is_compared_with_the_best_snapshot_or_not_at_all(tmp_path: Path) -> None:
    best = entry(selection="best_epoch_on_test", value=53.5)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = outcome(made_up(tmp_path / "a", ACCURACIES), best)
    assert plain.outcome == "not comparable"
    assert plain.reasons == ("published: best epoch on test; ours: last iterate (evaluation.snapshots would bridge this)",)
    found = made_up(tmp_path / "b", ACCURACIES, [40.0, 53.0], evaluation={"snapshots": 3})
    bridged = outcome(found, best)
    assert (bridged.outcome, bridged.rule, bridged.ours.mean) == ("off", "best of 3 snapshots on test", 53.0)
    assert outcome(found, entry(value=51.5)).ours.mean == 51.0  # a last iterate is compared with the last iterate
    (tmp_path / "c").mkdir()
    averaged = made_up(tmp_path / "c", ACCURACIES, [40.0, 53.0], evaluation={"snapshots": 3}, methods=["ema"], baseline="ema")
    unlike = outcome(averaged, best.model_copy(update={"method": "ema"}))
    assert unlike.reasons == ("published: best epoch on test; ours: an average of iterates",)
    next(found[1].glob("runs/*/snapshots.csv")).unlink()
    assert outcome(found, best).outcome == "not comparable"


@pytest.mark.parametrize(
    ("ours", "theirs", "reason"),
    [
        ({"backbone": "resnet50.a1_in1k"}, {}, "published: ResNet-50 (resnet50.tv_in1k); ours: resnet50.a1_in1k"),
        ({"pretrained": False}, {}, "ours starts from random weights"),
        ({"protocol": "smile"}, {}, "published under protocol tllib; ours: smile"),
        ({"training": {"steps": 100}}, {}, "not the protocol as it is: training.steps 100 instead of 10000"),
        ({"data": {"keep_aspect": False}}, {}, "not the protocol as it is: data.keep_aspect False instead of True"),
        ({"data": {"resize": 224}}, {}, "data.resize 224 instead of 256"),
        ({"data": {"fast_decode": True}}, {}, "data.fast_decode True instead of False"),
        ({"data": {"exif": True}}, {}, "data.exif True instead of False"),
        ({"data": {"val_fraction": 0.1}}, {}, "ours holds out 10 % of the training images"),
        ({"data": {"test_images": 500}}, {}, "ours is tested on 500 images only"),
        ({"data": {"sampling": "smile"}}, {}, "ours samples by 'smile'"),
        ({"fractions": [0.3]}, {}, "published at 15 % of the labels, not at 30 %"),
        ({}, {"backbone": None}, "what its backbone was is not known"),
        ({}, {"protocol": None}, "what its protocol was is not known"),
        ({}, {"selection": None}, "what its selection rule was is not known"),
        ({}, {"selection": "best_epoch_on_val"}, "published: best epoch on val; ours: last iterate"),
        ({}, {"selection": "median_of_last_epochs"}, "published: median of the last epochs on test; ours: last iterate"),
        ({}, {"metric": "mean_per_class"}, "published: mean-per-class accuracy; ours: top-1"),
    ],
)
def test_what_differs_is_not_comparable_and_says_why(ours: dict, theirs: dict, reason: str, tmp_path: Path) -> None:
    found = outcome(made_up(tmp_path, ACCURACIES, **ours), entry(**theirs))
    assert found.outcome == "not comparable"
    assert any(reason in text for text in found.reasons), found.reasons


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("num_classes", 100, "100 classes instead of 200"), ("num_train", 700, "700 training images, which is not 15 % of 5994")],
)
def test_an_incomplete_copy_shows_in_the_records(field: str, value: int, reason: str, tmp_path: Path) -> None:
    sweep, out = made_up(tmp_path, ACCURACIES)
    path = out / "runs" / sweep.runs[1].run_id / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    assert outcome((sweep, out), entry()).reasons == (f"ours has {reason}",)


def test_missing_test_images_show_in_the_predictions(tmp_path: Path) -> None:
    import pandas as pd

    sweep, out = made_up(tmp_path, ACCURACIES)
    pd.DataFrame({"index": range(5794)}).to_parquet(out / "runs" / sweep.runs[0].run_id / "predictions.parquet")
    assert outcome((sweep, out), entry()).reasons == ()
    pd.DataFrame({"index": range(5000)}).to_parquet(out / "runs" / sweep.runs[1].run_id / "predictions.parquet")
    assert outcome((sweep, out), entry()).reasons == ("ours has 5000 test images instead of 5794",)


@pytest.mark.parametrize(("n", "words"), [(2, "2 finished seeds of ours, 3 are needed"), (1, "1 finished seed of ours")])
def test_too_few_seeds_judge_nothing(n: int, words: str, tmp_path: Path) -> None:
    found = outcome(made_up(tmp_path, ACCURACIES[:n]), entry())
    assert found.outcome == "not comparable"
    assert words in found.reasons[0]


def test_missing_runs_change_n_and_are_shown(tmp_path: Path) -> None:
    sweep, out = made_up(tmp_path, ACCURACIES)
    (out / "runs" / sweep.runs[0].run_id / "record.json").unlink()
    found = outcome((sweep, out), entry())
    assert (found.ours.n, found.expected) == (3, 4)
    assert "3 of 4" in comparison.row(found)


def test_a_variant_is_not_its_method_and_own_settings_are_said(tmp_path: Path) -> None:
    methods = ["delta_smile", "delta", {"name": "strong", "use": "delta", "alpha": 0.1}, "delta+mixup"]
    (tmp_path / "cub.yaml").write_text(
        yamlio.dump({
            "name": "cub", "backbone": "resnet50.tv_in1k", "datasets": ["cub200"], "fractions": [0.15], "seeds": 1, "baseline": "delta",
            "methods": methods, "protocol": "tllib", "training": {"lr": 0.01},
        })
    )  # fmt: skip
    rows = comparison.compare(grid.load(str(tmp_path / "cub.yaml")), tmp_path, [entry(method="delta")])
    assert [row.method for row in rows] == ["delta", "strong"]
    assert rows[0].remarks == ("ours with training.lr=0.01 (tllib: 0.001)",)
    assert rows[1].remarks == ("ours with delta.alpha=0.1, training.lr=0.01 (tllib: 0.001)",)


def test_the_comparison_is_printed_and_written(tmp_path: Path) -> None:
    sweep, out = made_up(tmp_path, ACCURACIES)
    entries = [entry(), entry(value=60.0, source="another"), entry(selection=None, source="a third", note="a note")]
    console = Console(record=True, width=140, file=(tmp_path / "printed").open("w"))
    comparison.publish(sweep, out, entries, console)
    text = console.export_text()
    for words in ("1 reproduced, 1 off, 1 not comparable", "(1) what its selection rule was is not known", "(c) a third (a note)"):
        assert words in text
    assert "about 0.1 would be off by chance alone" in " ".join(text.split())
    markdown = (out / "tables" / "compare.md").read_text()
    assert "| cub200 | 15 % | fine_tuning | 51.0 ± 1.3 | 4 | 50.0 (n = 1) | +1.0 |" in markdown
    rows = list(csv.DictReader((out / "tables" / "compare.csv").open()))
    assert [row["outcome"] for row in rows] == ["reproduced", "off", "not comparable"]
    assert float(rows[1]["difference"]) == pytest.approx(-9.0)
    with pytest.raises(UsageError, match=r"no number for any cell of 'cub' is published here \(results/published has: cub200\)"):
        comparison.publish(sweep, out, [entry(method="smile")], console)


def test_comparing_never_imports_torch() -> None:
    import subprocess
    import sys

    code = "import sys, benchmark.published.comparison; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
