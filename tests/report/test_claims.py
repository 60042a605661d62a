"""Claims decided: by hand, against scipy, and by their error rate and power on simulated sweeps whose truth is known."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.report.cells import Cell, Group, group_runs
from benchmark.report.claims import Decision, claims_csv, claims_table, decide
from benchmark.report.collect import Collected, Expected, StatedClaim, collect
from benchmark.report.intervals import detectable_difference
from tests.report import fakes

FILES = 400
METHODS = ("fine_tuning", "smile", "mixup", "l2_sp")


def claim(
    left: str = "smile", right: str = "fine_tuning", metric: str = "accuracy", direction: str = "higher", **other: object
) -> StatedClaim:
    name = f"{left} {direction} than {right}, {metric}"
    return StatedClaim(
        **{"name": name, "metric": metric, "split": "test", "left": left, "right": right, "direction": direction, "margin": 0.0, **other}
    )


def sweep(
    values: np.ndarray, methods: Sequence[str] = METHODS, datasets: Sequence[str] = ("toys",), fractions: Sequence[float] = (0.15,)
) -> tuple[Group, ...]:
    """Groups of ``values`` [data sets, fractions, methods, seeds] in percent; NaN for a run that is missing."""
    values = values.reshape(len(datasets), len(fractions), len(methods), -1)
    grid = fakes.grid(methods, datasets, fractions, seeds=values.shape[-1])
    accuracies = {}
    for e in grid:
        value = values[datasets.index(e.dataset), fractions.index(e.fraction), methods.index(e.method), e.seed]
        if not np.isnan(value):
            accuracies[e.dataset, e.fraction, e.method, e.seed] = value / 100
    return group_runs(fakes.info(methods), grid, fakes.in_memory(grid, accuracies))


def simulated(values: np.ndarray) -> list[Group]:
    """One group of ``values`` [methods, seeds], without the comparisons of tables, which claims do not need."""
    grid = fakes.grid(METHODS, seeds=values.shape[1])
    found = fakes.in_memory(grid, {(e.dataset, e.fraction, e.method, e.seed): values[METHODS.index(e.method), e.seed] / 100 for e in grid})
    cells = [Cell("toys", 0.15, m, tuple(r for r in found.runs if r.expected.method == m), values.shape[1]) for m in METHODS]
    return [Group("toys", 0.15, METHODS[0], tuple(cells))]


def draw(rng: np.random.Generator, n: int, effects: Sequence[float] = (), sd: float = 1.0) -> np.ndarray:
    """Accuracies [methods, seeds]: a seed's own effect, which all share, noise, and the methods' effects."""
    shift = np.zeros((len(METHODS), 1))
    shift[: len(effects), 0] = effects
    return 80 + shift + rng.normal(0, 2, n) + rng.normal(0, sd, (len(METHODS), n))


def chance(rate: float, files: int = FILES) -> tuple[int, int]:
    """Fewest and most files that an event of this rate hits, at 99 %."""
    low, high = stats.binom.interval(0.99, files, rate)
    return int(low), int(high)


FILE = (
    claim("smile", "fine_tuning"),
    claim("mixup", "fine_tuning", direction="lower"),
    claim("l2_sp", "fine_tuning"),
    claim("smile", "mixup"),
    claim("smile", "l2_sp", direction="lower"),
)


@pytest.mark.parametrize("n", [3, 10])
def test_under_the_null_at_most_five_percent_of_files_have_a_decided_claim(n: int) -> None:
    rng = np.random.default_rng(n)
    decided = [any(d.verdict != "undecided" for d in decide(FILE, simulated(draw(rng, n)))) for _ in range(FILES)]
    assert sum(decided) <= chance(0.05)[1]


def test_a_true_difference_of_exactly_the_margin_is_decided_in_five_percent_of_files() -> None:
    """One claim, so that Holm's correction leaves p as it is: the rate is 5 %, half of it supported."""
    rng = np.random.default_rng(1)
    stated = (claim("mixup", "fine_tuning", direction="lower", margin=1.5),)
    verdicts = [decide(stated, simulated(draw(rng, 5, (0, 0, -1.5))))[0].verdict for _ in range(FILES)]
    for verdict in ("supported", "contradicted"):
        low, high = chance(0.025)
        assert low <= verdicts.count(verdict) <= high


