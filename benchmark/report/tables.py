"""The main table: from cells to text entries, and to CSV with unrounded numbers; and notes where its runs were given unlike images."""

from collections.abc import Callable, Sequence

from benchmark.report.cells import (
    Cell,
    Group,
    Hours,
    hours_of,
    large_terms,
    term_ratios,
)
from benchmark.report.collect import ALSO_TEST, Run
from benchmark.report.intervals import MIN_UNITS_TO_RESAMPLE, Interval
from benchmark.report.made_with import DECODE, DIVISION
from benchmark.report.measures import (
    COLUMNS,
    LOSS_RATIOS,
    Measure,
    gap,
    images_per_second,
    mean_class_accuracy,
    minutes,
    on_second,
    peak_memory_mib,
)
from benchmark.report.text import NONE, Table, Value, csv_text, signed

_Column = tuple[str, Callable[[Cell], Value], bool]
"""(title, value, whether a narrow terminal shows it)."""


def main_table(group: Group, asked: Sequence[str] = ()) -> Table:
    """The main table of one data set × fraction; every cell states its seeds, every absence is a note. asked: columns of the sweep file."""
    columns = _with_asked(_columns(group), asked)
    return Table(
        title=group.title,
        columns=tuple(title for title, _, _ in columns),
        rows=tuple(tuple(value(cell) for _, value, _ in columns) for cell in group.cells),
        marks=tuple(cell.mark for cell in group.cells),
        notes=tuple(notes(group)),
        compact=tuple(i for i, (_, _, compact) in enumerate(columns) if compact),
    )


def _columns(group: Group) -> list[_Column]:
    hours = hours_of(group.runs)
    bootstrap = (
        [("Bootstrap interval (points)", _bootstrap, False)] if any(c.difference and c.difference.bootstrap for c in group.cells) else []
    )
    return [
        ("Method", _method, True),
        ("Accuracy (%)", lambda c: interval_value(c.accuracy), True),
        ("Seeds", _seeds, True),
        (f"Difference to {group.baseline} (points)", lambda c: difference_value(c, group.baseline), True),
        *bootstrap,
        ("p (Holm)", p_value, False),
        ("Mean-class accuracy (%)", lambda c: interval_value(c.interval(mean_class_accuracy)), False),
        *(column for name in group.second_tests for column in _second_columns(name)),
        ("Feature gap, train", lambda c: interval_value(c.interval(gap("train", "feature_rel")), "{:.3f}"), False),
        ("Feature gap, test", lambda c: interval_value(c.interval(gap("test", "feature_rel")), "{:.3f}"), True),
        ("Label gap, train", lambda c: interval_value(c.interval(gap("train", "label_l1")), "{:.3f}"), False),
        ("Label gap, test", lambda c: interval_value(c.interval(gap("test", "label_l1")), "{:.3f}"), True),
        ("Images/s", lambda c: _mean(c.interval(images_per_second), "{:.0f}"), False),
        ("Minutes", lambda c: _mean(c.interval(minutes), "{:.2f}"), True),
        (f"{hours.unit[0].upper()}{hours.unit[1:]}, total", lambda c: _hours(c, hours), False),
        ("Peak memory (MiB)", lambda c: _mean(c.interval(peak_memory_mib), "{:.0f}"), False),
    ]


def _with_asked(columns: list[_Column], asked: Sequence[str]) -> list[_Column]:
    """The columns and those asked for; one that is there already is shown by a narrow terminal, too."""
    titles = {name: COLUMNS[name].title if name in COLUMNS else "Loss terms (× cross-entropy)" for name in asked}
    shown = [(title, value, compact or title in titles.values()) for title, value, compact in columns]
    there = {title for title, _, _ in columns}
    new = [(titles[name], _asked_value(name), True) for name in asked if titles[name] not in there]
    return [*shown, *new]


def _asked_value(name: str) -> Callable[[Cell], Value]:
    if name == LOSS_RATIOS:
        return lambda cell: Value(", ".join(f"{term} {ratio:.2g}" for term, ratio in term_ratios(cell).items()) or NONE)
    return lambda cell: _measured(cell, COLUMNS[name])


def _measured(cell: Cell, measure: Measure) -> Value:
    """Mean ± half width, with the number of runs where not all of the cell have it."""
    interval = cell.interval(measure.read)
    if interval is None:
        return Value(NONE)
    value = interval_value(interval, measure.form)
    return value if interval.n == cell.n else Value(f"{value.text} ({interval.n} of {cell.n})", interval.mean)


