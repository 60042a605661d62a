"""Critical-difference diagram (Demšar 2006, figure 1): mean ranks over data sets, and which methods are not told apart."""

import pandas as pd
from matplotlib.axes import Axes

from benchmark.report.across import Across
from benchmark.report.figures.canvas import Drawing, heading, plain, sheet
from benchmark.report.style import INK, Looks

NAME = "critical_difference"

_ROW = 0.19
_FRAME = 0.55


def draw_critical(across: Across, looks: Looks) -> Drawing | None:
    """scikit-posthocs' diagram: methods at their mean ranks, bars over those that Nemenyi's test cannot separate; none without a test."""
    if across.pairs is None:
        return None
    figure = sheet(1)
    axes = figure.subplots()
    _diagram(axes, across, looks)
    rows = -axes.get_ylim()[0]
    figure.set_figheight(_FRAME + _ROW * rows)
    heading(figure, f"n = {len(across.blocks)} data sets, mean ranks (1 is best), Nemenyi's test at 5 %")
    order = sorted(range(len(across.methods)), key=across.ranks.__getitem__)
    outcome = "" if across.differ else " Friedman's test does not find that the methods differ, so none are told apart."
    listed = ", ".join(f"{across.methods[m]} {across.ranks[m]:.2f}" for m in order)
    return Drawing(
        name=NAME,
        title="Critical-difference diagram",
        caption=f"Mean rank of each method over {len(across.blocks)} data sets; the value on a data set is the mean over its fractions. "
        "Each thick bar spans methods that Nemenyi's test at 5 % does not tell apart "
        f"(Friedman's test: p = {across.p:.4f}).{outcome}",
        alt=f"Mean ranks, best first: {listed}.",
        figure=figure,
    )


def _diagram(axes: Axes, across: Across, looks: Looks) -> None:
    from scikit_posthocs import critical_difference_diagram

    names = list(map(plain, across.methods))
    p_values = pd.DataFrame(across.pairs if across.differ else 1.0, index=names, columns=names)
    axes.grid(visible=False)
    critical_difference_diagram(
        dict(zip(names, across.ranks, strict=True)),
        p_values,
        ax=axes,
        label_fmt_left="{label}  {rank:.2f}",
        label_fmt_right="{rank:.2f}  {label}",
        label_props={"fontsize": 7},
        elbow_props={"linewidth": 0.8},
        marker_props={"s": 12},
        crossbar_props={"color": INK, "linewidth": 2.2, "solid_capstyle": "round"},
        color_palette={plain(name): looks[name].colour for name in across.methods},
    )
    axes.spines["top"].set_visible(True)
