"""Equations of the methods' docstrings, plain text, as MathML: what a browser shows without a script or a font from elsewhere."""

import re

from latex2mathml.converter import convert

_GREEK = "alpha beta gamma delta epsilon eta theta lambda mu rho sigma tau phi psi omega"
_NAMES = {"lam": r"\lambda", **{name: "\\" + name for name in _GREEK.split()}}
_FUNCTIONS = {"CE", "CCE", "CCL", "KL", "softmax", "log", "min", "max", "mean", "std", "round", "Beta", "Bernoulli", "exp", "clip"}
_SIGNS = {"<-": r"\leftarrow ", "<=": r"\le ", ">=": r"\ge ", "->": r"\to ", "*": r"\,", "...": r"\dots ", "..": r"\dots "}
_TOKEN = re.compile(
    r"``[^`]*``|"
    r"[A-Za-z]+(?:0|~|\*)?'*(?:_\{[^}]*\}|_[A-Za-z0-9]+)?'*(?:\^\{[^}]*\}|\^\d+|\^[a-z](?:_[a-z])?)?|"
    r"\|\||\.\.\.|\.\.|<-|<=|>=|->|\d*\.?\d+|\s+|."
)


def is_equation(line: str) -> bool:
    """Whether an indented line of a docstring is an equation."""
    return line.startswith("    ") and bool(line.strip())


def mathml(line: str) -> str:
    """One line of plain text, such as ``x~ = lam x + (1 - lam) x'``, as a MathML element."""
    return convert(latex(line), display="block")


def latex(line: str) -> str:
    """The same as LaTeX. Parts set apart by three or more spaces become separate columns; words are text."""
    parts = [part for part in re.split(r" {3,}|(?<=,) {2,}|(?<=:) {2,}", line.strip()) if part]
    return r"\qquad ".join(_part(part) for part in parts)


def _part(text: str) -> str:
    if not re.search(r"[=~^_]|<-", text) or text.startswith("``"):
        return r"\text{" + text.replace("``", "") + "}"
    out, bars, calls = [], 0, [False]
    for token in _TOKEN.findall(text):
        if token == "||":
            divides = calls[-1]
            bars += not divides
            out.append(r"\,\|\," if divides else r"\lVert " if bars % 2 else r"\rVert ")
        elif token in "([{":
            calls.append(bool(out) and out[-1].strip() == r"\operatorname{KL}")
            out.append(r"\{" if token == "{" else token)
        elif token in ")]}":
            calls = calls[:-1] or [False]
            out.append(r"\}" if token == "}" else token)
        elif token.isspace():
            out.append(" ")
        elif token == "~":
            out.append(r"\sim ")
        elif token == ".":
            out.append(r"\cdot ")
        elif token.startswith("``"):
            out.append(r"\text{" + token.strip("`") + "}")
        elif token[0].isalpha():
            out.append(_word(token))
        else:
            out.append(_SIGNS.get(token, token))
    return "".join(out)


def _word(token: str) -> str:
    match = re.fullmatch(r"([A-Za-z]+)(0|~|\*)?('*)(?:_(\{[^}]*\}|[A-Za-z0-9]+))?('*)(?:\^(.*))?", token)
    assert match
    name, mark, early, below, late, above = match.groups()
    if name == "sqrt":
        return r"\operatorname{sqrt}"
    if name == "sum":
        base = r"\sum"
    elif name in _NAMES:
        base = _NAMES[name]
    elif name in _FUNCTIONS:
        base = rf"\operatorname{{{name}}}"
    elif len(name) > 1 and below is None and above is None and mark is None:
        return rf"\text{{{name} }}"
    else:
        base = name
    if mark == "~":
        base = rf"\tilde{{{base}}}"
    below = "0" if mark == "0" and below is None else below
    above = "{*}" if mark == "*" and above is None else above
    lower = "" if below is None else "_{" + " ".join(_inner(below.strip("{}"))) + "}"
    upper = "" if above is None else "^{" + " ".join(_inner(above.strip("{}"))) + "}"
    return f"{base}{early}{late}{lower}{upper} "


def _inner(text: str) -> list[str]:
    return [_NAMES.get(word, word) for word in re.findall(r"[a-z]{3,}|.", text)]
