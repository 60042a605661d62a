"""What a sweep said it expected, decided from its records: supported, contradicted or undecided.

A claim is one number per unit, tested against its margin by a two-sided paired t-test. The unit is the seed on one data set (means over
the fractions, whose subsets are nested), and the data set where there are several. Holm's correction covers all applicable claims of the
file, with those that cannot be tested yet and those withdrawn late: where every true difference equals its margin, the chance that any
claim of a file is decided is at most 5 %, if the seeds were chosen before any result was seen.
"""

import datetime
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from benchmark.report.cells import MIN_PAIRS_TO_TEST, Cell, Group, NotPaired, given, hardware, paired_by_seed, percent
from benchmark.report.collect import StatedClaim
from benchmark.report.intervals import LEVEL, POWER, Interval, detectable_difference, holm, mean, paired_p, spread, t_interval
from benchmark.report.measures import CLAIMABLE
from benchmark.report.text import NONE, Table, Value, csv_text, signed_interval

ALPHA = 1 - LEVEL
CLOCKS_APART = datetime.timedelta(minutes=1)
"""By how much the clock of a machine that trains may be behind that of the one where a claim was kept."""

Verdict = Literal["supported", "contradicted", "undecided", "not applicable", "withdrawn"]

CLAIMS_CAPTION = (
    "Left minus right, with the 95 % t-interval over paired seeds, over data sets where there are several (each the mean over its "
    "fractions); accuracies in points. Verdict: two-sided paired t-test against the claim's margin at 5 %, Holm-corrected over all "
    "applicable claims of the file. Supported: the difference lies beyond the margin; contradicted: short of it; undecided: these runs "
    "cannot tell, which is no proof of equality. The interval is not corrected for the number of claims. Detectable: the distance from "
    "the margin at which a true difference is decided with at least 80 % probability, at this n, if the spread seen here is the true one, "
    "the correction included."
)


@dataclass(frozen=True)
class Decision:
    """What the records say of one claim.

    values: left minus right per unit, ``unit`` being ``seed`` or ``data set``, of ``expected`` ones. p: of the test against the margin,
    None below ``MIN_PAIRS_TO_TEST`` units or without spread; p_holm: over the ``family`` of claims that are corrected together, 0 for one
    that is none of them. reason: what is in the way of a test.
    """

    claim: StatedClaim
    verdict: Verdict = "undecided"
    values: tuple[float, ...] = ()
    unit: str = "seed"
    expected: int = 0
    p: float | None = None
    p_holm: float | None = None
    family: int = 0
    reason: str = ""

    @property
    def interval(self) -> Interval | None:
        return t_interval(self.values) if self.values else None

    @property
    def detectable(self) -> float | None:
        """Distance from the margin that is decided with probability ``POWER``, at Bonferroni's level: Holm decides at least as often."""
        if len(self.values) < MIN_PAIRS_TO_TEST or not (sd := spread(self.values)):
            return None
        return detectable_difference(sd, len(self.values), POWER, 1 - ALPHA / self.family)

    @property
    def excess(self) -> tuple[float, ...]:
        """Per unit how far the difference lies beyond the margin, in the claim's direction."""
        sign = 1 if self.claim.direction == "higher" else -1
        return tuple(sign * value - self.claim.margin for value in self.values)


def decide(claims: Sequence[StatedClaim], groups: Sequence[Group]) -> list[Decision]:
    """A decision per claim, in their order."""
    begun = _first_start(groups)
    found = [_measured(_dated(claim, begun), groups) for claim in claims]
    open_ = [n for n, decision in enumerate(found) if decision.verdict == "undecided"]
    withdrawn = sum(1 for decision in found if decision.verdict == "withdrawn")
    known = [1.0 if found[n].p is None else given(found[n].p) for n in open_]
    adjusted = holm([*known, *[1.0] * withdrawn])
    for n, p in zip(open_, adjusted, strict=False):
        found[n] = _judged(replace(found[n], family=len(adjusted)), p)
    return found


def _first_start(groups: Sequence[Group]) -> datetime.datetime | None:
    """When the first of the runs was started, as far as records say."""
    times = [time for group in groups for run in group.runs if (time := _time(run.record.get("started_at"))) is not None]
    return min(times, default=None)


