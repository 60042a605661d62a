"""The part of an axis that a figure shows when one method lies far from all others."""

from collections.abc import Sequence

from benchmark.report.intervals import Interval


def window(intervals: Sequence[Interval]) -> tuple[float, float] | None:
    """(low, high) that keeps most methods legible, or None when everything fits.

    The window reaches from the quartiles of the means outward by twice their distance, three times the median
    half width or one unit, whichever is most. It is used only where all intervals together would take more than
    1.5 times its width; what it cuts off has to be marked.
    """
    if len(intervals) < 4:
        return None
    means = sorted(interval.mean for interval in intervals)
    halves = sorted(interval.half_width or 0.0 for interval in intervals)
    first, third = means[len(means) // 4], means[(3 * len(means) - 1) // 4]
    reach = max(2 * (third - first), 3 * halves[len(halves) // 2], 1.0)
    ends = [(i.low if i.low is not None else i.mean, i.high if i.high is not None else i.mean) for i in intervals]
    lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
    low, high = max(lowest, first - reach), min(highest, third + reach)
    return (low, high) if highest - lowest > 1.5 * (high - low) else None