def _second_columns(name: str) -> list[tuple[str, Callable[[Cell], Value], bool]]:
    """Those of a second test set."""
    accuracy, of_classes = on_second(name, "accuracy"), on_second(name, "mean_class_accuracy")
    nll, ece = on_second(name, "nll"), on_second(name, "ece")
    return [
        (f"Accuracy on {name} (%)", lambda c: interval_value(c.interval(accuracy)), True),
        (f"Mean-class accuracy on {name} (%)", lambda c: interval_value(c.interval(of_classes)), False),
        (f"NLL on {name}", lambda c: interval_value(c.interval(nll), "{:.3f}"), False),
        (f"ECE on {name}", lambda c: interval_value(c.interval(ece), "{:.3f}"), False),
    ]


def _method(cell: Cell) -> Value:
    return Value(cell.method + ("‡" if cell.mixed else ""), cell.method)


def _seeds(cell: Cell) -> Value:
    return Value(str(cell.n) if cell.n == cell.expected else f"{cell.n} of {cell.expected}", cell.n)


def interval_value(interval: Interval | None, form: str = "{:.1f}") -> Value:
    """``mean ± half width``, the mean alone for one value."""
    if interval is None:
        return Value(NONE)
    text = form.format(interval.mean)
    if interval.half_width is not None:
        text += f" ± {form.replace('+', '').format(interval.half_width)}"
    return Value(text, interval.mean)


def difference_value(cell: Cell, baseline: str) -> Value:
    """The paired difference to the baseline, with its pairs where seeds are missing, or why there is none."""
    if cell.method == baseline:
        return Value("baseline", 0.0)
    if cell.difference is None:
        return Value("not paired" if cell.n else NONE)
    value = interval_value(cell.difference, "{:+.1f}")
    text = signed(cell.difference.mean) + value.text[len(f"{cell.difference.mean:+.1f}") :]
    if cell.difference.n != cell.n or cell.n != cell.expected:
        text += f" ({cell.difference.n} pair{'s' if cell.difference.n > 1 else ''})"
    return Value(text, value.sort)


def _bootstrap(cell: Cell) -> Value:
    found = cell.difference.bootstrap if cell.difference else None
    if found is None:
        return Value(NONE)
    low, high = (signed(end).removeprefix("+") for end in found)
    return Value(f"[{low}, {high}]", sum(found) / 2)


def _hours(cell: Cell, hours: Hours) -> Value:
    total = hours.total(cell.runs)
    return Value(NONE) if total is None else Value(f"{total:.2f}" if total < 100 else f"{total:.0f}", total)


def p_value(cell: Cell) -> Value:
    """The Holm-corrected p-value."""
    if cell.p_holm is None:
        return Value(NONE)
    return Value("< 0.001" if cell.p_holm < 0.001 else f"{cell.p_holm:.3f}", cell.p_holm)


def _mean(interval: Interval | None, form: str) -> Value:
    return Value(NONE) if interval is None else Value(form.format(interval.mean), interval.mean)


def notes(group: Group) -> list[str]:
    """What a reader must know about the cells of ``group``: absences, refused pairs, hardware, power."""
    lines = []
    for cell in group.cells:
        lines += [f"{cell.method}, seed {a.expected.seed}: {a.state} ({a.reason})" for a in cell.absent]
        lines += [f"{cell.method}, seed {run.seed}: runs/{run.expected.run_id}/{line}" for run in cell.runs for line in run.damage()]
        lines += large_terms(cell.method, term_ratios(cell), "means over the run")
        if cell.n == 1:
            lines.append(f"{cell.method}: one seed, so no interval can be given")
        if cell.refused and cell.n and cell.method != group.baseline:
            lines.append(f"{cell.method}: no difference given: {cell.refused}")
        if cell.mixed:
            lines.append(f"‡ {cell.method}: its runs mix devices, thread counts or workers per GPU: rates and minutes are not comparable")
    if len({frozenset(cell.hardware) for cell in group.cells if cell.runs}) > 1:
        lines.append("Not all methods ran on the same device and thread count: compare rates and minutes with care")
    return lines + _power(group) + _resampling(group) + _marks(group)


def _power(group: Group) -> list[str]:
    found = sorted((c.difference.detectable, c.difference.n) for c in group.cells if c.difference and c.difference.detectable is not None)
    if not found:
        return []
    smallest, largest = found[0][0], found[-1][0]
    span = f"{smallest:.1f}" if f"{smallest:.1f}" == f"{largest:.1f}" else f"{smallest:.1f} to {largest:.1f}"
    pairs = sorted({n for _, n in found})
    count = str(pairs[0]) if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]}"
    return [
        f"With {count} pairs of seeds, and if the spread seen here is the true one, a paired t-test (5 %, uncorrected) finds a true "
        f"difference of {span} points, depending on the method, with 80 % probability; smaller ones will mostly be missed"
    ]