def _time(text: object) -> datetime.datetime | None:
    try:
        found = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _dated(claim: StatedClaim, begun: datetime.datetime | None) -> StatedClaim:
    """The claim, ``added`` where it was first seen after a run had begun: the runs may have lain elsewhere when it was kept."""
    seen = _time(claim.first_seen)
    after = seen is not None and begun is not None and seen > begun + CLOCKS_APART
    return replace(claim, late="added") if after and not claim.late else claim


def _judged(decision: Decision, p_holm: float) -> Decision:
    if decision.p is None:
        return decision
    beyond = mean(decision.excess) > 0
    verdict: Verdict = "undecided" if p_holm >= ALPHA else "supported" if beyond else "contradicted"
    return replace(decision, p_holm=p_holm, verdict=verdict)


def _measured(claim: StatedClaim, groups: Sequence[Group]) -> Decision:
    """The claim with its values and p, not yet corrected."""
    if claim.withdrawn:
        return Decision(claim, "withdrawn")
    if not claim.applicable:
        return Decision(claim, "not applicable")
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    same = {name: [group for group in groups if group.dataset == name] for name in datasets}
    values: list[float] = []
    reasons: list[str] = []
    for found in same.values():
        try:
            by_seed = _of_data_set(claim, found)
            values += [mean(by_seed)] if len(same) > 1 else by_seed
        except NotPaired as error:
            reasons.append(str(error))
    expected = len(same) if len(same) > 1 else max((cell.expected for group in groups for cell in group.cells), default=0)
    decision = Decision(claim, values=tuple(values), unit="data set" if len(same) > 1 else "seed", expected=expected)
    if 0 < len(values) < MIN_PAIRS_TO_TEST:
        reasons.append(f"a test takes at least {MIN_PAIRS_TO_TEST} {decision.unit}s, here are {len(values)}")
    p = paired_p(decision.excess) if len(values) >= MIN_PAIRS_TO_TEST else None
    if p is None and len(values) >= MIN_PAIRS_TO_TEST:
        reasons.append(f"all {decision.unit}s show the same difference: there is no spread to judge it by")
    return replace(decision, p=p, reason="; ".join(dict.fromkeys(reasons)))


def _of_data_set(claim: StatedClaim, groups: Sequence[Group]) -> list[float]:
    """Left minus right by rising seed, a mean over the fractions, of the seeds that all fractions have; NotPaired where there are none."""
    read = CLAIMABLE[claim.metric, claim.split].read
    found = []
    for group in groups:
        left, right = group.cell(claim.left), group.cell(claim.right)
        place = f"{group.dataset} at {percent(group.fraction)}"
        if left is None or right is None or not (left.runs and right.runs):
            raise NotPaired(f"{place}: no finished run of {claim.left if left is None or not left.runs else claim.right}")
        try:
            found.append(paired_by_seed(left, right, read))
            if claim.metric == "seconds":
                _check_hardware(left, right)
        except NotPaired as error:
            raise NotPaired(f"{place}: {error}") from error
        if not all(map(math.isfinite, found[-1].values())):
            raise NotPaired(f"{place}: {claim.metric} is not finite in a run")
    seeds = sorted(set.intersection(*(set(values) for values in found)))
    if not seeds:
        raise NotPaired(f"{groups[0].dataset}: no seed is finished at all fractions")
    return [mean([values[seed] for values in found]) for seed in seeds]


def _check_hardware(left: Cell, right: Cell) -> None:
    """NotPaired where a seed of both was not run on the same hardware, shared alike: that, not the methods, may be the difference."""
    ours, theirs = ({run.seed: hardware(run) for run in cell.runs} for cell in (left, right))
    for seed in sorted(ours.keys() & theirs.keys()):
        if ours[seed] != theirs[seed]:
            places = [
                f"{method} on {device}, {threads} threads" + (f", {workers} workers per GPU" if workers > 1 else "")
                for method, (device, threads, workers) in ((left.method, ours[seed]), (right.method, theirs[seed]))
            ]
            raise NotPaired(f"times of different hardware at seed {seed}: {' and '.join(places)}")


