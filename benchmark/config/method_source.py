"""Method classes as their source text says them: nothing is imported and nothing of a method is run.

A class is followed through its bases to :class:`methods.base.Component`, by the names and imports of the files they stand in. What a text
cannot tell for certain (a base that is no Python source, a decorator, an ``__init__`` under ``if``) is refused, with what to write instead.
"""

import ast
import functools
import importlib.machinery
import importlib.util
import tokenize
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from benchmark.errors import UsageError

BASE = "methods.base:Component"
_NO_SOURCE = {"object", "abc:ABC"}
"""Bases that add neither options nor declarations."""


@dataclass(frozen=True)
class ClassSource:
    """A class in a source file. target: ``module:Class``. tree: of the whole file."""

    target: str
    node: ast.ClassDef
    tree: ast.Module

    @property
    def doc(self) -> str:
        """Docstrings of the file and of the class."""
        return "\n\n".join(filter(None, [ast.get_docstring(self.tree), ast.get_docstring(self.node)]))


def class_chain(target: str) -> list[ClassSource]:
    """The class ``module:Class`` and its bases in method resolution order, ending at ``Component``; UsageError where it is none."""
    module, _, name = target.partition(":")
    where = f"method '{target}'"
    found = _find(module, name, where)
    if found is None:
        raise UsageError(f"{where}: {module} defines no class '{name}'")
    chain = [source for kind in _dummy(found, where, {}).__mro__ if (source := getattr(kind, "source", None)) and "source" in vars(kind)]
    if chain[-1].target != BASE:
        raise UsageError(f"{where}: it is no method: derive it from methods.base.Component")
    for source in chain[:-1]:
        _check_plain(source, where)
    return chain


def literals(chain: list[ClassSource]) -> dict[str, Any]:
    """The declarations of a class: every literal attribute of ``Component``, as the class or the nearest of its bases has it."""
    found = _assigned(chain[-1], None)
    for source in reversed(chain[:-1]):
        found |= _assigned(source, found)
    return found