@pytest.mark.parametrize("n", [5, 10])
def test_a_planted_effect_is_decided_at_the_stated_power(n: int) -> None:
    """The spread is such that one point is stated to be found in 80 % of files; that of a difference is √2 times a run's."""
    spread = 1 / detectable_difference(1.0, n)
    rng = np.random.default_rng(20 + n)
    verdicts = [decide(FILE[:1], simulated(draw(rng, n, (0, 1), spread / 2**0.5)))[0].verdict for _ in range(FILES)]
    low, high = chance(0.8)
    assert low <= verdicts.count("supported") <= high
    assert verdicts.count("contradicted") <= 1


def test_among_several_claims_a_planted_effect_is_decided_at_least_at_the_stated_power() -> None:
    """The stated distance is Bonferroni's: one claim of five is true, and Holm gives it no less."""
    spread = 1 / detectable_difference(1.0, 10, level=1 - 0.05 / 5)
    rng = np.random.default_rng(30)
    found = [decide(FILE, simulated(draw(rng, 10, (0, 0, 0, 1), spread / 2**0.5)))[2] for _ in range(FILES)]
    assert sum(d.verdict == "supported" for d in found) >= chance(0.8)[0]


def test_the_stated_distance_is_that_of_the_observed_spread_and_the_correction() -> None:
    decision = decide(FILE, simulated(draw(np.random.default_rng(40), 10)))[0]
    assert decision.family == 5
    assert decision.detectable == pytest.approx(detectable_difference(float(np.std(decision.values, ddof=1)), 10, level=0.99))


SEEDS = np.array([[80.0, 82, 84, 83, 81], [84.0, 85.5, 88, 86.5, 85.5], [79.5, 82.5, 83.0, 83.5, 80.5], [80.0, 82, 84, 83, 81]])


def one(stated: StatedClaim, groups: Sequence[Group]) -> Decision:
    return decide([stated], groups)[0]


def test_a_claim_is_scipys_paired_test_against_its_margin() -> None:
    groups = sweep(SEEDS)
    for direction, margin in (("higher", 0.0), ("higher", 2.0), ("higher", 5.0), ("lower", -2.0), ("lower", 0.0)):
        found = one(claim(direction=direction, margin=margin), groups)
        beyond = (SEEDS[1] - SEEDS[0]) * (1 if direction == "higher" else -1) - margin
        expected = stats.ttest_1samp(beyond, 0)
        assert found.p == pytest.approx(expected.pvalue)
        assert found.p_holm == found.p
        verdict = "undecided" if expected.pvalue >= 0.05 else "supported" if expected.statistic > 0 else "contradicted"
        assert found.verdict == verdict
        low, high = stats.t.interval(0.95, 4, (SEEDS[1] - SEEDS[0]).mean(), stats.sem(SEEDS[1] - SEEDS[0]))
        assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert one(claim(margin=3.0), groups).verdict == "supported"
    assert one(claim(margin=6.0), groups).verdict == "contradicted"
    assert one(claim(direction="lower"), groups).verdict == "contradicted"
    assert one(claim("mixup"), groups).verdict == "undecided"


def test_holm_is_over_the_file_with_claims_that_cannot_be_tested_and_those_withdrawn_late() -> None:
    groups = sweep(SEEDS)
    alone = one(claim(), groups).p_holm
    untested = claim(metric="ece")
    withdrawn = claim("mixup", withdrawn="2026-01-01T00:00:00+00:00")
    absent = claim("rifle", applicable=False)
    found = decide([claim(), untested, absent, withdrawn], groups)
    assert [d.verdict for d in found] == ["supported", "undecided", "not applicable", "withdrawn"]
    assert found[0].p_holm == pytest.approx(3 * alone)
    assert (found[1].p, found[1].reason) == (None, "toys at 15 %: its records lack this measure")


