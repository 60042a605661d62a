"""From the sweep file to the report: claims are kept before the runs, decided from records, and marked where they came late."""

import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.config import grid, kept_claims
from benchmark.config.grid import Sweep
from benchmark.report.collect import Expected
from benchmark.sweep import results
from tests.report import fakes

CLAIM = {"name": "nearer", "metric": "accuracy", "left": "l2_sp", "right": "fine_tuning", "direction": "higher"}


def load(folder: Path, *claims: dict[str, Any]) -> Sweep:
    content = {"name": "x", "datasets": ["digits"], "methods": ["fine_tuning", "l2_sp"], "seeds": 4, "runtime": {"device": "cpu"}}
    (folder / "x.yaml").write_text(yaml.safe_dump(content | {"claims": list(claims), "columns": ["nll"]}))
    return grid.load(str(folder / "x.yaml"), out=folder / "out")


def finish(sweep: Sweep, out: Path) -> None:
    """Records for every run: l2_sp is two points better, give or take."""
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    for run in sweep.runs:
        item = Expected(run.run_id, run.dataset, run.fraction, run.method, run.seed)
        better = 0.02 + 0.001 * run.seed if run.method == "l2_sp" else 0.0
        fakes.write_run(out, item, {"test_accuracy": 0.8 + better, "test_nll": 0.5, "started_at": started})


def lines(folder: Path, command: str) -> str:
    found = CliRunner().invoke(app, [command, str(folder / "x.yaml"), "--out", str(folder / "out")])
    assert found.exit_code == 0, found.output
    return " ".join(found.output.split())


@pytest.mark.parametrize("command", ["plan", "status"])
def test_plan_and_status_mention_late_claims_in_a_line(command: str, tmp_path: Path) -> None:
    sweep = load(tmp_path, CLAIM)
    (tmp_path / "out").mkdir()
    kept_claims.keep(tmp_path / "out", sweep.claims)
    finish(sweep, tmp_path / "out")
    assert "claims:" not in lines(tmp_path, command)
    load(tmp_path, CLAIM | {"direction": "lower"}, CLAIM | {"name": "more"})
    assert "claims: 1 added, 1 edited after runs existed, of 2" in lines(tmp_path, command)


@pytest.mark.slow
def test_the_report_decides_and_marks_what_was_edited(tmp_path: Path) -> None:
    sweep, out = load(tmp_path, CLAIM), tmp_path / "out"
    out.mkdir()
    kept_claims.keep(out, sweep.claims)
    finish(sweep, out)
    first = results.report(sweep, out)
    assert first.tables[-1].title == "Claims: 1 supported, 0 contradicted, 0 undecided"
    assert "NLL" in first.tables[0].columns
    assert not results.report(sweep, out).redrawn
    text = (out / "tables" / "claims.md").read_text(encoding="utf-8")
    assert "before any run" in text
    again = results.report(load(tmp_path, CLAIM | {"margin": 5.0}), out)
    assert again.redrawn
    assert again.tables[-1].title == "Claims: 0 supported, 1 contradicted, 0 undecided"
    for name in ("tables/claims.md", "report.html"):
        shown = (out / name).read_text(encoding="utf-8")
        assert "edited after runs existed" in shown
        assert "before, it said: l2_sp higher than fine_tuning in accuracy on test (stated on" in shown
    assert "edited" in (out / "tables" / "claims.csv").read_text(encoding="utf-8")
    assert "tabular" in (out / "tables" / "claims.tex").read_text(encoding="utf-8")
    dropped = results.report(load(tmp_path), out)
    assert dropped.tables[-1].title == "Claims: 0 supported, 0 contradicted, 0 undecided, 1 withdrawn"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("assignment", "title", "words"),
    [
        (
            "l2_sp.alpha=0.5",
            "Claims: 0 supported, 0 contradicted, 1 undecided",
            "settings of its methods were changed after results existed",
        ),
        ("seeds=5", "Claims: 1 supported, 0 contradicted, 0 undecided", "seeds were added after results existed"),
        ("seeds=[0,1,3]", "Claims: 1 supported, 0 contradicted, 0 undecided", "seeds were changed after results existed"),
        (
            "methods=[fine_tuning]",
            "Claims: 0 supported, 0 contradicted, 0 undecided, 1 withdrawn",
            "after runs existed, as this sweep lacks one of its methods now",
        ),
    ],
)
def test_the_report_marks_a_claim_that_is_not_measured_as_was_stated(assignment: str, title: str, words: str, tmp_path: Path) -> None:
    stated, out = load(tmp_path, CLAIM), tmp_path / "out"
    out.mkdir()
    kept_claims.keep(out, stated.claims)
    finish(stated, out)
    other = results.report(grid.load(str(tmp_path / "x.yaml"), [assignment], out), out)
    assert other.tables[-1].title == title
    assert words in (out / "tables" / "claims.md").read_text(encoding="utf-8")
    results.report(stated, out)
    back = (out / "tables" / "claims.md").read_text(encoding="utf-8")
    assert "Claims: 1 supported" in back
    assert "before any run" in back
    assert words not in back
