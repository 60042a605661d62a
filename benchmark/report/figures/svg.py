"""A figure's SVG: values that a pointer shows, and the form in which a page holds several figures.

A drawing names what a pointer shall show with :func:`tell`; :func:`with_values` turns it into ``<title>`` elements. :class:`Inliner`
makes figures fit to stand in one document: no id twice, colours as CSS variables (a page has a light and a dark form), and the outlines
of letters, a third of a figure's size, once for all.
"""

import json
import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from matplotlib.artist import Artist

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_MARK = "values:"

ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def tell(artist: Artist, whole: str, points: Sequence[str] = ()) -> None:
    """Show ``whole`` where a pointer rests on ``artist``, and on its points, markers or dots the text of each."""
    artist.set_gid(_MARK + json.dumps([whole, *points]))


def with_values(svg: str) -> str:
    """matplotlib's ``svg`` with the texts of :func:`tell` as ``<title>``, which browsers show on hover and screen readers read.

    Points outside of the sheet are not in the SVG: where some are, none has a text of its own.
    """
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{_SVG}metadata"):
        root.remove(metadata)
    for group in root.iter(f"{_SVG}g"):
        name = group.get("id", "")
        if name.startswith(_MARK):
            del group.attrib["id"]
            whole, *points = json.loads(name.removeprefix(_MARK))
            marks = list(group.iter(f"{_SVG}use")) or group.findall(f"{_SVG}path")
            if len(marks) == len(points):
                for mark, text in zip(marks, points, strict=True):
                    _title(mark, text)
            _title(group, whole)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _title(element: ElementTree.Element, text: str) -> None:
    title = ElementTree.Element(f"{_SVG}title")
    title.text = text
    element.insert(0, title)


def variable(colour: str) -> str:
    """The CSS variable of a colour (``#rrggbb``)."""
    return f"--c-{colour.removeprefix('#')}"


class Inliner:
    """Figures for one document. ``glyphs`` (SVG elements, for one ``<defs>`` in it) and ``colours`` are those of all figures so far."""

    def __init__(self) -> None:
        self.colours: set[str] = set()
        self._glyphs: dict[str, str] = {}
        self._count = 0

    @property
    def glyphs(self) -> str:
        return "".join(self._glyphs.values())

    def add(self, svg: str, label: str) -> str:
        """The figure as an HTML element that is read out as ``label``."""
        self._count += 1
        root = ElementTree.fromstring(svg)
        names = {name: f"f{self._count}-{name}" for name in re.findall(r'(?:href="|url\()#([^")]+)', svg)}
        for parent in list(root.iter()):
            for child in list(parent):
                letter = parent.tag == f"{_SVG}defs" and child.get("transform") is not None  # markers and clips have none
                if letter:
                    names[child.get("id", "")] = self._keep_glyph(child)
                if letter or child.tag == f"{_SVG}style" or (parent is root and child.tag == f"{_SVG}title"):
                    parent.remove(child)
        for parent in list(root.iter()):
            for child in [child for child in parent if child.tag == f"{_SVG}defs" and not len(child)]:
                parent.remove(child)
        for element in root.iter():
            self._adapt(element, names)
        root.attrib |= {"class": "drawn", "role": "img", "aria-label": label}
        return ElementTree.tostring(root, encoding="unicode")

    def _keep_glyph(self, glyph: ElementTree.Element) -> str:
        """Its name in the document."""
        name = f"g-{glyph.get('id')}"
        if name not in self._glyphs:
            self._glyphs[name] = f'<path id="{name}" d="{_short(glyph.get("d", ""))}" transform="{glyph.get("transform")}"/>'
        return name

    def _adapt(self, element: ElementTree.Element, names: Mapping[str, str]) -> None:
        """``names`` for ids, no namespaces, shorter numbers, colours as variables."""
        element.tag = element.tag.removeprefix(_SVG)
        element.text = element.text if element.tag == "title" else None
        element.tail = None
        found = dict(element.attrib)
        element.attrib.clear()
        for key, value in found.items():
            if key == "id":
                if value in names:
                    element.set(key, names[value])
            elif key == _HREF:
                element.set("href", f"#{names[value[1:]]}")
            elif key in ("d", "x", "y"):
                element.set(key, _short(value))
            elif key == "style":
                element.set(key, self._coloured(value))
            else:
                element.set(key, re.sub(r"url\(#([^)]+)\)", lambda match: f"url(#{names[match[1]]})", value))

    def _coloured(self, style: str) -> str:
        self.colours.update(re.findall(r"#[0-9a-f]{6}", style))
        return re.sub(r"#[0-9a-f]{6}", lambda match: f"var({variable(match[0])})", style).replace("; ", ";").replace(": ", ":")


def _short(numbers: str) -> str:
    """Numbers to a hundredth of a point, one blank between them."""
    return " ".join(re.sub(r"-?\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), numbers).split())
