"""A sweep of 10,000 runs is planned, looked at and collected in seconds, in little memory."""

from pathlib import Path

import pytest

from benchmark.config import grid
from benchmark.perf import scale

MARGIN = 2.5
"""Over the stated processor seconds, for slower machines; what it must catch, a cost per run that became a cost per pair, is far more."""


def test_a_cell_is_resolved_once_for_all_its_seeds_unless_an_override_picks_some(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = []
    original = grid._resolve
    monkeypatch.setattr(grid, "_resolve", lambda *args: resolved.append(args[1]) or original(*args))
    one = [{"match": {"seed": 7}, "set": {"training.lr": 0.5}}]
    found = grid.expand(grid.SweepFile.model_validate({**scale.SWEEP, "overrides": one}), [], "test")
    assert len(found.runs) == 10_000
    assert len(resolved) == 2 * 100
    assert [run.seed for run in found.runs[:100]] == list(range(100))
    assert {run.seed for run in found.runs if run.training.lr == 0.5} == {7}
    assert len({run.run_id for run in found.runs}) == 10_000


@pytest.mark.slow
def test_ten_thousand_runs(tmp_path: Path) -> None:
    for row in scale.measure(tmp_path):
        print(row)
        assert row.cost.memory < 500, row
        assert row.wanted is None or row.cost.cpu < MARGIN * row.wanted, row
