"""Method options and declarations, read from source text: planning a sweep imports neither torch nor a method.

A method is ``module:Class``. Its options are the keyword-only arguments of ``__init__`` (annotation and literal
default), its declarations the literal class attributes of :class:`methods.base.Component` that it overrides.
"""

import ast
import functools
import importlib.machinery
import importlib.util
import types
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

import methods
from benchmark.errors import UsageError, unknown

_BASE = "methods.base:Component"


@dataclass(frozen=True)
class Option:
    """One option: its annotation as written, and its default value."""

    annotation: str
    default: Any


@dataclass(frozen=True)
class MethodInfo:
    """What is known of a method without running it. ``target`` is ``module:Class``."""

    name: str
    target: str
    options: Mapping[str, Option]
    declarations: Mapping[str, Any]
    doc: str

    @property
    def cost(self) -> float:
        """Passes through the backbone per step, relative to fine-tuning's; a backward pass counts two forwards."""
        return (self.declarations["forwards"] + 2 * self.declarations["backwards"]) / 3

    def resolve(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        """All options with ``given`` filled in and coerced to their types."""
        values = {name: option.default for name, option in self.options.items()}
        for name, value in given.items():
            if name not in self.options:
                raise UsageError(f"{where}.{name}: " + unknown(f"option of {self.name}", name, self.options))
            values[name] = _coerce(self.options[name].annotation, value, f"{where}.{name}")
        return values


@functools.cache
def method_info(name: str) -> MethodInfo:
    """Options and declarations of a built-in method or of an outside ``pkg.mod:Class``."""
    target = methods.METHODS.get(name, name)
    if ":" not in target:
        raise UsageError(unknown("method", name, [*methods.METHODS, *methods.VARIANTS]))
    module, _, class_name = target.partition(":")
    tree = _parse(module, target)
    node = _class(tree, class_name)
    if node is None:
        raise UsageError(f"method '{name}': {module} defines no class '{class_name}'")
    base = _literals(_class(_parse("methods.base", _BASE), "Component"), _BASE)
    declarations = {**base, **_literals(node, target, base)}
    doc = "\n\n".join(filter(None, [ast.get_docstring(tree), ast.get_docstring(node)]))
    return MethodInfo(name, target, types.MappingProxyType(_options(node, target)), types.MappingProxyType(declarations), doc)


@functools.cache
def method_looks() -> Mapping[str, tuple[str, str]]:
    """Colour (``#rrggbb``) and marker (matplotlib's) of every built-in method and named variant, as the methods' classes declare them."""
    looks: dict[str, tuple[str, str]] = {}
    for name in methods.METHODS:
        said = method_info(name).declarations
        looks |= {name: (said["color"], said["marker"]), **said["variant_looks"]}
    return types.MappingProxyType(looks)


def _parse(module: str, target: str) -> ast.Module:
    origin = _origin(module)
    if origin is None:
        raise UsageError(f"method '{target}': no module '{module}' on the import path; install it, or put its folder on PYTHONPATH")
    try:
        return ast.parse(Path(origin).read_text(encoding="utf-8"), origin)
    except (OSError, ValueError, SyntaxError) as error:
        raise UsageError(f"method '{target}': {origin} cannot be read as Python source: {error}") from error


def _origin(module: str) -> str | None:
    """The file of a module. Unlike ``find_spec`` on a dotted name, imports no package on the way."""
    spec, parts = None, module.split(".")
    for n, part in enumerate(parts, start=1):
        if not part.isidentifier():
            return None
        if n == 1:
            spec = importlib.util.find_spec(part)
        else:
            spec = importlib.machinery.PathFinder.find_spec(".".join(parts[:n]), spec.submodule_search_locations or [])
        if spec is None:
            return None
    return spec.origin


def _class(tree: ast.Module, name: str) -> ast.ClassDef | None:
    return next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)


def _literals(node: ast.ClassDef, target: str, wanted: Container[str] | None = None) -> dict[str, Any]:
    """Class attributes assigned in the body of ``node``, those in ``wanted`` alone when given."""
    found: dict[str, Any] = {}
    for item in node.body:
        names = item.targets if isinstance(item, ast.Assign) else [item.target] if isinstance(item, ast.AnnAssign) else []
        for name in names:
            if isinstance(name, ast.Name) and item.value is not None and (wanted is None or name.id in wanted):
                found[name.id] = _literal(item.value, f"method '{target}': declaration '{name.id}'")
    return found


def _literal(node: ast.expr, where: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise UsageError(f"{where} must be written as a literal, not as {ast.unparse(node)}") from error


def _options(node: ast.ClassDef, target: str) -> dict[str, Option]:
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is None:
        return {}
    others = [*init.args.posonlyargs, *init.args.args[1:], *filter(None, (init.args.vararg, init.args.kwarg))]
    if others:
        raise UsageError(f"method '{target}': option '{others[0].arg}' must be a keyword-only argument, after a bare *")
    options = {}
    for arg, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        where = f"method '{target}': option '{arg.arg}'"
        if arg.annotation is None or default is None:
            raise UsageError(f"{where} needs an annotation and a literal default")
        quoted = isinstance(arg.annotation, ast.Constant) and isinstance(arg.annotation.value, str)
        annotation = arg.annotation.value if quoted else ast.unparse(arg.annotation)
        try:
            _adapter(annotation)
        except (NameError, TypeError, AttributeError, SyntaxError) as error:
            raise UsageError(f"{where}: {annotation} is no type of an option (int, float, bool, str, Literal, tuple, X | None)") from error
        options[arg.arg] = Option(annotation, _literal(default, where))
    return options


@functools.cache
def _adapter(annotation: str) -> TypeAdapter:
    kind = eval(
        annotation, {"__builtins__": {}}, {"int": int, "float": float, "bool": bool, "str": str, "tuple": tuple, "Literal": Literal}
    )
    return TypeAdapter(kind, config=ConfigDict(strict=True))


def _coerce(annotation: str, value: Any, where: str) -> Any:
    if isinstance(value, list) and "tuple" in annotation:
        value = tuple(value)
    try:
        value = _adapter(annotation).validate_python(value)
    except ValidationError as error:
        raise UsageError(f"{where}: {value!r} is not a valid value; expected {annotation}") from error
    return float(value) if "float" in annotation and isinstance(value, int) and not isinstance(value, bool) else value


def check_composition(label: str, infos: Sequence[MethodInfo], val_fraction: float, where: str) -> None:
    """Refuse a composition that is undefined whatever the network, with the reason."""
    mixers = [info.name for info in infos if info.declarations["mixer"]]
    refusal = None
    if len(mixers) > 1:
        refusal = f"{' and '.join(mixers)} both mix inputs; a run has at most one mixer"
    for info in infos:
        if info.declarations["needs_input_mixing"] and not mixers:
            refusal = f"{info.name} needs a component that mixes inputs"
        if info.declarations["hard_labels"] and mixers:
            refusal = f"{info.name} needs unmixed labels, and {mixers[0]} mixes them"
        if info.declarations["compares_networks"] and any(other.declarations["mixes_inside"] for other in infos):
            refusal = f"{info.name} compares the network with its source, and {mixers[0]} mixes inside the one but not the other"
        if info.declarations["needs_val"] and val_fraction == 0:
            refusal = f"{info.name} needs a validation part (data.val_fraction above 0)"
    if refusal:
        raise UsageError(f"{where}: method '{label}': {refusal}")
