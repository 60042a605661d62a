"""Which methods of a group are variants of its baseline, and in what they differ from it: read from the runs' settings."""

from typing import Any

from benchmark.report.cells import Cell, Group


def variants(group: Group) -> list[tuple[Cell, str]]:
    """Cells made of the same methods as the baseline with other options, each with those options as ``option: from → to``.

    Empty where the runs kept no settings.
    """
    base = group.cell(group.baseline)
    full = _components(base) if base else []
    found = []
    for cell in group.cells:
        parts = _components(cell)
        if cell.method != group.baseline and parts and [part["use"] for part in parts] == [part["use"] for part in full]:
            found.append((cell, _changes(full, parts)))
    return found


def _components(cell: Cell) -> list[dict[str, Any]]:
    return cell.runs[0].settings().get("components", []) if cell.runs else []


def _changes(full: list[dict[str, Any]], parts: list[dict[str, Any]]) -> str:
    texts = []
    for before, after in zip(full, parts, strict=True):
        old, new = before["options"], after["options"]
        prefix = f"{after['use']}." if len(parts) > 1 else ""
        texts += [f"{prefix}{key}: {_text(old.get(key))} → {_text(value)}" for key, value in new.items() if value != old.get(key)]
    return ", ".join(texts)


def _text(value: Any) -> str:
    return "none" if value is None else ("off", "on")[value] if isinstance(value, bool) else str(value)