def constructor(chain: list[ClassSource]) -> tuple[str, ast.FunctionDef] | None:
    """The ``__init__`` that a class has, and the class it stands in; None where nobody defines one."""
    for source in chain:
        own = [item for item in source.node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
        if own:
            if own[-1].decorator_list:
                raise UsageError(f"method '{source.target}': __init__ has a decorator, which may change its options: write it without one")
            return source.target, own[-1]
    return None


def literal(node: ast.expr, where: str) -> Any:
    """The value of a literal; UsageError for any other expression, and for a number that is not finite."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise UsageError(f"{where} must be written as a literal, not as {ast.unparse(node)}") from error
    if isinstance(value, float) and value - value != 0:
        raise UsageError(f"{where}: {ast.unparse(node)} is no finite number")
    return value


def _dummy(source: ClassSource, where: str, known: dict[str, type | None]) -> type:
    """An empty class with empty bases: Python itself then says in which order a class looks for what it inherits.

    known: those made so far, None for one whose bases are being looked at.
    """
    if source.target in known:
        if (made := known[source.target]) is None:
            raise UsageError(f"{where}: class {source.target} is derived from itself")
        return made
    known[source.target] = None
    bases: list[type] = []
    module = source.target.partition(":")[0]
    for base in source.node.bases:
        written = ast.unparse(base)
        if isinstance(base, ast.Name | ast.Attribute) and _place(module, source.tree, written) in _NO_SOURCE:
            continue
        found = _resolve(module, source.tree, written, where) if isinstance(base, ast.Name | ast.Attribute) else None
        if found is None:
            raise UsageError(
                f"{where}: base class '{written}' of {source.target} cannot be read: derive the method from "
                "methods.base.Component, or from a class that does and that is written or imported by name"
            )
        bases.append(_dummy(found, where, known))
    try:
        made = type(source.node.name, tuple(dict.fromkeys(bases)), {"source": source})
    except TypeError as error:
        raise UsageError(f"{where}: the bases of {source.target} have no consistent order") from error
    known[source.target] = made
    return made


@functools.cache
def _class_of(target: str, where: str) -> ClassSource | None:
    """The class ``module:Class`` written in that very file."""
    module, _, name = target.partition(":")
    tree = _parse(module, where)
    nodes = [item for item in tree.body if isinstance(item, ast.ClassDef) and item.name == name]
    return ClassSource(target, nodes[-1], tree) if nodes else None


def _find(module: str, name: str, where: str, seen: Collection[str] = ()) -> ClassSource | None:
    """A class by the name it has in a module: written there, or imported into it."""
    target = f"{module}:{name}"
    if target in seen or len(seen) > 20:
        return None
    return _class_of(target, where) or _resolve(module, _parse(module, where), name, where, (*seen, target))


def _resolve(module: str, tree: ast.Module, written: str, where: str, seen: Collection[str] = ()) -> ClassSource | None:
    """The class that the expression ``written`` (``Name`` or ``package.Name``) means in a module."""
    _, dot, name = written.rpartition(".")
    if not dot and (own := _class_of(f"{module}:{name}", where)):
        return own
    place = _place(module, tree, written)
    found, _, name = place.partition(":")
    if place in seen or not found or not name or origin_of(found) is None:
        return None
    return _find(found, name, where, seen)


def _place(module: str, tree: ast.Module, written: str) -> str:
    """``module:Class`` of a name by the imports of a file; the name itself where nothing imports it."""
    owner, dot, name = written.rpartition(".")
    for local, found, attribute in _imports(module, tree):
        if not dot and local == name and attribute:
            return f"{found}:{attribute}"
        if dot and local == owner:
            return f"{found}.{attribute}:{name}" if attribute else f"{found}:{name}"
        if dot and not attribute and owner.startswith(f"{local}.") and found == local:
            return f"{owner}:{name}"
        if not dot and local == "*" and origin_of(found) is not None and _class_of(f"{found}:{name}", f"method '{found}'"):
            return f"{found}:{name}"
    return written


def _imports(module: str, tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """(name here, module, attribute there or '') of every import at the top of a file."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            found = node.module or ""
            if node.level:
                origin = origin_of(module) or ""
                parts = module.split(".") if origin.endswith("__init__.py") else module.split(".")[:-1]
                parts = parts[: len(parts) - node.level + 1]
                found = ".".join([*parts, *filter(None, [node.module])])
            for alias in node.names:
                yield alias.asname or alias.name, found, alias.name


@functools.cache
def _parse(module: str, where: str) -> ast.Module:
    origin = origin_of(module)
    if origin is None:
        raise UsageError(f"{where}: no module '{module}' on the import path; install it, or put its folder on PYTHONPATH")
    try:
        with tokenize.open(origin) as file:  # in the encoding that the file states, as Python reads it
            return ast.parse(file.read(), origin)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise UsageError(f"{where}: {origin} cannot be read as Python source: {error}") from error


def origin_of(module: str) -> str | None:
    """The file of a module. Unlike ``find_spec`` on a dotted name, imports no package on the way."""
    spec, parts = None, module.split(".")
    for n, part in enumerate(parts, start=1):
        if not part.isidentifier():
            return None
        try:
            if n == 1:
                spec = importlib.util.find_spec(part)
            else:
                places = spec.submodule_search_locations if spec else None
                spec = importlib.machinery.PathFinder.find_spec(".".join(parts[:n]), places or [])
        except (ValueError, ImportError, AttributeError):  # a module without a spec, as __main__ is
            return None
        if spec is None:
            return None
    return spec.origin if spec else None


def _assigned(source: ClassSource, wanted: Collection[str] | None) -> dict[str, Any]:
    """Class attributes assigned in the body of a class, those in ``wanted`` alone when given."""
    found: dict[str, Any] = {}
    for item in source.node.body:
        if not isinstance(item, ast.Assign | ast.AnnAssign) or item.value is None:
            continue
        for name in item.targets if isinstance(item, ast.Assign) else [item.target]:
            if isinstance(name, ast.Name) and (wanted is None or name.id in wanted):
                found[name.id] = literal(item.value, f"method '{source.target}': declaration '{name.id}'")
    return found


def _check_plain(source: ClassSource, where: str) -> None:
    """Refuse what Python would see otherwise than it is read here."""
    node, wanted = source.node, {*_assigned(_component(where), None), "__init__", "__new__"}

    def refuse(what: str, instead: str) -> UsageError:
        return UsageError(f"{where}: {what} in {source.target} cannot be read from its text: {instead}")

    if node.decorator_list or node.keywords:
        written = ast.unparse((node.decorator_list or [node.keywords[0].value])[0])
        raise refuse(f"'{written}'", "write options as keyword-only arguments of __init__, without decorators or a metaclass")
    plain: set[str] = set()
    for item in node.body:
        targets = item.targets if isinstance(item, ast.Assign) else [item.target] if isinstance(item, ast.AnnAssign) else []
        simple = {target.id for target in targets if isinstance(target, ast.Name)}
        simple |= {item.name} if isinstance(item, ast.FunctionDef) and item.name == "__init__" else set()
        changed = _names(item) - ({"__init__"} if isinstance(item, ast.FunctionDef) and item.name == "__init__" else set())
        if wrong := (changed & wanted) - (simple - {"__init__", "__new__"}) if not isinstance(item, ast.FunctionDef) else changed & wanted:
            raise refuse(f"'{min(wrong)}'", "write it in the class body, as NAME = LITERAL, or as def __init__")
        plain |= simple
    for inner in ast.walk(source.tree):
        targets = inner.targets if isinstance(inner, ast.Assign) else [inner.target] if isinstance(inner, ast.AugAssign) else []
        for target in targets:
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) == node.name and target.attr in wanted:
                raise refuse(f"'{ast.unparse(target)} = ...'", "write it in the class body")


def _component(where: str) -> ClassSource:
    module, _, name = BASE.partition(":")
    found = _find(module, name, where)
    assert found is not None
    return found


def _names(item: ast.stmt) -> set[str]:
    """Names that a statement of a class body binds; not those inside its functions."""
    if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {item.name}
    found: set[str] = set()
    for child in ast.iter_child_nodes(item):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            found.add(child.id)
        elif isinstance(child, ast.alias):
            found.add(child.asname or child.name)
        elif isinstance(child, ast.stmt):
            found |= _names(child)
        elif isinstance(child, ast.AST) and not isinstance(child, ast.Lambda):
            found |= {n.id for n in ast.walk(child) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            found |= {name for n in ast.walk(child) if isinstance(n, ast.stmt) for name in _names(n)}
    return found
