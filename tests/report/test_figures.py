"""Figures: the drawn data, not the pixels; and that nothing is cut off or unlabelled."""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from benchmark.config.method_options import method_looks
from benchmark.report.across import compare_across
from benchmark.report.cells import Group, group_runs
from benchmark.report.collect import collect
from benchmark.report.effects import ablation_words, effects
from benchmark.report.figures import write
from benchmark.report.figures.canvas import Drawing, fix_layout, numbering
from benchmark.report.figures.lines import (
    MAX_POINTS,
    draw_fractions,
    draw_linearity_difference,
    draw_loss_terms,
    linearity_series,
    loss_series,
)
from benchmark.report.figures.rows import draw_ablation, draw_accuracy, draw_difference, window
from benchmark.report.figures.scatter import draw_cost_accuracy
from benchmark.report.figures.write import PER_GROUP
from benchmark.report.intervals import Interval
from benchmark.report.style import RC, WIDTH, Looks
from tests.report import fakes

LOOKS = Looks(method_looks())

GOLDEN = Path(__file__).parent / "golden" / "figures.json"


def make(sweep: Path, methods: tuple[str, ...] = fakes.QUICK, **sizes: object) -> tuple[Group, ...]:
    grid = fakes.grid(methods, **sizes)
    fakes.write_sweep(sweep, grid)
    return group_runs(fakes.info(methods), grid, collect(sweep, grid))


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Group:
    return make(tmp_path_factory.mktemp("sweep"))[0]


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> Group:
    """A group whose baseline is the full method of two variants."""
    return make(tmp_path_factory.mktemp("ablation"), fakes.ABLATION)[0]


def subject(draw: object, group: Group, ablated: Group) -> Group:
    return ablated if draw is draw_ablation else group


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """Drawing and measuring under the figures' own settings."""
    with matplotlib.rc_context(RC):
        yield


def drawn(draw: object, subject: object) -> Drawing:
    drawing = draw(subject, LOOKS)
    fix_layout(drawing.figure)
    return drawing


def spans(axes: Axes) -> list[tuple[float, float, str]]:
    """(low, high, colour) of the horizontal two-point lines."""
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) == 2 and len(set(line.get_ydata())) == 1]
    return [(*map(float, line.get_xdata()), line.get_color()) for line in lines]


def test_the_accuracy_figure_shows_every_seed_mean_and_interval(group: Group) -> None:
    (axes,) = drawn(draw_accuracy, group).figure.axes
    seeds = [tuple(dots.get_offsets()[:, 0]) for dots in axes.collections]
    assert seeds == [tuple(100 * run.record["test_accuracy"] for run in cell.runs) for cell in group.cells]
    assert spans(axes) == [
        (pytest.approx(cell.accuracy.low), pytest.approx(cell.accuracy.high), LOOKS[cell.method].colour) for cell in group.cells
    ]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(fakes.QUICK)
    assert axes.get_xlabel() == "Test accuracy (%)"


def test_the_forest_plot_shows_the_paired_intervals(group: Group) -> None:
    (axes,) = drawn(draw_difference, group).figure.axes
    others = group.cells[1:]
    assert spans(axes) == [
        (pytest.approx(cell.difference.low), pytest.approx(cell.difference.high), LOOKS[cell.method].colour) for cell in others
    ]
    written = [text.get_text() for text in axes.texts if "[" in text.get_text()]
    assert len(written) == len(others)
    assert written[1].startswith(f"{others[1].difference.mean:+.1f} [".replace("-", "−"))


def test_a_far_off_method_is_marked_at_the_edge(group: Group) -> None:
    (axes,) = drawn(draw_difference, group).figure.axes
    probe = group.cell("linear_probe").difference.mean
    assert axes.get_xlim()[0] > probe
    assert [text.get_text() for text in axes.texts if "◂" in text.get_text()] == [f"◂ −{-probe:.1f}"]


def test_an_interval_that_is_cut_off_gets_an_arrow(tmp_path: Path) -> None:
    grid = fakes.grid(fakes.QUICK)
    for item in grid:
        jitter = (0.4 if item.method == "rifle" else 0.01) * (item.seed - 1)
        fakes.write_run(tmp_path, item, {"test_accuracy": 0.5 + 0.001 * len(item.method) + jitter})
    (group,) = group_runs(fakes.info(), grid, collect(tmp_path, grid))
    (axes,) = drawn(draw_accuracy, group).figure.axes
    arrows = [(line.get_marker(), float(line.get_xdata()[0])) for line in axes.get_lines() if line.get_marker() in {"<", ">"}]
    assert arrows == [("<", axes.get_xlim()[0]), (">", axes.get_xlim()[1])]


