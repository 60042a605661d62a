"""What Python reads of a results folder: frames, paired differences, a figure; and what it does not import for that."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

import benchmark
from benchmark.errors import UsageError
from benchmark.exchange.loading import LoadedSweep
from benchmark.report.collect import Expected
from benchmark.report.intervals import difference
from tests.report import fakes

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("smile", "fine_tuning", "mixup")
GRID = fakes.grid(METHODS, ("toys", "birds"), (0.15,), 3)


def written(folder: Path, expected: list[Expected] = GRID, holes: tuple[str, ...] = ()) -> Path:
    """A results folder with what ``load`` reads of a report."""
    fakes.write_sweep(folder, expected, holes)
    pd.DataFrame([asdict(item) | {"state": "done", "reason": ""} for item in expected]).to_parquet(folder / "runs.parquet")
    (folder / "sweep.yaml").write_text("name: made_up\nbaseline: mixup\n")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedSweep:
    return benchmark.load(folder)


def test_frames_hold_every_run_with_its_rows(loaded: LoadedSweep, folder: Path) -> None:
    assert (loaded.folder, loaded.methods, loaded.baseline) == (folder, METHODS, "mixup")
    assert list(loaded.runs["run_id"]) == [item.run_id for item in GRID]
    record = fakes.record(GRID[4])
    row = loaded.runs.set_index("run_id").loc[GRID[4].run_id]
    assert (row["test_accuracy"], row["test_feature_rel"]) == (record["test_accuracy"], record["linearity"]["test"]["feature_rel"])
    assert (len(loaded.linearity), len(loaded.curves), len(loaded.absent)) == (len(GRID) * 10, len(GRID) * 30, 0)
    of_one = loaded.linearity[(loaded.linearity["run_id"] == GRID[4].run_id) & (loaded.linearity["split"] == "test")]
    assert list(of_one["lam"]) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert {"method", "seed", "step", "loss/cross_entropy"} <= set(loaded.curves)
    with pytest.raises(FrozenInstanceError):
        loaded.baseline = "smile"  # type: ignore[misc]


@pytest.mark.parametrize("metric", ["test_accuracy", "test_label_l1", "wall_seconds"])
def test_paired_differences_are_those_of_the_report(loaded: LoadedSweep, metric: str) -> None:
    frame = loaded.paired("smile", "fine_tuning", metric=metric)
    assert list(zip(frame["dataset"], frame["seed"], strict=True)) == [(d, s) for d in ("toys", "birds") for s in range(3)]
    runs = loaded.runs[loaded.runs["dataset"] == "birds"]
    ours, theirs = (dict(runs[runs["method"] == m].set_index("seed")[metric]) for m in ("smile", "fine_tuning"))
    wanted, birds = difference([ours[seed] - theirs[seed] for seed in range(3)]), frame[frame["dataset"] == "birds"]
    assert list(birds["difference"]) == list(wanted.values) == list(birds["left"] - birds["right"])
    (found,) = birds[["mean", "low", "high", "n", "p"]].drop_duplicates().to_numpy()
    assert tuple(found) == pytest.approx((wanted.mean, wanted.low, wanted.high, 3, wanted.p))


def test_a_wider_level_gives_a_wider_interval(loaded: LoadedSweep) -> None:
    narrow, wide = (loaded.paired("smile", "fine_tuning", level=level).iloc[0] for level in (0.9, 0.99))
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_absent_runs_are_listed_and_a_data_set_without_pairs_is_warned_of(tmp_path: Path) -> None:
    gone = tuple(item.run_id for item in GRID if item.dataset == "toys" and item.method == "smile")
    loaded = benchmark.load(written(tmp_path, holes=gone))
    assert tuple(loaded.absent["run_id"]) == gone
    assert set(loaded.absent["reason"]) == {"no record yet"}
    with pytest.warns(UserWarning, match="toys, 15 % of the labels: no finished seed of both smile and mixup"):
        assert set(loaded.paired("smile", "mixup")["dataset"]) == {"birds"}


def test_runs_that_saw_other_images_are_not_paired(tmp_path: Path) -> None:
    fakes.write_run(written(tmp_path), GRID[0], {"subset_hash": "other"})
    with pytest.raises(UsageError, match="trained on other images than fine_tuning at seed 0"):
        benchmark.load(tmp_path).paired("smile", "fine_tuning")


def test_runs_of_earlier_settings_are_left_out(tmp_path: Path) -> None:
    fakes.write_run(written(tmp_path, GRID[:6]), GRID[7])
    assert len(benchmark.load(tmp_path).runs) == 6


@pytest.mark.parametrize(("kind", "panels"), [("feature", 2), ("label", 2), ("difference", 2)])
def test_the_linearity_figure_has_a_column_per_split_and_a_line_per_method(loaded: LoadedSweep, kind, panels: int) -> None:
    figure = loaded.plot_linearity(kind, "test", dataset="birds")
    assert isinstance(figure, Figure)
    assert len(figure.axes) == panels
    assert figure.axes[0].get_title(loc="left") == "test pairs"
    if kind == "feature":
        means = (
            loaded.linearity.query("dataset == 'birds' and split == 'test' and method == 'smile'").groupby("lam")["feature_gap_rel"].mean()
        )
        assert list(figure.axes[0].get_lines()[0].get_ydata()) == pytest.approx(list(means))
        assert len(loaded.plot_linearity(dataset="birds", methods=["smile"]).axes) == 4


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda sweep: sweep.paired("smil", "mixup"), "unknown method 'smil'; did you mean 'smile'?"),
        (lambda sweep: sweep.paired("smile", "mixup", metric="accuracy"), "unknown metric 'accuracy'; did you mean 'test_accuracy'?"),
        (lambda sweep: sweep.paired("smile", "mixup", metric="device"), "unknown metric 'device'"),
        (lambda sweep: sweep.plot_linearity(), "2 figures for dataset=None fraction=None: choose one of dataset='toys' fraction=0.15"),
        (lambda sweep: sweep.plot_linearity(dataset="cats"), "0 figures for dataset='cats'"),
        (lambda sweep: sweep.plot_linearity("features", dataset="toys"), "unknown kind 'features'; did you mean 'feature'?"),
        (lambda sweep: sweep.plot_linearity(split="val", dataset="toys"), "unknown split 'val'"),
        (lambda sweep: sweep.plot_linearity(dataset="toys", methods=["bss"]), "unknown method 'bss'"),
    ],
)
def test_what_cannot_be_asked_is_refused(loaded: LoadedSweep, ask, words: str) -> None:
    with pytest.raises(UsageError) as refusal:
        ask(loaded)
    assert words in str(refusal.value)


def test_without_linearity_there_is_no_figure(tmp_path: Path) -> None:
    written(tmp_path, GRID[:2])
    for item in GRID[:2]:
        fakes.write_run(tmp_path, item, {"linearity": None})
    with pytest.raises(UsageError, match="no linearity was measured"):
        benchmark.load(tmp_path).plot_linearity()


def test_what_is_no_results_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it has no runs/"):
        benchmark.load(tmp_path / "missing")
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match=r"runs\.parquet: not there yet"):
        benchmark.load(tmp_path)
    (tmp_path / "runs.parquet").write_text("PAR1")
    with pytest.raises(UsageError, match=r"runs\.parquet is damaged"):
        benchmark.load(str(tmp_path))


def test_a_table_of_runs_without_a_run_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    rows = pd.read_parquet(tmp_path / "runs.parquet")
    rows.iloc[:0].to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(UsageError, match=r"runs\.parquet: it names no run"):
        benchmark.load(tmp_path)
    rows.assign(fraction=None).to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(UsageError, match=r"runs\.parquet is damaged"):
        benchmark.load(tmp_path)


def test_nothing_heavy_is_imported(folder: Path) -> None:
    code = (
        "import sys, benchmark\n"
        "assert not {'pandas', 'matplotlib', 'torch', 'yaml', 'numpy'} & set(sys.modules), 'by importing the package'\n"
        f"sweep = benchmark.load({str(folder)!r})\n"
        "sweep.paired('smile', 'mixup')\n"
        "assert not {'torch', 'timm', 'matplotlib'} & set(sys.modules), 'by reading records'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
