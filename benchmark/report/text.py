"""Tables as text, and their Markdown and LaTeX forms.

Nothing heavy is imported here: a report that did not change is printed again from its saved tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass

NONE = "–"

UNSELECTED = "No selection: the last iterate is evaluated, once."

CAPTION = (
    "Mean ± half width of the 95 % t-interval over seeds (a seed draws subset, order, augmentation and new head together). "
    f"{UNSELECTED} "
    "Difference: to the baseline, paired by seed, with the paired-t interval; p: paired t-test, Holm-corrected over the methods of "
    "this table. Feature gap: relative; label gap: L1; both are means over pairs and 0 < λ < 1, lower is more linear. "
    "Rates and minutes are means per run."
)


def caption(selection: str) -> str:
    """The words below a main table; ``selection`` says how settings were chosen, '' that none were."""
    return CAPTION.replace(UNSELECTED, f"{selection} The last iterate is evaluated, once." if selection else UNSELECTED)


@dataclass(frozen=True)
class Value:
    """One table entry: its text, and the number it sorts by (None sorts last)."""

    text: str
    sort: float | str | None = None


@dataclass(frozen=True)
class Table:
    """A table as text: ``compact`` are the positions of the columns that a narrow terminal shows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    marks: tuple[str, ...]
    notes: tuple[str, ...]
    compact: tuple[int, ...]


def to_markdown(tables: Sequence[Table], caption: str = CAPTION) -> str:
    """GitHub-flavoured Markdown, one section per table."""
    blocks = []
    for table in tables:
        lines = [_markdown_row(table.columns), "| --- |" + " ---: |" * (len(table.columns) - 1)]
        for row, mark in zip(table.rows, table.marks, strict=True):
            texts = [value.text for value in row]
            texts[1] = {"best": f"**{texts[1]}**", "tied": f"{texts[1]} ≈"}.get(mark, texts[1])
            lines.append(_markdown_row(texts))
        blocks.append(f"### {table.title}\n\n" + "\n".join(lines) + "\n\n" + "\n".join(f"- {note}" for note in table.notes))
    return "\n\n".join([*blocks, caption]) + "\n"


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in texts) + " |"


def to_latex(tables: Sequence[Table], sweep: str, caption: str = CAPTION) -> str:
    """One booktabs ``table*`` per table; needs ``\\usepackage{booktabs}`` and nothing else."""
    blocks = [r"% needs \usepackage{booktabs}"]
    for number, table in enumerate(tables, start=1):
        lines = [
            r"\begin{table*}",
            r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{_tex(table.title)}. {_tex(caption)} {' '.join(_tex(note) + '.' for note in table.notes)}}}",
            rf"\label{{tab:{_label(sweep)}-{number}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            " & ".join(_tex_head(title) for title in table.columns) + r" \\",
            r"\midrule",
        ]
        for row, mark in zip(table.rows, table.marks, strict=True):
            texts = [_tex(value.text) for value in row]
            texts[1] = {"best": rf"\textbf{{{texts[1]}}}", "tied": rf"{texts[1]} $\approx$"}.get(mark, texts[1])
            lines.append(" & ".join(texts) + r" \\")
        blocks.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]))
    return "\n\n".join(blocks) + "\n"


_TEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "λ": r"$\lambda$",
    "≈": r"$\approx$",
    "‡": r"$^\ddagger$",
    "<": "$<$",
    ">": "$>$",
    "|": r"$|$",
}


def _tex(text: str) -> str:
    """``text`` for LaTeX; a character outside ASCII that no command is known for becomes a question mark."""
    return "".join(_TEX.get(c, c if c.isascii() else "?") for c in text)


def _tex_head(title: str) -> str:
    """A column title broken into short lines."""
    return r"\shortstack{" + r" \\ ".join(_tex(word) for word in title.split(" ")) + "}"


def _label(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