def test_window_keeps_everything_unless_one_is_far_off() -> None:
    near = [Interval(mean, mean - 1, mean + 1, 3) for mean in (80.0, 81.0, 82.0, 83.0, 84.0)]
    assert window(near) is None
    assert window([*near[:3], Interval(20.0, 19, 21, 3)][:3]) is None
    low, high = window([*near, Interval(20.0, 19.0, 21.0, 3)])
    assert 21 < low < 79
    assert high == 85


@pytest.mark.parametrize("draw", PER_GROUP, ids=lambda draw: draw.__name__)
def test_every_figure_is_labelled_and_fits_its_sheet(group: Group, ablated: Group, draw: object) -> None:
    drawing = drawn(draw, subject(draw, group, ablated))
    figure = drawing.figure
    assert figure.get_figwidth() == (2 if draw is draw_ablation else 1) * WIDTH  # the ablation takes both columns
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.get_figwidth() + 0.01
    assert box.y1 <= figure.get_figheight() + 0.01
    assert figure.get_suptitle().startswith("toys, 15 % of the labels")
    assert "n = 3" in figure.get_suptitle()
    assert "n = 3" in drawing.caption
    assert drawing.alt
    assert any(axes.get_xlabel() for axes in figure.axes)
    assert (
        any(axes.get_ylabel() for axes in figure.axes) or figure.get_supylabel() or draw in (draw_accuracy, draw_difference, draw_ablation)
    )


@pytest.mark.parametrize("draw", PER_GROUP, ids=lambda draw: draw.__name__)
def test_no_letter_is_below_seven_points_in_one_column(group: Group, ablated: Group, draw: object) -> None:
    figure = drawn(draw, subject(draw, group, ablated)).figure
    assert figure.get_figwidth() <= (2 if draw is draw_ablation else 1) * 3.3
    sizes = {text.get_fontsize() for text in figure.findobj(Text) if text.get_text() and text.get_visible()}
    assert min(sizes) >= 7


@pytest.mark.parametrize("draw", PER_GROUP, ids=lambda draw: draw.__name__)
def test_legends_do_not_cover_axes(group: Group, ablated: Group, draw: object) -> None:
    figure = drawn(draw, subject(draw, group, ablated)).figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    for legend in figure.legends:
        boxes = [axes.get_tightbbox(renderer) for axes in figure.axes if axes.axison]
        assert not any(legend.get_window_extent(renderer).overlaps(box) for box in boxes)


@pytest.mark.parametrize("draw", PER_GROUP, ids=lambda draw: draw.__name__)
def test_a_group_without_runs_has_no_figures(tmp_path: Path, draw: object) -> None:
    grid = fakes.grid(seeds=2)
    (empty,) = group_runs(fakes.info(), grid, collect(tmp_path, grid))
    assert draw(empty, LOOKS) is None


@pytest.mark.parametrize("draw", PER_GROUP, ids=lambda draw: draw.__name__)
def test_a_single_seed_is_said_to_have_no_interval(tmp_path: Path, draw: object) -> None:
    (one,) = make(tmp_path, fakes.ABLATION if draw is draw_ablation else fakes.QUICK[:3], seeds=1)
    drawing = drawn(draw, one)
    assert "n = 1" in drawing.caption
    assert "t-intervals over seeds" not in drawing.caption


def test_linearity_series_are_means_over_seeds_by_lambda(group: Group) -> None:
    cell = group.cell("smile")
    series = linearity_series(cell)["test", "label_l1"]
    assert [lam for lam, _ in series] == [lam for lam in (0.0, 0.25, 0.5, 0.75, 1.0) for _ in range(3)]
    middle = [row["label_l1"] for run in cell.runs for row in run.linearity() if row["split"] == "test" and row["lam"] == 0.5]
    assert [value for lam, value in series if lam == 0.5] == middle


def test_lines_and_bands_are_the_means_and_t_intervals_over_seeds(tmp_path: Path) -> None:
    groups = make(tmp_path, ("fine_tuning", "smile"), fractions=(0.15, 0.5))
    (axes,) = drawn(draw_fractions, list(groups)).figure.axes
    for line, band, method in zip(axes.get_lines(), axes.collections, ("fine_tuning", "smile"), strict=True):
        found = [group.cell(method).accuracy for group in groups]
        assert list(line.get_ydata()) == pytest.approx([interval.mean for interval in found])
        corners = band.get_paths()[0].vertices
        ends = [sorted({round(float(y), 6) for x, y in corners if x == 100 * group.fraction}) for group in groups]
        assert ends == [pytest.approx([interval.low, interval.high]) for interval in found]


