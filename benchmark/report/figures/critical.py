"""Critical-difference diagram (Demšar 2006, figure 1): mean ranks over data sets, and which methods are not told apart."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.report.across import Across
from benchmark.report.figures.canvas import Drawing, heading, sheet
from benchmark.report.style import INK, MUTED, style

NAME = "critical_difference"

_ROW = 0.17
_LANE = 0.45


def draw_critical(across: Across) -> Drawing | None:
    """Methods by mean rank, best on top, under bars over those that Nemenyi's test cannot separate; none where there is no test."""
    if across.critical is None:
        return None
    order = sorted(range(len(across.methods)), key=across.ranks.__getitem__)
    lanes = 1.9 + _LANE * len(across.cliques)
    figure = sheet(0.7 + _ROW * (len(order) + lanes))
    axes = figure.subplots()
    for row, method in enumerate(order):
        _method(axes, row, across.ranks[method], across.methods[method])
    for lane, members in enumerate(across.cliques):
        ends = [across.ranks[members[0]], across.ranks[members[-1]]]
        axes.plot(ends, [-0.9 - _LANE * lane] * 2, color=INK, linewidth=2.2, solid_capstyle="round")
    _scale_bar(axes, across.critical, 0.9 - lanes)
    axes.set_yticks(range(len(order)), [across.methods[method] for method in order])
    axes.set_ylim(len(order) - 0.4, -0.2 - lanes)
    axes.set_xlim(0.8, max(len(order), 1 + across.critical) + 0.2)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Mean rank (1 is best)")
    heading(figure, f"n = {len(across.blocks)} data sets, Nemenyi's test at 5 %")
    return _drawing(across, order, figure)


def _drawing(across: Across, order: Sequence[int], figure: Figure) -> Drawing:
    verdict = "" if across.differ else " Friedman's test does not find that the methods differ, so none are told apart."
    listed = ", ".join(f"{across.methods[m]} {across.ranks[m]:.2f}" for m in order)
    return Drawing(
        name=NAME,
        title="Critical-difference diagram",
        caption=f"Mean rank of each method over {len(across.blocks)} data sets; the value on a data set is the mean over its fractions. "
        "Each thick bar spans methods that Nemenyi's test at 5 % does not tell apart: their mean ranks are less than the critical "
        f"difference of {across.critical:.2f} apart (Friedman's test: p = {across.p:.4f}).{verdict}",
        alt=f"Mean ranks, best first: {listed}.",
        figure=figure,
    )


def _method(axes: Axes, row: int, rank: float, name: str) -> None:
    look = style(name)
    axes.plot(rank, row, marker=look.marker, color=look.colour, markersize=4.5 * look.size, markeredgecolor="white", markeredgewidth=0.4)
    axes.text(1.02, row, f"{rank:.2f}", transform=axes.get_yaxis_transform(), va="center", fontsize=6)


def _scale_bar(axes: Axes, critical: float, y: float) -> None:
    axes.plot([1, 1 + critical], [y, y], color=MUTED, linewidth=1.0, marker="|", markersize=5)
    axes.text(1, y - 0.25, f"critical difference {critical:.2f}", va="bottom", fontsize=6, color=MUTED)
