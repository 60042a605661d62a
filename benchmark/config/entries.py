"""The rows of a sweep file's ``methods`` and ``datasets``, as they are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import methods
from benchmark.errors import UsageError, unknown
from datasets.base import data_class


@dataclass(frozen=True)
class WrittenComponent:
    """One written component of an entry: its name there, the method it is, the options that differ from the defaults."""

    name: str
    use: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One row of ``methods``: its label and components."""

    label: str
    components: tuple[WrittenComponent, ...]


def parse_entry(item: str | Mapping[str, Any], where: str) -> Entry:
    """A row of ``methods``: ``a+b``, a named variant, ``pkg.mod:Class``, or ``{name, use, option: value}``."""
    if isinstance(item, str):
        return Entry(item, _components(item, {}, where))
    given = dict(item)
    label, use = given.pop("name", None), given.pop("use", None)
    if not isinstance(label, str) or not isinstance(use, str):
        raise UsageError(f"{where}: an entry with options needs 'name' (a label of its own) and 'use' (a method)")
    if label in methods.METHODS or label in methods.VARIANTS:
        raise UsageError(f"{where}: name '{label}' is that of a built-in method; give the entry a name of its own")
    return Entry(label, _components(use, given, where))


def _components(use: str, given: Mapping[str, Any], where: str) -> tuple[WrittenComponent, ...]:
    names = use.split("+")
    unique(names, where)
    options: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in given.items():
        owner, dot, option = key.rpartition(".")
        if not dot and len(names) > 1:
            raise UsageError(f"{where}.{key}: write component.option ({', '.join(names)}) in a composition")
        if dot and owner not in options:
            raise UsageError(f"{where}.{key}: " + unknown("component of this entry", owner, names))
        options[owner if dot else names[0]][option] = value
    parts = []
    for name in names:
        base, preset = methods.VARIANTS.get(name, (name, {}))
        if name not in methods.METHODS and name not in methods.VARIANTS and ":" not in name:
            raise UsageError(f"{where}: " + unknown("method", name, [*methods.METHODS, *methods.VARIANTS]))
        parts.append(WrittenComponent(name, base, {**preset, **options[name]}))
    return tuple(parts)


def parse_dataset(item: str | Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """A row of ``datasets`` as (name, keys of the ``data`` section): a data set, or ``{name, use, key: value}``."""
    if isinstance(item, str):
        use, name, keys = item, item, {}
    else:
        keys = dict(item)
        use, name = keys.pop("use", None), keys.pop("name", None)
        if not isinstance(use, str) or not isinstance(name, str):
            raise UsageError(f"{where}: a data set with options needs 'name' (its identity) and 'use' (a name, folder:PATH or csv:FILE)")
    kind = use.partition(":")[0]
    if kind not in datasets.DATASETS:
        raise UsageError(f"{where}: " + unknown("data set", kind, datasets.DATASETS))
    options = [key for key in ("split", "test_from") if keys.get(key) is not None]
    if options and not data_class(kind).own:
        raise UsageError(f"{where}.{options[0]}: data set '{kind}' comes with its splits; this is for your own images (folder:, csv:)")
    if ":" in name:
        raise UsageError(f"{where}: '{name}' needs a name that is no path: {{name: my_images, use: '{use}'}}")
    return name, {"use": use, **keys}


def unique(names: Sequence[str], where: str) -> None:
    """Refuse a name that is given twice."""
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{where}: '{name}' is given twice")