def test_linearity_is_drawn_beside_the_baseline_pair_by_pair(group: Group) -> None:
    figure = drawn(draw_linearity_difference, group).figure
    lines = [line for line in figure.axes[3].get_lines() if len(line.get_xdata()) == 5]
    assert len(lines) == len(group.cells) - 1
    cell, base = group.cell("smile"), group.cell("fine_tuning")
    middle = [
        [row["label_l1"] for r in c.runs for row in r.linearity() if (row["split"], row["lam"]) == ("test", 0.5)] for c in (cell, base)
    ]
    line = next(line for line in lines if line.get_color() == LOOKS["smile"].colour and line.get_linestyle() == "-")
    assert line.get_ydata()[2] == pytest.approx(sum(a - b for a, b in zip(*middle, strict=True)) / 3)
    assert line.get_ydata()[0] == 0


def test_loss_series_hold_every_term_and_thin_long_curves(tmp_path: Path) -> None:
    (group,) = make(tmp_path, ("fine_tuning", "smile"), seeds=2)
    cell = group.cell("smile")
    assert set(loss_series(cell)) == {"cross_entropy", "feature", "source_label", "total"}
    rows = [run.curves() for run in cell.runs]
    assert loss_series(cell)["feature"][3] == (6, pytest.approx((rows[0][3]["loss/feature"] + rows[1][3]["loss/feature"]) / 2))
    curve = "\n".join(f'{{"step": {i}, "loss/total": 1.0}}' for i in range(5000))
    for run in cell.runs:
        (run.folder / "curves.jsonl").write_text(curve)
    thinned = loss_series(cell)["total"]
    assert (len(thinned), thinned[0][0], thinned[-1][0]) == (MAX_POINTS, 0, 4999)


def test_cost_is_not_drawn_across_different_hardware(tmp_path: Path) -> None:
    methods = ("fine_tuning", "smile")
    grid = fakes.grid(methods, seeds=2)
    fakes.write_sweep(tmp_path, grid)
    fakes.write_run(tmp_path, grid[3], {"device": "another"})
    (group,) = group_runs(fakes.info(methods), grid, collect(tmp_path, grid))
    assert draw_cost_accuracy(group, LOOKS) is None


def test_fractions_need_two_and_are_drawn_in_order(tmp_path: Path) -> None:
    groups = make(tmp_path, ("fine_tuning", "smile"), fractions=(0.5, 0.15), seeds=2)
    assert draw_fractions(groups[:1], LOOKS) is None
    (axes,) = drawn(draw_fractions, list(groups)).figure.axes
    assert [list(line.get_xdata()) for line in axes.get_lines()] == [[15.0, 50.0]] * 2
    assert axes.get_lines()[1].get_ydata()[1] == pytest.approx(groups[0].cell("smile").accuracy.mean)


def test_writing_twice_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PER_GROUP", (draw_accuracy, draw_loss_terms))
    groups = make(tmp_path / "sweep", ("fine_tuning", "smile"), seeds=2)
    for name in ("a", "b"):
        write.write_figures(groups, compare_across(groups), tmp_path / name, LOOKS)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 4
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def shown(figure: Figure) -> list[list[list[object]]]:
    """Per axes the (marker, x, y) of its lines, its dots, error bars and bars, rounded; bands not."""
    return [
        [[line.get_marker(), *(np.round(values, 4).tolist() for values in line.get_data())] for line in axes.get_lines()]
        + [["dots", *np.round(dots.get_offsets(), 4).ravel().tolist()] for dots in axes.collections if isinstance(dots, PathCollection)]
        + [["error", *np.round(bar.get_segments(), 4).ravel().tolist()] for bar in axes.collections if isinstance(bar, LineCollection)]
        + [["bar", round(float(bar.get_x()), 4), round(float(bar.get_width()), 4)] for bar in axes.patches]
        for axes in figure.axes
    ]


def flat(value: object) -> tuple[list[str], list[float]]:
    """The texts and the numbers in nested lists, in order; a text per list for its length."""
    if not isinstance(value, list):
        return ([value], []) if isinstance(value, str) else ([], [value])
    parts = [flat(item) for item in value]
    return [f"{len(value)}:", *(t for texts, _ in parts for t in texts)], [n for _, numbers in parts for n in numbers]


