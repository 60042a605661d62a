"""Errors that are the user's to mend: the command line prints them and exits with 2."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Bad input: the message names the place, what is wrong and the valid choices."""


def first_line(error: BaseException) -> str:
    """The first line of an error's own words, or what kind of error it is where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def unknown(what: str, name: object, choices: Iterable[str]) -> str:
    """Wording for a name that is none of ``choices``, with the nearest match."""
    names = sorted(choices)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown {what} '{name}'{hint} (valid: {', '.join(names) or 'none'})"