def test_with_several_data_sets_the_data_set_is_the_unit() -> None:
    rng = np.random.default_rng(50)
    values = rng.normal(80, 3, (4, 2, len(METHODS), 5))
    groups = sweep(values, datasets=("a", "b", "c", "d"), fractions=(0.15, 0.5))
    found = one(claim(), groups)
    expected = (values[:, :, 1] - values[:, :, 0]).mean(axis=(1, 2))
    assert found.values == pytest.approx(tuple(expected))
    assert (found.unit, found.expected) == ("data set", 4)
    assert found.p == pytest.approx(stats.ttest_1samp(expected, 0).pvalue)


def test_fractions_of_one_data_set_are_one_value_per_seed() -> None:
    values = np.random.default_rng(51).normal(80, 3, (1, 2, len(METHODS), 5))
    values[0, 1, 1, 3] = np.nan  # smile at 50 %, seed 3
    found = one(claim(), sweep(values, fractions=(0.15, 0.5)))
    expected = (values[0, :, 1] - values[0, :, 0]).mean(axis=0)
    assert found.values == pytest.approx(tuple(np.delete(expected, 3)))
    assert (found.unit, len(found.values), found.expected) == ("seed", 4, 5)
    table = claims_table([found])
    assert table.rows[0][3].text == "4 of 5 seeds"
    assert "rest on a part of the sweep" in table.notes[-1]


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ((1, slice(2, 5)), "a test takes at least 3 seeds, here are 2"),
        ((1, slice(None)), "no finished run of smile"),
        ((0, slice(None)), "no finished run of fine_tuning"),
    ],
)
def test_too_few_runs_leave_a_claim_undecided_in_words(missing: tuple[int, slice], words: str) -> None:
    values = SEEDS.copy()
    values[missing] = np.nan
    found = one(claim(), sweep(values))
    assert (found.verdict, found.p) == ("undecided", None)
    assert words in found.reason


def test_equal_differences_at_all_seeds_decide_nothing() -> None:
    values = SEEDS.copy()
    values[1] = values[0] + 2
    found = one(claim(), sweep(values))
    assert (found.verdict, found.p_holm) == ("undecided", None)
    assert "no spread" in found.reason


def test_runs_on_other_images_are_not_paired() -> None:
    grid = fakes.grid(METHODS, seeds=3)
    found = fakes.in_memory(grid, {(e.dataset, e.fraction, e.method, e.seed): 0.8 for e in grid})
    runs = tuple(replace(r, record={**r.record, "subset_hash": r.expected.method}) if r.seed == 1 else r for r in found.runs)
    groups = group_runs(fakes.info(METHODS), grid, Collected(runs, (), 0, ""))
    assert "other images than fine_tuning at seed 1" in one(claim(), groups).reason


METRICS = [
    ("label_l1", "train", lambda r: r["linearity"]["train"]["label_l1"]),
    ("label_kl", "test", lambda r: r["linearity"]["test"]["label_kl"]),
    ("feature_rel", "test", lambda r: r["linearity"]["test"]["feature_rel"]),
    ("feature", "train", lambda r: r["linearity"]["train"]["feature"]),
    ("nll", "test", lambda r: r["test_nll"]),
    ("nll", "train", lambda r: r["train_loss"]),
    ("ece", "test", lambda r: r["test_ece"]),
    ("accuracy", "train", lambda r: 100 * r["train_accuracy"]),
    ("accuracy", "test", lambda r: 100 * r["test_accuracy"]),
    ("seconds", "test", lambda r: r["wall_seconds"]),
]