def test_golden_records_give_golden_figures_data(tmp_path: Path) -> None:
    """What is drawn, not its pixels. The golden file was checked against the records; regenerate it only on purpose."""
    methods = ("smile", "fine_tuning", "smile_no_feature", "smile_weak")
    grid = fakes.grid(methods, fractions=(0.15, 0.5), seeds=3)
    gaps = dict.fromkeys(("feature", "feature_rel", "label_l1", "label_kl"), 0.25)
    for number, item in enumerate(grid):
        linearity = {split: {name: gap * (1 + 0.1 * item.seed) for name, gap in gaps.items()} for split in ("train", "test")}
        changes = {"test_accuracy": 0.6 + 0.01 * (number * 7 % 11), "wall_seconds": 60.0 + number, "linearity": linearity}
        if number != 4:
            fakes.write_run(tmp_path, item, changes)
    groups = group_runs(fakes.info(methods), grid, collect(tmp_path, grid))
    found = {draw.__name__: shown(drawn(draw, groups[0]).figure) for draw in PER_GROUP} | {
        "fractions": shown(draw_fractions(groups, LOOKS).figure)
    }
    golden = json.loads(GOLDEN.read_text())
    assert found.keys() == golden.keys()
    for name, axes in found.items():
        texts, numbers = flat(axes)
        golden_texts, golden_numbers = flat(golden[name])
        assert texts == golden_texts, name
        assert numbers == pytest.approx(golden_numbers, abs=2e-4), name


def test_the_ablation_shows_paired_differences_in_accuracy_and_gaps_on_train_and_test(ablated: Group) -> None:
    figure = drawn(draw_ablation, ablated).figure
    rows = {effect.cell.method: effect for effect in effects(ablated)}
    assert list(rows) == ["smile_no_feature", "smile_weak", "fine_tuning"]
    for axes, metric in zip(figure.axes, ("accuracy", "feature_rel", "label_l1"), strict=True):
        marks = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() not in ("None", None, "")]
        wanted = [effect.differences[metric, split].mean for effect in rows.values() for split in ("test", "train")]
        assert marks == pytest.approx(wanted)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["smile_no_feature\nfeature_weight: 0.01 → 0.0", "smile_weak\nfeature_weight: 0.01 → 0.001", "fine_tuning"]


def test_the_ablation_says_in_words_what_differs_after_correction(ablated: Group) -> None:
    text = "\n".join(ablation_words(ablated))
    rows = {effect.cell.method: effect for effect in effects(ablated)}
    for metric, name in (("accuracy", "accuracy"), ("feature_rel", "feature gap"), ("label_l1", "label gap")):
        for split in ("train", "test"):
            (line,) = (line for line in text.splitlines() if line.startswith(f"{split.capitalize()} {name} beside that of the full smile"))
            for method, effect in rows.items():
                assert (method in line) == ((metric, split) in effect.clear)


def test_no_ablation_where_the_baseline_is_not_the_full_method(group: Group) -> None:
    assert draw_ablation(group, LOOKS) is None


def many(tmp_path: Path, count: int) -> Group:
    return make(tmp_path, ("fine_tuning", *(f"smile_v{n}" for n in range(count - 1))), seeds=2)[0]


@pytest.mark.parametrize(("count", "sizes"), [(12, [12]), (13, [7, 7]), (20, [8, 8, 6]), (22, [8, 8, 8])])
def test_too_many_lines_are_parted_each_with_the_baseline(tmp_path: Path, count: int, sizes: list[int]) -> None:
    group = many(tmp_path, count)
    found = write.parts(group)
    assert [len(part.cells) for part in found] == sizes
    assert all(part.cells[0].method == "fine_tuning" for part in found)
    assert {cell.method for part in found for cell in part.cells} == {cell.method for cell in group.cells}


def test_parts_are_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PER_GROUP", (draw_loss_terms,))
    group = many(tmp_path / "sweep", 13)
    pictures = write.write_figures([group], compare_across([group]), tmp_path / "figures", LOOKS)
    assert [picture.name for picture in pictures] == ["loss_terms-toys-0.15-1", "loss_terms-toys-0.15-2"]
    assert pictures[1].title.endswith("(part 2 of 2)")


def test_methods_that_look_alike_are_numbered_in_legend_and_axes(tmp_path: Path) -> None:
    assert numbering(("fine_tuning", "smile", "mixup"), LOOKS) == {}
    group = many(tmp_path, 22)
    figure = drawn(draw_cost_accuracy, group).figure
    methods = [cell.method for cell in group.cells]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"{n}  {method}" for n, method in enumerate(methods, start=1)]
    notes = {text.get_text(): text for text in figure.axes[0].texts}
    assert set(notes) == {str(n) for n in range(1, 23)}
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [Text.get_window_extent(note, renderer) for note in notes.values()]
    overlapping = sum(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert overlapping <= 3