def _resampling(group: Group) -> list[str]:
    counts = [cell.difference.n for cell in group.cells if cell.difference]
    if counts and max(counts) >= MIN_UNITS_TO_RESAMPLE:
        return [
            "Bootstrap: 95 % interval of the mean difference, bias-corrected and accelerated, over resampled pairs of seeds; "
            "it does not assume normality"
        ]
    return [f"No bootstrap interval is given: resampling takes at least {MIN_UNITS_TO_RESAMPLE} pairs of seeds"]


def _marks(group: Group) -> list[str]:
    if any(cell.mark for cell in group.cells):
        return ["Bold: best mean; ≈: not significantly worse than it (paired t-test, 5 %, Holm-corrected over all pairs of methods)"]
    return [f"No method is marked as best: {group.unmarked}"]


def main_csv(groups: Sequence[Group], asked: Sequence[str] = ()) -> str:
    """One row per cell with unrounded numbers; accuracies in percent, differences in points, empty where undefined.

    asked: columns of the sweep file, last.
    """
    second = tuple(dict.fromkeys(name for group in groups for name in group.second_tests))
    rows = [
        _csv_row(cell, hours, second) | _asked_fields(cell, asked)
        for group in groups
        for hours in [hours_of(group.runs)]
        for cell in group.cells
    ]
    return csv_text(list(rows[0]) if rows else ["dataset"], [list(row.values()) for row in rows])


def _asked_fields(cell: Cell, asked: Sequence[str]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name in asked:
        if name == LOSS_RATIOS:
            fields[name] = ", ".join(f"{term} {ratio!r}" for term, ratio in term_ratios(cell).items()) or None
        else:
            interval = cell.interval(COLUMNS[name].read)
            fields |= {f"{name}_{part}": getattr(interval, part) if interval else None for part in ("mean", "low", "high")}
    return fields


def _csv_row(cell: Cell, hours: Hours, second: Sequence[str]) -> dict[str, object]:
    row: dict[str, object] = {
        "dataset": cell.dataset,
        "fraction": cell.fraction,
        "method": cell.method,
        "n": cell.n,
        "expected": cell.expected,
    }
    measures = {"accuracy": cell.accuracy, "mean_class_accuracy": cell.interval(mean_class_accuracy), "difference": cell.difference}
    measures |= {f"{name}_{measure}": cell.interval(on_second(name, measure)) for name in second for measure in ALSO_TEST}
    for split in ("train", "test"):
        for name in ("feature", "feature_rel", "label_l1", "label_kl"):
            measures[f"{split}_{name}"] = cell.interval(gap(split, name))
    for name, interval in measures.items():
        for part in ("mean", "low", "high"):
            row[f"{name}_{part}"] = getattr(interval, part) if interval else None
    difference = cell.difference
    row |= {
        "pairs": difference.n if difference else 0,
        "p": difference.p if difference else None,
        "p_holm": cell.p_holm,
        "detectable_difference": difference.detectable if difference else None,
    }
    row |= dict(zip(("bootstrap_low", "bootstrap_high"), (difference and difference.bootstrap) or (None, None), strict=True))
    for name, value in (("images_per_second", images_per_second), ("minutes", minutes), ("peak_memory_mib", peak_memory_mib)):
        interval = cell.interval(value)
        row[name] = interval.mean if interval else None
    row |= {"hours": hours.total(cell.runs), "hours_unit": hours.unit}
    return row | {"mixed_hardware": cell.mixed, "mark": cell.mark, "not_paired": cell.refused}


def decode_notes(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """Per group, what a reader must know of how its images were decoded and divided; nothing where a data set was the same for all runs."""
    return [_notes(group, [run for other in groups if other.dataset == group.dataset for run in other.runs]) for group in groups]


def _notes(group: Group, runs: Sequence[Run]) -> tuple[str, ...]:
    if len({run.record["data_hash"] for run in runs}) < 2:
        return ()
    keys = [key for key in (*DECODE, *DIVISION) if len({str(run.data_settings().get(key)) for run in runs}) > 1]
    cells = {cell.method: words for cell in group.cells if (words := _words(cell, keys))}
    if len(set(cells.values())) > 1:
        listed = "; ".join(f"{method}: {words}" for method, words in cells.items())
        return (f"Not all methods were given the same images, so differences are of both ({listed})",)
    others = "figures and tables over several fractions compare unlike images"
    return tuple(f"The images are not those of the other fractions ({words}): {others}" for words in dict.fromkeys(cells.values()))


def _words(cell: Cell, keys: Sequence[str]) -> str:
    """The settings ``keys`` of its runs: ``resize 64``, and with ``or`` where its seeds differ."""
    found = [", ".join(f"{key} {run.data_settings().get(key, 'not kept')}" for key in keys) for run in cell.runs]
    return " or ".join(dict.fromkeys(found))
