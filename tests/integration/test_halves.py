"""Two halves of a sweep, run in folders of their own and merged, are the undivided sweep, times apart."""

import json
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import benchmark
from benchmark.config import grid
from benchmark.exchange import merge as merging
from benchmark.exchange import pack as packing
from benchmark.exchange.conflicts import VARYING, conflicts
from benchmark.storage.run_folder import RunFolder
from benchmark.sweep import results
from benchmark.sweep.carry_out import create_folders, prepare_data
from benchmark.sweep.plan import make
from benchmark.training.run import train
from tests.integration.test_cli import sweep_file
from tests.runs import Notebook

CONSOLE = Console(quiet=True)
OF_TIMES = ("hours", "minutes", "images_per_second", "memory")


def carry_out(file: str, out: Path, *assignments: str) -> Path:
    """All runs of the sweep, one after the other in this process, and the report."""
    sweep = grid.load(file, assignments, out)
    prepare_data(sweep.runs, CONSOLE)
    plan = make(sweep, out)
    create_folders(plan)
    sweep.origin.keep_auto(sweep.runs, out)
    for item in plan.todo:
        train(item.config, Notebook(item.folder))
        RunFolder(item.folder).tidy()
    results.report(sweep, out)
    return out


def steady_table(path: Path) -> pd.DataFrame:
    """A table of a report without its columns of times, speed and memory."""
    frame = pd.read_csv(path)
    return frame[[name for name in frame if not any(word in name for word in OF_TIMES)]]


def drawn(out: Path) -> dict[str, str]:
    """The text files of a report, the name of its folder apart."""
    files = [*out.glob("tables/*"), *out.glob("figures/*.svg"), out / "report.html", out / "runs.csv", out / "sweep.yaml"]
    return {str(path.relative_to(out)): path.read_text().replace(f"--out {out.name}", "--out FOLDER") for path in files}


@pytest.mark.slow
def test_two_halves_merged_are_the_undivided_sweep(images: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = sweep_file(tmp_path, images, backbone)
    whole = carry_out(file, Path("whole"))
    first, second = (carry_out(file, Path(f"half{seed}"), f"seeds=[{seed}]") for seed in (0, 1))
    packing.run(["half1"], Path("half1.tar.gz"), Path("results"), CONSOLE)
    merged = Path("merged")
    assert merging.run([first, Path("half1.tar.gz")], file, [], merged, CONSOLE) == 0

    runs = sorted(path.name for path in (whole / "runs").iterdir())
    assert len(runs) == 4
    assert runs == sorted(path.name for path in (merged / "runs").iterdir())
    assert (whole / "auto.json").read_bytes() == (merged / "auto.json").read_bytes()
    for name in runs:
        ours, theirs = whole / "runs" / name, merged / "runs" / name
        assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
        assert conflicts(ours, theirs) == []
        for kept in ("config.yaml", "linearity.csv", "predictions.parquet"):
            assert (ours / kept).read_bytes() == (theirs / kept).read_bytes(), kept
    pd.testing.assert_frame_equal(*(steady_table(out / "tables" / "main.csv") for out in (whole, merged)), check_exact=True)
    pairs = [benchmark.load(out).paired("smile", "fine_tuning", metric="test_nll") for out in (whole, merged)]
    pd.testing.assert_frame_equal(*pairs, check_exact=True)

    for name in runs:  # with the same times, the reports are the same byte for byte
        ours, theirs = (json.loads((out / "runs" / name / "record.json").read_text()) for out in (whole, merged))
        (whole / "runs" / name / "record.json").write_text(json.dumps(ours | {key: theirs[key] for key in VARYING}))
    results.report(grid.load(file, [], whole), whole)
    assert drawn(whole) == drawn(merged)

    again = merging.merge([second, first], file, [], merged, CONSOLE)
    assert (again.copied, again.equal, again.problems) == (0, 4, ())
