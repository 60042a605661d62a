"""The one place that decides how figures look.

Each method has a fixed colour and marker, the same in every sweep: those that its class declares, from the
colour-blind-safe sets of Okabe and Ito and of Paul Tol; no two names share colour and marker. Any other name
gets a stable style derived from the names it is made of, or else from a hash of the name.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

WIDTH = 3.3
"""Figure width in inches: one column of a two-column paper."""

INK = "#222222"
MUTED = "#6b6b6b"
RULE = "#d9d9d9"
PAPER = "#ffffff"

_DARK = {PAPER: "#16181b", INK: "#e6e6e6", MUTED: "#a8adb3", RULE: "#3a3e44"}
"""What these are on a dark page."""

_CONTRAST = 4.0
"""WCAG asks 3 of marks and 4.5 of small text; all text is in ``INK``."""

SOLID = "-"
DASHED = (0, (4, 1.5))
DOTTED = (0, (1, 1.2))
DASH_DOT = (0, (4, 1.2, 1, 1.2))

_SPARE_COLOURS = ("#332288", "#44aa99", "#882255", "#777777", "#aa4499", "#117733", "#999933")
_SIZES = {"P": 1.35, "X": 1.35, "*": 1.6, "d": 1.2, "p": 1.15, "h": 1.15, "D": 0.9}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "d", "h", "*", "p")


@dataclass(frozen=True)
class Style:
    """Colour (hex), marker and line style (matplotlib's notations) of one method."""

    colour: str
    marker: str
    line: Any = SOLID

    @property
    def size(self) -> float:
        """Factor on the marker's size that makes all markers look equally heavy."""
        return _SIZES.get(self.marker, 1.0)


@dataclass(frozen=True)
class Looks:
    """The style of any method label: ``Looks(declared)["l2_sp+mixup"]``. declared: (colour, marker) by a method's name.

    The same label always looks the same. A declared name that extends another (``delta_smile``) is dotted. A composition ``a+b``
    has the colour of its first part, the marker of its last and a dashed line. A name that extends a known one (``smile_weak``)
    keeps that one's colour, dash-dotted, with a marker chosen by its hash.
    """

    declared: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __getitem__(self, method: str) -> Style:
        known = self.declared
        if method in known:
            colour, marker = known[method]
            return Style(colour, marker, DOTTED if _family(method, known) else SOLID)
        parts = method.split("+")
        if len(parts) > 1:
            return Style(self[parts[0]].colour, self[parts[-1]].marker, DASHED)
        number = int.from_bytes(hashlib.sha256(method.encode()).digest()[:4])
        marker = _MARKERS[number % len(_MARKERS)]
        family = _family(method, known)
        if family:
            return Style(known[family][0], marker, DASH_DOT)
        return Style(_SPARE_COLOURS[number // len(_MARKERS) % len(_SPARE_COLOURS)], marker, DASH_DOT)


def _family(name: str, known: Iterable[str]) -> str:
    """The longest known name that ``name`` extends by ``_something``, or ''."""
    return max((k for k in known if name.startswith(f"{k}_")), key=len, default="")


def dark_form(colour: str) -> str:
    """``colour`` (``#rrggbb``) on the dark page: mixed with white until it stands out from the ground."""
    if colour in _DARK:
        return _DARK[colour]
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    mixed = ("#" + "".join(f"{round(c + share / 20 * (255 - c)):02x}" for c in channels) for share in range(21))
    return next(tone for tone in mixed if contrast(tone, _DARK[PAPER]) >= _CONTRAST)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours as WCAG 2 defines it, 1 to 21."""
    dark, light = sorted(map(_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


RC: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.titlelocation": "left",
    "axes.labelsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "svg.hashsalt": "smilebench",
    "svg.fonttype": "path",
}
"""matplotlib settings of every figure; the fixed salt makes an SVG depend on its data alone."""
