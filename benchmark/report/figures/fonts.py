"""Fonts for names that the figures' own font cannot write, such as Chinese, Japanese and Korean ones."""

from collections.abc import Iterable
from functools import cache

from matplotlib import font_manager

from benchmark.report.style import RC


def font_families(texts: Iterable[str]) -> tuple[list[str], str]:
    """The figures' font followed by installed ones for the characters of ``texts`` that it lacks, and the characters that none has."""
    own = RC["font.family"]
    left = _characters(texts) - _covered(font_manager.findfont(own))
    found = [own]
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)) if left else ():
        have = left & _covered(entry.fname)
        if have and "LastResort" not in entry.fname:
            found.append(entry.name)
            left -= have
    return found, "".join(sorted(left))


def font_note(texts: Iterable[str]) -> str:
    """What a reader must know where no installed font has all characters of ``texts``; '' where one has."""
    left = font_families(texts)[1]
    return f"No installed font has {left}: figures show boxes instead; a font that has them, once installed, is found" if left else ""


def _characters(texts: Iterable[str]) -> set[str]:
    return {character for text in texts for character in text if character.isprintable()}


@cache
def _covered(path: str) -> frozenset[str]:
    """The characters of a font file; none where it cannot be read."""
    try:
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()
