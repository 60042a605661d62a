"""YAML as people expect it: ``1e-3`` is a number, ``no`` is a word, ``10:30`` is text, a key given twice is an error."""

import re
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import UsageError

_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SafeDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""In C where PyYAML was built with it: a sweep writes, and its first worker reads, one file per run."""


class _Loader(_SafeLoader):
    """Safe loader with the scalar rules of YAML 1.2's core schema."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+0123456789."),
]:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def parse(text: str, where: str) -> Any:
    """The value of a YAML text; a syntax error names ``where`` and the line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: not valid YAML: {error}") from error


def read(path: Path) -> Any:
    """The value of a YAML file."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def dump(value: Any) -> str:
    """Block-style YAML with keys in the order given; reads back to the same value."""
    return yaml.dump(value, Dumper=_SafeDumper, sort_keys=False, allow_unicode=True, width=140)