def test_every_metric_reads_its_field(tmp_path: Path) -> None:
    grid = fakes.grid(METHODS[:2], seeds=4)
    records = {}
    for n, item in enumerate(grid):
        own = {
            "test_nll": 1 + 0.1 * n**0.5,
            "test_ece": 0.05 + 0.01 * n**0.5,
            "train_accuracy": 0.9 - 0.01 * n**0.5,
            "train_loss": 0.2 + n**0.5,
        }
        records[item.method, item.seed] = fakes.write_run(tmp_path, item, own)
    groups = group_runs(fakes.info(METHODS[:2]), grid, collect(tmp_path, grid))
    found = decide([claim(metric=metric, split=split) for metric, split, _ in METRICS], groups)
    for decision, (metric, split, read) in zip(found, METRICS, strict=True):
        expected = [read(records["smile", seed]) - read(records["fine_tuning", seed]) for seed in range(4)]
        assert decision.values == pytest.approx(tuple(expected)), (metric, split)


def late() -> list[StatedClaim]:
    day = "2026-11-26T10:00:00+00:00"
    return [
        claim(first_seen="2026-11-01T10:00:00+00:00"),
        claim("mixup", first_seen=day, late="added"),
        claim("l2_sp", first_seen=day, late="edited", before=("l2_sp lower than fine_tuning in accuracy on test (stated on 2026-11-01)",)),
        claim("smile", "mixup", first_seen=day, withdrawn=day),
        claim("rifle", applicable=False),
    ]


def test_the_table_says_what_was_added_edited_and_withdrawn_late() -> None:
    table = claims_table(decide(late(), sweep(SEEDS)))
    assert table.title == "Claims: 1 supported, 0 contradicted, 2 undecided, 1 not applicable, 1 withdrawn"
    rows = {row[0].text: [value.text for value in row] for row in table.rows}
    assert rows["smile higher than fine_tuning, accuracy"][1:4] == ["supported", "+3.9 [3.4, 4.4]", "5 seeds"]
    assert rows["smile higher than fine_tuning, accuracy"][-2:] == [
        "smile higher than fine_tuning in accuracy on test",
        "before any run, 2026-11-01",
    ]
    assert rows["mixup higher than fine_tuning, accuracy"][-1] == "added after runs existed, 2026-11-26"
    assert rows["l2_sp higher than fine_tuning, accuracy"][-1] == "edited after runs existed, 2026-11-26"
    assert "rifle higher than fine_tuning, accuracy" not in rows
    notes = "\n".join(table.notes)
    assert "before, it said: l2_sp lower than fine_tuning in accuracy on test (stated on 2026-11-01)" in notes
    assert "withdrawn on 2026-11-26, after runs existed; it said: smile higher than mixup" in notes
    assert "2 of these were added or edited after runs existed" in notes
    assert "1 claims are not applicable, as this sweep does not have both methods: rifle against fine_tuning" in notes


@pytest.mark.parametrize(
    ("first_seen", "shown"),
    [
        ("1999-12-31T23:00:00+00:00", "before any run, 1999-12-31"),
        ("2000-01-01T00:00:30+00:00", "before any run, 2000-01-01"),  # within what clocks may differ by
        ("2000-01-01T01:30:00+02:00", "before any run, 2000-01-01"),
        ("2000-01-01T00:01:30+00:00", "added after runs existed, 2000-01-01"),
        ("2026-01-01T00:00:00+00:00", "added after runs existed, 2026-01-01"),
    ],
)
def test_a_claim_that_is_newer_than_the_first_run_was_added(first_seen: str, shown: str, tmp_path: Path) -> None:
    grid = fakes.grid(METHODS[:2], seeds=4)
    fakes.write_sweep(tmp_path, grid)
    (decision,) = decide([claim(first_seen=first_seen)], group_runs(fakes.info(METHODS[:2]), grid, collect(tmp_path, grid)))
    table = claims_table([decision])
    assert table.rows[0][-1].text == shown
    assert (decision.claim.late == "added") is shown.startswith("added")
    assert any("whoever stated them may have seen" in note for note in table.notes) is shown.startswith("added")


