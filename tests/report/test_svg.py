"""Figures as a page holds them: values on hover, ids and colours."""

import io
import re
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.figure import Figure

from benchmark.report.figures.svg import Inliner, tell, with_values
from benchmark.report.style import INK, PAPER, RC, contrast, dark_form

SVG = "{http://www.w3.org/2000/svg}"


def figure(values: tuple[float, ...] = (1.0, 3.0, 2.0), low: float = 0.0) -> str:
    """A line with a value per point, as SVG."""
    with matplotlib.rc_context(RC):
        drawn = Figure((3, 2))
        axes = drawn.subplots()
        axes.set_ylim(low, 4)
        (line,) = axes.plot(range(len(values)), values, marker="o", color="#0072b2")
        axes.set_title("odd <title> & more")
        tell(line, "all", [f"point {value:g} & <more>" for value in values])
        file = io.StringIO()
        drawn.savefig(file, format="svg")
        return with_values(file.getvalue())


def titles(svg: str) -> list[str | None]:
    return [title.text for title in ElementTree.fromstring(svg).iter(f"{SVG}title")]


def test_every_point_of_a_line_tells_its_value() -> None:
    assert titles(figure()) == ["all", "point 1 & <more>", "point 3 & <more>", "point 2 & <more>"]
    assert "values:" not in figure()


def test_points_off_the_sheet_leave_the_value_of_the_whole() -> None:
    assert titles(figure((1.0, -1e4, 2.0))) == ["all"]


def test_two_figures_in_one_document_share_letters_and_no_id() -> None:
    inliner = Inliner()
    both = inliner.add(figure(), "one") + inliner.add(figure((2.0, 1.0)), "other & <more>")
    page = f"<div><defs>{inliner.glyphs}</defs>{both}</div>"
    root = ElementTree.fromstring(page)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) == set(ids)
    assert both.count('<path id="g-') == 0
    assert [element.get("aria-label") for element in root.iter("svg")] == ["one", "other & <more>"]
    assert [title.text for title in root.iter("title")][:2] == ["all", "point 1 & <more>"]


def test_a_figure_in_a_page_is_the_figure_in_the_file() -> None:
    """Same elements at the same places, but for letters, ids and a hundredth of a point."""
    svg = figure()
    inline = ElementTree.fromstring(Inliner().add(svg, ""))
    places = [float(use.get("x", "0")) for use in ElementTree.fromstring(svg).iter(f"{SVG}use")]
    assert [float(use.get("x", "0")) for use in inline.iter("use")] == pytest.approx(places, abs=0.0051)
    paths = [path.get("d").split() for path in ElementTree.fromstring(svg).iter(f"{SVG}path") if "transform" not in path.attrib]
    found = [path.get("d").split() for path in inline.iter("path")]
    assert [len(path) for path in found] == [len(path) for path in paths]


def test_colours_are_variables_of_the_page() -> None:
    inliner = Inliner()
    drawn = inliner.add(figure(), "")
    assert {"#0072b2", INK, PAPER} <= inliner.colours
    assert not re.search('#[0-9a-f]{6}[;"]', drawn)
    assert "var(--c-0072b2)" in drawn


@pytest.mark.parametrize("colour", ["#332288", "#0072b2", "#117733", "#000000", "#e69f00", INK])
def test_every_colour_stands_out_on_the_dark_page(colour: str) -> None:
    assert contrast(dark_form(colour), dark_form(PAPER)) >= 4


def test_a_colour_that_stands_out_already_stays() -> None:
    assert dark_form("#e69f00") == "#e69f00"
    assert dark_form("#0072b2") != "#0072b2"
