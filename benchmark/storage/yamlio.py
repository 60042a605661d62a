"""YAML and JSON as people expect them, whatever is in a file: every other shape than the wanted one is a named refusal.

``1e-3`` is a number, ``no`` is a word, ``10:30`` is text, ``010`` is ten, a key given twice is an error, a number is finite.
"""

import codecs
import json
import re
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import UsageError

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SafeDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""In C where PyYAML was built with it: a sweep writes, and its first worker reads, one file per run."""

LONGEST = 4_000_000
"""Characters of the longest file that is read."""
_DEEPEST = 50
_MOST_NODES = 1_000_000
_DIGITS = 30


class _Loader(_SafeLoader):
    """Safe loader with the scalar rules of YAML 1.2's core schema, for values that JSON has too."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        """A mapping whose keys are words; merge keys (``<<``) are read."""
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "a mapping is needed here", node.start_mark)
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        seen = set()
        for key in own:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is a word, not a list or a mapping", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' is given twice", key.start_mark)
            seen.add(key.value)
            key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+0123456789."),
    ("merge", r"<<", "<"),
]:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _whole(loader: yaml.Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    if not re.fullmatch(rf"[-+]?[0-9]{{1,{_DIGITS}}}", text):
        shown = text if len(text) < 40 else f"{text[:40]}..."
        raise yaml.constructor.ConstructorError(None, None, f"'{shown}' is no whole number of up to {_DIGITS} digits", node.start_mark)
    return int(text)


def _finite(loader: yaml.Loader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")  # also what YAML spells .inf and .nan
    if value - value != 0:
        raise yaml.constructor.ConstructorError(None, None, f"'{text[:40]}' is no finite number", node.start_mark)
    return value


def _yes_or_no(loader: yaml.Loader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node)).lower()
    if text not in ("true", "false"):
        raise yaml.constructor.ConstructorError(None, None, f"'{text[:40]}' is neither true nor false", node.start_mark)
    return text == "true"


def _foreign(loader: yaml.Loader, node: yaml.Node) -> None:
    raise yaml.constructor.ConstructorError(None, None, f"tag {node.tag} is not read: write plain values", node.start_mark)


_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "str", "seq", "map")}
_Loader.yaml_constructors = {tag: value for tag, value in _SafeLoader.yaml_constructors.items() if tag in _PLAIN}
_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _finite)
_Loader.add_constructor("tag:yaml.org,2002:bool", _yes_or_no)
_Loader.add_constructor(None, _foreign)


def parse(text: str, where: str) -> Any:
    """The value of a YAML text; what is wrong names ``where`` and the line."""
    if len(text) > LONGEST:
        raise UsageError(f"{where}: {len(text)} characters are more than the {LONGEST} that are read")
    try:
        _check_shape(text)
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        begun = f" (line {error.context_mark.line + 1})" if error.context and error.context_mark else ""
        said = f"{error.context}{begun}: {error.problem}" if error.context else str(error.problem)
        raise UsageError(f"{where}: not valid YAML: {said}{place}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{where}: not valid YAML: character {error.character!r} may not stand in it (line {line})") from error
    except UnicodeEncodeError as error:
        raise UsageError(f"{where}: not valid YAML: it is no UTF-8") from error


def _check_shape(text: str) -> None:
    """Refuse what is nested so deeply that the parser's own recursion would end the process, and aliases that multiply."""
    depth = 0
    sizes: dict[str, int] = {}  # nodes behind each anchor, aliases resolved
    open_: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, _SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.composer.ComposerError(None, None, f"alias '{event.anchor}' names nothing before it", event.start_mark)  # type: ignore[arg-type]
            total += sizes[event.anchor]
        elif isinstance(event, yaml.NodeEvent):
            total += 1
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                open_.append((event.anchor, total))
            elif event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            anchor, before = open_.pop()
            if anchor:
                sizes[anchor] = total - before + 1
        if depth > _DEEPEST:
            raise yaml.constructor.ConstructorError(None, None, f"nested deeper than {_DEEPEST} levels", event.start_mark)  # type: ignore[arg-type]
        if total > _MOST_NODES:
            raise yaml.constructor.ConstructorError(None, None, f"more than {_MOST_NODES} values, aliases counted", event.start_mark)  # type: ignore[arg-type]


def read_text(path: Path) -> str:
    """A text file of the user's: UTF-8, or UTF-16 with its mark, as YAML allows; any other is refused with the line."""
    try:
        content = path.read_bytes()
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(10) + 1
        raise UsageError(f"{path}: not UTF-8 (line {line}): save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a path that no file system takes
        raise UsageError(f"{str(path)!r}: cannot be read: {error}") from error


def read(path: Path) -> Any:
    """The value of a YAML file."""
    return parse(read_text(path), str(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys of a YAML file; any other shape is refused."""
    found = read(path)
    if not isinstance(found, dict):
        kind = "empty" if found is None else "a list" if isinstance(found, list) else f"{found!r:.40}"
        raise UsageError(f"{path}: a mapping of keys is needed, and this is {kind}")
    return found


def read_json_mapping(path: Path) -> dict[str, Any]:
    """The object of a JSON file; any other shape, a number that is not finite among them, is refused."""
    try:
        found = json.loads(read_text(path), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path}: not a JSON object")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no finite number")


def dump(value: Any) -> str:
    """Block-style YAML with keys in the order given; reads back to the same value."""
    return yaml.dump(value, Dumper=_SafeDumper, sort_keys=False, allow_unicode=True, width=140)