@pytest.mark.parametrize("started_at", [None, "", "yesterday", 3, "2000-01-01T00:00:00"])
def test_a_record_without_a_sound_time_says_nothing_of_a_claim(started_at: object, tmp_path: Path) -> None:
    grid = fakes.grid(METHODS[:2], seeds=3)
    for item in grid:
        fakes.write_run(tmp_path, item, {"started_at": started_at})
    (decision,) = decide(
        [claim(first_seen="2000-01-01T00:00:00+00:00")], group_runs(fakes.info(METHODS[:2]), grid, collect(tmp_path, grid))
    )
    assert decision.claim.late == ""


def test_the_table_says_what_is_no_more_measured_as_was_stated() -> None:
    seen = "2026-11-01T10:00:00+00:00"
    stated = [
        claim(first_seen=seen, changed=("seeds were added", "settings of its methods were changed")),
        claim("mixup", first_seen=seen),
        claim("rifle", first_seen=seen, applicable=False, withdrawn="2026-11-02T10:00:00+00:00"),
    ]
    decisions = decide(stated, sweep(SEEDS))
    assert [d.family for d in decisions] == [3, 3, 0], "what was dropped is still corrected for"
    table = claims_table(decisions)
    words = "seeds were added and settings of its methods were changed after results existed"
    assert [row[-1].text for row in table.rows[:2]] == [f"before any run, 2026-11-01; {words}", "before any run, 2026-11-01"]
    notes = "\n".join(table.notes)
    assert f"1 of these are not measured as was stated: {words}" in notes
    assert "withdrawn on 2026-11-02, after runs existed, as this sweep lacks one of its methods now; it said: rifle higher" in notes
    rows = list(csv.DictReader(io.StringIO(claims_csv(decisions))))
    assert rows[0]["changed"] == "seeds were added; settings of its methods were changed"


@pytest.mark.parametrize("change", [{"device": "A GPU"}, {"threads": 8}])
def test_times_of_different_hardware_are_not_compared(change: dict[str, object], tmp_path: Path) -> None:
    grid = fakes.grid(METHODS[:2], seeds=4)
    for item in grid:
        faster = item.method == "smile" and item.seed == 2
        fakes.write_run(tmp_path, item, change if faster else {})
    groups = group_runs(fakes.info(METHODS[:2]), grid, collect(tmp_path, grid))
    times, accuracy = decide([claim(metric="seconds"), claim()], groups)
    assert (times.verdict, times.p, times.values) == ("undecided", None, ())
    assert "toys at 15 %: times of different hardware at seed 2: smile on " in times.reason
    assert accuracy.p is not None
    for item in grid:
        fakes.write_run(tmp_path, item, change if item.seed == 2 else {})
    groups = group_runs(fakes.info(METHODS[:2]), grid, collect(tmp_path, grid))
    assert len(decide([claim(metric="seconds")], groups)[0].values) == 4, "both of a seed on the same"


def test_a_loss_that_overflowed_decides_nothing(tmp_path: Path) -> None:
    grid = fakes.grid(METHODS[:2], seeds=4)
    for item in grid:
        fakes.write_run(tmp_path, item, {"test_nll": float("inf") if item.seed == 1 else 0.5 + 0.1 * item.seed})
    (found,) = decide([claim(metric="nll")], group_runs(fakes.info(METHODS[:2]), grid, collect(tmp_path, grid)))
    assert (found.verdict, found.reason) == ("undecided", "toys at 15 %: nll is not finite in a run")


def test_the_csv_has_unrounded_numbers() -> None:
    decisions = decide(late(), sweep(SEEDS))
    rows = list(csv.DictReader(io.StringIO(claims_csv(decisions))))
    assert [row["verdict"] for row in rows] == [d.verdict for d in decisions]
    assert float(rows[0]["p_holm"]) == decisions[0].p_holm
    assert float(rows[0]["difference_low"]) == decisions[0].interval.low
    assert (rows[2]["late"], rows[2]["before"]) == ("edited", late()[2].before[0])


def test_expected_runs_without_any_record_are_undecided() -> None:
    grid: list[Expected] = fakes.grid(METHODS, seeds=5)
    groups = group_runs(fakes.info(METHODS), grid, fakes.in_memory(grid, {}))
    assert [d.verdict for d in decide(FILE, groups)] == ["undecided"] * 5