def claims_table(decisions: Sequence[Decision]) -> Table:
    """One row per applicable claim; the notes say what is not, what was added, edited or withdrawn late, and what is in the way."""
    counts = Counter(decision.verdict for decision in decisions)
    order: tuple[Verdict, ...] = ("supported", "contradicted", "undecided", "not applicable", "withdrawn")
    title = "Claims: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict] or verdict in order[:3])
    rows = tuple(_row(decision) for decision in decisions if decision.verdict != "not applicable")
    columns = ("Claim", "Verdict", "Left − right", "n", "p (Holm)", "Detectable (80 %)", "States", "Stated")
    return Table(title, columns, rows, ("",) * len(rows), tuple(_notes(decisions)), compact=(0, 1, 2, 3, 4))


def _row(decision: Decision) -> tuple[Value, ...]:
    claim, found = decision.claim, decision.interval
    measure = CLAIMABLE[claim.metric, claim.split]
    count = str(len(decision.values)) if len(decision.values) == decision.expected else f"{len(decision.values)} of {decision.expected}"
    p, distance = decision.p_holm, decision.detectable
    return (
        Value(claim.name, claim.name),
        Value(decision.verdict, decision.verdict),
        Value(NONE) if found is None else Value(signed_interval(found.mean, found.low, found.high, measure.form), found.mean),
        Value(f"{count} {decision.unit}s", len(decision.values)) if decision.family else Value(NONE),
        Value(NONE) if p is None else Value("< 0.001" if p < 0.001 else f"{p:.3f}", p),
        Value(NONE) if distance is None else Value(measure.form.format(distance), distance),
        Value(claim.words, claim.words),
        Value(_stated(claim), claim.first_seen),
    )


def _stated(claim: StatedClaim) -> str:
    day = claim.first_seen[:10]
    when = f"{claim.late} after runs existed, {day}" if claim.late else f"before any run, {day}" if day else NONE
    return f"{when}; {' and '.join(claim.changed)} after results existed" if claim.changed else when


def _notes(decisions: Sequence[Decision]) -> list[str]:
    lines = []
    for decision in decisions:
        claim = decision.claim
        if claim.withdrawn:
            why = "" if claim.applicable else ", as this sweep lacks one of its methods now"
            lines.append(f"{claim.name}: withdrawn on {claim.withdrawn[:10]}, after runs existed{why}; it said: {claim.words}")
        elif claim.late == "edited":
            lines.append(
                f"{claim.name}: edited on {claim.first_seen[:10]}, after runs existed; before, it said: {'; then: '.join(claim.before)}"
            )
        if decision.reason:
            lines.append(f"{claim.name}: {decision.reason}")
    if late := sum(1 for d in decisions if d.family and d.claim.late):
        lines.append(f"{late} of these were added or edited after runs existed: whoever stated them may have seen the numbers")
    if changed := [d.claim for d in decisions if d.family and d.claim.changed]:
        what = " and ".join(dict.fromkeys(words for claim in changed for words in claim.changed))
        lines.append(f"{len(changed)} of these are not measured as was stated: {what} after results existed, and may have been for them")
    if absent := [d.claim for d in decisions if d.verdict == "not applicable"]:
        pairs = dict.fromkeys(f"{claim.left} against {claim.right}" for claim in absent)
        lines.append(f"{len(absent)} claims are not applicable, as this sweep does not have both methods: {', '.join(pairs)}")
    if partial := sum(1 for d in decisions if d.family and d.values and len(d.values) < d.expected):
        lines.append(f"{partial} of these rest on a part of the sweep: what is decided now may change with the runs that are missing")
    return lines


def claims_csv(decisions: Sequence[Decision]) -> str:
    """One row per claim with unrounded numbers; accuracies and their margins in points."""
    columns = (
        *("claim", "verdict", "metric", "split", "left", "right", "direction", "margin"),
        *("difference_mean", "difference_low", "difference_high", "n", "expected", "unit", "p", "p_holm", "detectable"),
        *("first_seen", "late", "before", "changed", "withdrawn", "reason"),
    )
    rows = []
    for d in decisions:
        c, found = d.claim, d.interval
        difference = (found.mean, found.low, found.high) if found else (None, None, None)
        about = (c.name, d.verdict, c.metric, c.split, c.left, c.right, c.direction, c.margin)
        tested = (len(d.values), d.expected, d.unit, d.p, d.p_holm, d.detectable)
        history = (c.first_seen, c.late, "; then: ".join(c.before), "; ".join(c.changed), c.withdrawn)
        rows.append([*about, *difference, *tested, *history, d.reason])
    return csv_text(columns, rows)
