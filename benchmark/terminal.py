"""What the project prints: text as text, on whatever stream there is.

Paths, labels, reasons and log lines are the user's and other programs': square brackets in them are no markup, control characters (the
escapes of a terminal among them) are shown instead of obeyed, and a stream that cannot show a character gets the nearest one.
"""

import codecs
import re
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

WIDTH = 132
"""Columns where the output is no terminal."""

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
        for piece in super().render(renderable, options):
            yield piece if piece.control or not _CONTROL.search(piece.text) else piece._replace(text=clean(piece.text))

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(clean(text), **{**options, "markup": False, "emoji": False})


console = Terminal(width=None if sys.stdout.isatty() else WIDTH)
errors = Terminal(stderr=True, width=None if sys.stderr.isatty() else WIDTH)


def accept_any_text() -> None:
    """Let the standard streams replace what their encoding cannot show, instead of ending the command."""
    codecs.register_error("nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="nearest")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_NEAREST.get(letter, "?") for letter in error.object[error.start : error.end]), error.end
