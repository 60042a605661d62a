"""Deleting any runs changes n and the marks, and what is left says so: never silently a mean."""

import csv
import io
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.report.across import compare_across, overview_tables
from benchmark.report.cells import Group, group_runs
from benchmark.report.intervals import mean
from benchmark.report.summary import summarise
from benchmark.report.tables import main_csv, main_table
from tests.report import fakes

METHODS = ("fine_tuning", "smile", "linear_probe")
GRID = fakes.grid(METHODS, ("toys", "animals"), (0.5,), seeds=5)
VALUES = {
    (e.dataset, e.fraction, e.method, e.seed): 0.7 + 0.02 * e.seed + 0.05 * METHODS.index(e.method) + 0.001 * (n * 7 % 5)
    for n, e in enumerate(GRID)
}


def built(deleted: set[int]) -> tuple[Group, ...]:
    kept = {key: value for n, (key, value) in enumerate(VALUES.items()) if n not in deleted}
    return group_runs(fakes.info(METHODS), GRID, fakes.in_memory(GRID, kept))


def check(deleted: set[int]) -> None:
    groups = built(deleted)
    gone = [GRID[n] for n in deleted]
    rows = {(row["dataset"], row["method"]): row for row in csv.DictReader(io.StringIO(main_csv(groups)))}
    for group in groups:
        table = main_table(group)
        holes = [item for item in gone if item.dataset == group.dataset]
        for cell, row in zip(group.cells, table.rows, strict=True):
            missing = [item.seed for item in holes if item.method == cell.method]
            left = [100 * VALUES[group.dataset, 0.5, cell.method, seed] for seed in range(5) if seed not in missing]
            assert cell.n == len(left) == int(rows[group.dataset, cell.method]["n"])
            assert row[2].text == ("5" if not missing else f"{len(left)} of 5")
            assert (row[1].text == "–") == (not left)
            if left:
                assert cell.accuracy.mean == pytest.approx(mean(left))
            for seed in missing:
                assert any(note.startswith(f"{cell.method}, seed {seed}: missing") for note in table.notes)
            if cell.difference:
                base = {item.seed for item in holes if item.method == group.baseline}
                assert cell.difference.n == 5 - len({*missing, *base})
        assert bool([cell for cell in group.cells if cell.mark]) == (not holes)
    for table, group in zip(overview_tables(groups), groups, strict=True):
        for cell, row in zip(group.cells, table.rows, strict=True):
            assert row[1].text == "–" if not cell.n else row[1].text.endswith("(5)" if cell.n == 5 else f"({cell.n} of 5)")
    across = compare_across(groups)
    found = fakes.in_memory(GRID, {k: v for n, (k, v) in enumerate(VALUES.items()) if n not in deleted})
    assert f"{30 - len(deleted)} of 30 runs" in summarise(groups, across, GRID, found)["Runs"][0]


@pytest.mark.parametrize("size", [0, 1, 2])
def test_every_deletion_of_up_to_two_runs_shows(size: int) -> None:
    for deleted in combinations(range(15), size):
        check(set(deleted))


@given(st.sets(st.integers(0, len(GRID) - 1)))
@settings(max_examples=60, deadline=None)
def test_any_deletion_shows(deleted: set[int]) -> None:
    check(deleted)
