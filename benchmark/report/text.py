"""Tables as text: Markdown, LaTeX and CSV. Every table of the project is written by these functions.

Nothing heavy is imported here: a report that did not change is printed again from its saved tables.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NONE = "–"

EVALUATED = "The last iterate is evaluated, once (of EMA, SWA and WiSE-FT what they make of the iterates)."

UNSELECTED = f"No selection. {EVALUATED}"

CAPTION = (
    "Mean ± half width of the 95 % t-interval over seeds (a seed draws subset, order, augmentation and new head together). "
    f"{UNSELECTED} "
    "Difference: to the baseline, paired by seed, with the paired-t interval; p: paired t-test, Holm-corrected over the methods of "
    "this table. Feature gap: mean deviation over pairs, relative to the pairs' mean distance; label gap: mean L1 distance; both over "
    "0 < λ < 1, lower is more linear. "
    "Rates and minutes are means per run; hours are of all runs behind the row together (CPU-hours: times threads)."
)


def caption(selection: str) -> str:
    """The words below a main table; ``selection`` says how settings were chosen, '' that none were."""
    return CAPTION.replace(UNSELECTED, f"{selection} {EVALUATED}" if selection else UNSELECTED)


def signed(value: float, form: str = "{:.1f}") -> str:
    """``+0.7``, ``−0.2``; what rounds to zero has no sign."""
    text = form.format(abs(value))
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def signed_interval(mean: float, low: float | None, high: float | None, form: str = "{:.1f}") -> str:
    """``+0.7 [−0.1, 1.4]``, without the bracket where there is no interval."""
    if low is None or high is None:
        return signed(mean, form)
    ends = ", ".join(signed(end, form).removeprefix("+") for end in (low, high))
    return f"{signed(mean, form)} [{ends}]"


@dataclass(frozen=True)
class Value:
    """One table entry: its text, the number it sorts by (None sorts last), and its mark: ``best``, ``tied`` or ''."""

    text: str
    sort: float | str | None = None
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table as text: ``marks`` are those of the rows' second entries, ``compact`` the columns that a narrow terminal shows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    marks: tuple[str, ...]
    notes: tuple[str, ...]
    compact: tuple[int, ...]

    def marked_rows(self) -> list[list[tuple[str, str]]]:
        """Per row the (text, mark) of its entries."""
        return [
            [(value.text, value.mark or (mark if index == 1 else "")) for index, value in enumerate(row)]
            for row, mark in zip(self.rows, self.marks, strict=True)
        ]


def to_markdown(tables: Sequence[Table], caption: str = CAPTION) -> str:
    """GitHub-flavoured Markdown, one section per table; a table without rows is its notes alone."""
    blocks = []
    for table in tables:
        lines = [f"### {one_line(table.title)}", ""]
        if table.rows:
            lines += [*markdown_table(table.columns, [[_markdown(*entry) for entry in row] for row in table.marked_rows()]), ""]
        blocks.append("\n".join([*lines, *(f"- {one_line(note)}" for note in table.notes)]).rstrip("\n"))
    return "\n\n".join([*blocks, caption]) + "\n"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], align: str = "right") -> list[str]:
    """Lines of a GitHub-flavoured table; ``align`` is that of all columns but the first."""
    rule = " ---: |" if align == "right" else " --- |"
    return [_markdown_row(columns), "| --- |" + rule * (len(columns) - 1), *map(_markdown_row, rows)]


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file with a heading; None is an empty field.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, as spreadsheets themselves write it.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(csv_field, columns))
    writer.writerows(map(csv_field, row) for row in rows)
    return file.getvalue()


def csv_field(value: object) -> object:
    """``value`` as :func:`csv_text` writes it; a carriage return, which would end the row for some readers, as a line feed."""
    if not isinstance(value, str):
        return value
    text = re.sub("\r\n?", "\n", value)
    return f"'{text}" if value.startswith(_FORMULA) else text


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def one_line(text: str) -> str:
    """``text`` with every run of blanks and line breaks as one blank: in a table a line break would end the row."""
    return " ".join(text.split())


def _markdown(text: str, mark: str) -> str:
    return {"best": f"**{text}**", "tied": f"{text} ≈"}.get(mark, text)


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(one_line(text).replace("|", r"\|") for text in texts) + " |"


def to_latex(tables: Sequence[Table], sweep: str, caption: str = CAPTION) -> str:
    """One booktabs ``table*`` per table; needs ``\\usepackage{booktabs,graphicx}``; one too wide for the page is scaled to it."""
    blocks: list[str] = []
    for number, table in enumerate(tables, start=1):
        words = [f"{_tex(table.title)}.", _tex(caption), *(_tex(note) + "." for note in table.notes)]
        blocks.append(_float(" ".join(words), f"tab:{_label(sweep)}-{number}", len(table.columns), _head(table.columns), [_body(table)]))
    return _document(blocks)


def to_latex_panels(tables: Sequence[Table], caption: str, label: str) -> str:
    """One booktabs ``table*`` with a panel per table, under the columns of the first; a table without rows is a comment of its notes."""
    if not any(table.rows for table in tables):
        return "".join(f"% {_tex(note)}\n" for table in tables for note in table.notes)
    notes = [_tex(note) + "." for table in tables for note in table.notes]
    columns = tables[0].columns
    title = rf"\multicolumn{{{len(columns)}}}{{l}}{{\textit{{%s}}}} \\"
    panels = [[title % _tex(table.title), *_body(table)] if len(tables) > 1 else _body(table) for table in tables]
    block = _float(" ".join([_tex(caption), *notes]), f"tab:{_label(label)}", len(columns), _head(columns), panels)
    return _document([block])


def _document(blocks: Sequence[str]) -> str:
    """The blocks below a comment of what they need."""
    lines = [r"% needs \usepackage{booktabs,graphicx}"]
    points = dict.fromkeys(re.findall(r"U\+[0-9A-F]{4,6}", "\n".join(blocks)))
    if points:
        lines.append(f"% {', '.join(points)} stand for characters without a LaTeX command: write them and compile with XeLaTeX")
    return "\n\n".join(["\n".join(lines), *blocks]) + "\n"


def _float(caption: str, label: str, columns: int, head: str, panels: Sequence[Sequence[str]]) -> str:
    body = [line for number, panel in enumerate(panels) for line in ([r"\midrule"] if number else []) + list(panel)]
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{caption}}}",
            rf"\label{{{label}}}",
            r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{" + rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table*}",
        ]
    )


def _head(columns: Sequence[str]) -> str:
    return " & ".join(_tex_head(title) for title in columns) + r" \\"


def _body(table: Table) -> list[str]:
    return [_row([_tex_entry(_tex(text), mark) for text, mark in row]) for row in table.marked_rows()]


def _row(entries: Sequence[str]) -> str:
    """A row; the line break before it would take a leading bracket or star as its own argument."""
    guard = "{}" if entries[0].startswith(("[", "*")) else ""
    return guard + " & ".join(entries) + r" \\"


def _tex_entry(text: str, mark: str) -> str:
    return {"best": rf"\textbf{{{text}}}", "tied": rf"{text} $\approx$"}.get(mark, text)


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
    "µ": r"$\mu$",
    "ß": r"\ss{}",
    "→": r"$\rightarrow$",
    "≈": r"$\approx$",
    "‡": r"$^\ddagger$",
    "<": "$<$",
    ">": "$>$",
    "|": r"$|$",
}


_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u030a": "r",
    "\u030c": "v",
    "\u0327": "c",
}
"""Combining characters and the LaTeX accents that write them."""


def _tex(text: str) -> str:
    """``text`` for LaTeX in ASCII; a character that no command is known for becomes its code point."""
    return "".join(_TEX.get(c) or (c if c.isascii() else _accented(c)) for c in one_line(text))


def _accented(character: str) -> str:
    base, *accents = list(unicodedata.normalize("NFD", character))
    if base.isascii() and len(accents) == 1 and accents[0] in _ACCENTS:
        return rf"\{_ACCENTS[accents[0]]}{{{base}}}"
    return f"U+{ord(character):04X}"


def _tex_head(title: str) -> str:
    """A column title broken into short lines."""
    return r"\shortstack{" + r" \\ ".join(_tex(word) for word in re.split(" (?!%)", title)) + "}"


def _label(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
