"""The report's words: what the numbers say, and what they cannot say."""

from collections import Counter
from collections.abc import Sequence

from benchmark.report.across import Across, across_notes
from benchmark.report.cells import MIN_PAIRS_TO_TEST, Cell, Group, given
from benchmark.report.collect import Collected, Expected
from benchmark.report.effects import ablation_words
from benchmark.report.intervals import Interval
from benchmark.report.measures import gap
from benchmark.report.tables import interval_value

ALPHA = 0.05
ACROSS = "Across data sets"


def summarise(groups: Sequence[Group], across: Across, expected: Sequence[Expected], found: Collected) -> dict[str, list[str]]:
    """Sentences under headings: on completeness, on all data sets together, on each group that has a finished run."""
    heads = {"Runs": _completeness(expected, found), ACROSS: [*_tally(groups), *_across(across)]}
    return heads | {group.title: _group(group) for group in groups if group.runs}


def _tally(groups: Sequence[Group]) -> list[str]:
    """In how many of several tables each method differs from the baseline; nothing for a single table."""
    tested = [cell for group in groups for cell in group.cells if cell.p_holm is not None]
    if len(groups) < 2 or not tested:
        return []
    higher, lower = (
        Counter(c.method for c in tested if given(c.p_holm) < ALPHA and sign * given(c.difference).mean > 0) for sign in (1, -1)
    )
    tables = Counter(cell.method for cell in tested)
    rows = [
        f"{method} {higher[method]} higher, {lower[method]} lower of {tables[method]}"
        for method in tables
        if higher[method] + lower[method]
    ]
    text = f"Tables in which a method differs from {groups[0].baseline} at 5 %, Holm-corrected within each table alone: "
    return [text + ("; ".join(rows) if rows else "none") + "."]


def _across(across: Across) -> list[str]:
    if not across.ranks:
        return [across.refused]
    best = min(range(len(across.ranks)), key=across.ranks.__getitem__)
    text = f"The lowest mean rank over {len(across.blocks)} data sets is {across.methods[best]}'s, {across.ranks[best]:.2f}"
    return [f"{text} of {len(across.ranks)} methods.", *(f"{note}." for note in across_notes(across)[1:])]


def _completeness(expected: Sequence[Expected], found: Collected) -> list[str]:
    methods, datasets, fractions = (len({getattr(e, name) for e in expected}) for name in ("method", "dataset", "fraction"))
    seeds = max(Counter((e.dataset, e.fraction, e.method) for e in expected).values(), default=0)
    text = f"{len(found.runs)} of {len(expected)} runs are in these numbers: {_count(methods, 'method')}, {_count(seeds, 'seed')} each, on "
    sentences = [text + f"{_count(datasets, 'data set')} at {_count(fractions, 'fraction')} of the labels."]
    states = Counter(item.state for item in found.absent)
    if states:
        sentences.append(
            "Not in the numbers: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items())) + " (listed below)."
        )
    if found.extra:
        sentences.append(f"{_count(found.extra, 'run folder')} of other settings {'was' if found.extra == 1 else 'were'} left out.")
    return sentences


def _group(group: Group) -> list[str]:
    base = group.cell(group.baseline)
    sentences = []
    if base and base.accuracy:
        sentences.append(f"{group.baseline} (the baseline) reaches {interval_value(base.accuracy).text} % test accuracy.")
    return sentences + _highest(group) + _tested(group) + _linearity(group) + ablation_words(group)


def _highest(group: Group) -> list[str]:
    cells = [cell for cell in group.cells if cell.accuracy]
    if len(cells) < 2:
        return []
    best = max(cells, key=lambda cell: given(cell.accuracy).mean)
    text = f"The highest of {len(cells)} means is {best.method}'s, {interval_value(given(best.accuracy)).text} %"
    if best.n < best.expected:
        text += f" (from {best.n} of {best.expected} seeds only)"
    if best.difference:
        text += f", {_signed(best.difference)} points from the baseline over {_count(best.difference.n, 'pair')}"
    return [text + "; being picked as the highest flatters it."]


def _tested(group: Group) -> list[str]:
    tested = [cell for cell in group.cells if cell.p_holm is not None]
    if not tested:
        return [f"No method was tested against the baseline: that takes at least {MIN_PAIRS_TO_TEST} seeds shared with it."]
    differing = [cell for cell in tested if given(cell.p_holm) < ALPHA]
    text = f"{len(differing) or 'None'} of {_count(len(tested), 'tested method')} {'differs' if len(differing) == 1 else 'differ'} "
    text += "from the baseline at 5 % after Holm's correction"
    text += f": {', '.join(f'{c.method} ({_signed(given(c.difference))})' for c in differing)}." if differing else "."
    return [text if len(differing) == len(tested) else f"{text} {_blind_spot(tested)}"]


def _blind_spot(tested: Sequence[Cell]) -> str:
    known = [found for cell in tested if (found := given(cell.difference).detectable_among(len(tested))) is not None]
    limit = (
        f"true differences below {max(known):.1f} points can go unnoticed here, the correction included"
        if known
        else "the spread over seeds is unknown"
    )
    return f"Finding no difference is no proof of equality: {limit}."


def _linearity(group: Group) -> list[str]:
    sentences = []
    for kind, name in (("relative feature gap", "feature_rel"), ("label gap (L1)", "label_l1")):
        known = {cell.method: interval for cell in group.cells if (interval := cell.interval(gap("test", name)))}
        if len(known) < 2:
            continue
        least = min(known, key=lambda method: known[method].mean)
        text = f"The smallest mean {kind} on test pairs is {least}'s, {interval_value(known[least], '{:.3f}').text}"
        if group.baseline in known and least != group.baseline:
            text += f" (baseline: {interval_value(known[group.baseline], '{:.3f}').text})"
        sentences.append(text + ".")
    return sentences


def _signed(difference: Interval) -> str:
    return interval_value(difference, "{:+.1f}").text.replace("-", "−")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
