"""What the project prints: text as text, on whatever stream there is.

Paths, labels, reasons and log lines are the user's and other programs': square brackets in them are no markup, control characters (the
escapes of a terminal among them) are shown instead of obeyed, and a stream that cannot show a character gets the nearest one.
"""

import codecs
import copy
import re
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

WIDTH = 132
"""Columns where the output is no terminal."""
_NARROWEST = 8
"""Letters that a column keeps, or its longest word if that is shorter; a table that cannot is written line by line."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NEAREST = {"−": "-", "–": "-", "—": "-", "…": "...", "Δ": "d", "→": "->", "≤": "<=", "≥": ">=", "×": "x", "±": "+-", "·": "*"}


def clean(text: str) -> str:
    """``text`` with every control character but line break and tabulator written out, ``\\x1b``."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def as_text(value: object, style: str = "") -> Text:
    """A value as it is, for a cell of a table: no markup, no control characters."""
    return Text(clean(str(value)), style=style)


def say(console: Console, text: object, style: str = "") -> None:
    """Print one message as it is. A long line is not broken: a command in it can be copied whole."""
    console.print(as_text(text, style), soft_wrap=True, highlight=False)


class Terminal(Console):
    """A console whose strings are text, in tables and headings too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
        """What is printed, piece by piece; the pieces by which rich moves the cursor stay as they are."""
        if isinstance(renderable, Table):
            renderable = self._encodable(renderable)
            if _least_width(renderable) > (options or self.options).max_width:
                renderable = _line_by_line(renderable)
        for piece in super().render(renderable, options):
            yield piece if piece.control or not _CONTROL.search(piece.text) else piece._replace(text=clean(piece.text))

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(self._nearest(clean(text)), **{**options, "markup": False, "emoji": False})

    def _nearest(self, text: str) -> str:
        """``text`` in letters that the stream has, so that columns are as wide as what comes to stand in them."""
        try:
            return text.encode(self.encoding, "nearest").decode(self.encoding)
        except LookupError:  # an encoding that Python does not know
            return text

    def _encodable(self, table: Table) -> Table:
        shown = copy.copy(table)
        shown.columns = [copy.copy(column) for column in table.columns]
        for column in shown.columns:
            column._cells = [Text(self._nearest(cell.plain), cell.style) if isinstance(cell, Text) else cell for cell in column._cells]
        return shown


def _least_width(table: Table) -> int:
    """Columns of the screen below which a table would break its words into single letters."""
    words = [" ".join(map(str, (column.header, *column.cells))).split() for column in table.columns]
    return sum(min(_NARROWEST, max(map(len, found), default=0)) for found in words) + 2 * len(words)


def _line_by_line(table: Table) -> Group:
    """A table for a narrow screen: a line per cell under the name of its column, an empty line between rows."""
    headings = [str(column.header) for column in table.columns]
    lines: list[Any] = [text for text in (table.title, table.caption) if text]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        lines += ["", *(f"{heading}: {cell}" for heading, cell in zip(headings, row, strict=True) if str(cell))]
    return Group(*lines)


console = Terminal(width=None if sys.stdout.isatty() else WIDTH)
errors = Terminal(stderr=True, width=None if sys.stderr.isatty() else WIDTH)


def accept_any_text() -> None:
    """Let the standard streams replace what their encoding cannot show, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="nearest")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_NEAREST.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


codecs.register_error("nearest", _nearest)
