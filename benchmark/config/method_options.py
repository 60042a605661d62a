"""Options and declarations of methods, from their source text: planning a sweep imports neither torch nor a method.

A method is ``module:Class``. Its options are the keyword-only arguments of ``__init__`` (annotation and literal
default), its declarations the literal class attributes of :class:`methods.base.Component` that it or a base overrides.
"""

import ast
import functools
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Optional, Union

from pydantic import ConfigDict, TypeAdapter, ValidationError

import methods
from benchmark.config import method_source
from benchmark.errors import UsageError, unknown

_TYPES: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "None": None}
_GENERICS: dict[str, Any] = {"tuple": tuple, "Tuple": tuple, "Literal": Literal, "Optional": Optional, "Union": Union}


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
    chain = method_source.class_chain(target)
    options, declarations = _options(chain), method_source.literals(chain)
    return MethodInfo(name, target, types.MappingProxyType(options), types.MappingProxyType(declarations), chain[0].doc)


@functools.cache
def method_looks() -> Mapping[str, tuple[str, str]]:
    """Colour (``#rrggbb``) and marker (matplotlib's) of every built-in method and named variant, as the methods' classes declare them."""
    looks: dict[str, tuple[str, str]] = {}
    for name in methods.METHODS:
        said = method_info(name).declarations
        looks |= {name: (said["color"], said["marker"]), **said["variant_looks"]}
    return types.MappingProxyType(looks)


def _options(chain: list[method_source.ClassSource]) -> dict[str, Option]:
    found = method_source.constructor(chain)
    if found is None:
        return {}
    target, init = found
    others = [*init.args.posonlyargs, *init.args.args[1:], *filter(None, (init.args.vararg, init.args.kwarg))]
    if others:
        raise UsageError(f"method '{target}': option '{others[0].arg}' must be a keyword-only argument, after a bare *")
    options = {}
    for arg, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        where = f"method '{target}': option '{arg.arg}'"
        if arg.annotation is None or default is None:
            raise UsageError(f"{where} needs an annotation and a literal default")
        quoted = arg.annotation.value if isinstance(arg.annotation, ast.Constant) else None
        annotation = quoted if isinstance(quoted, str) else ast.unparse(arg.annotation)
        value = method_source.literal(default, where)
        try:
            _adapter(annotation).validate_python(value)
        except ValidationError as error:
            raise UsageError(f"{where}: its default {value!r} is not of its type {annotation}") from error
        except (TypeError, ValueError, SyntaxError, RecursionError) as error:
            raise UsageError(f"{where}: {annotation} is no type of an option (int, float, bool, str, Literal, tuple, X | None)") from error
        options[arg.arg] = Option(annotation, value)
    return options


@functools.cache
def _adapter(annotation: str) -> TypeAdapter:
    kind = _type(ast.parse(annotation.strip(), mode="eval").body)
    return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))


def _type(node: ast.expr) -> Any:
    """The type that an annotation names, of those an option may have; TypeError for any other expression. Nothing is evaluated."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str() as text):
            return _type(ast.parse(text.strip(), mode="eval").body)
        case ast.Name(id=name) if name in _TYPES:
            return _TYPES[name]
        case ast.Name(id="tuple" | "Tuple"):
            return tuple
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left) | _type(right)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(value=ast.Name(id="typing"), attr=name), slice=inner) if (
            name in _GENERICS
        ):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if name == "Literal":
                return Literal[tuple(ast.literal_eval(part) for part in parts)]
            kinds = [... if isinstance(part, ast.Constant) and part.value is ... else _type(part) for part in parts]
            return _GENERICS[name][tuple(kinds) if len(kinds) > 1 else kinds[0]]
    raise TypeError(ast.unparse(node))


def _coerce(annotation: str, value: Any, where: str) -> Any:
    if isinstance(value, list) and "tuple" in annotation.lower():
        value = tuple(value)
    try:
        value = _adapter(annotation).validate_python(value)
    except ValidationError as error:
        raise UsageError(f"{where}: {value!r} is not a valid value; expected {annotation}") from error
    return float(value) if "float" in annotation and isinstance(value, int) and not isinstance(value, bool) else value


def composition_cost(infos: Sequence[MethodInfo]) -> float:
    """Passes through the backbone per step of components together, relative to fine-tuning's.

    What a component needs beside the student's own passes is added, but a mixer with more rows and a frozen backbone change what the
    student's passes cost, and a second pass repeats them together with every loss term's.
    """
    student, terms, once, repeats = 1.0, 0.0, 0.0, 1.0
    for info in infos:
        said = info.declarations
        if said["moves_weights"]:
            repeats *= info.cost
        elif said["more_rows"] or said["backwards"] == 0:
            student *= info.cost
        elif said["terms"]:
            terms += info.cost - 1
        else:
            once += info.cost - 1
    return repeats * (student + terms) + once


def check_composition(label: str, infos: Sequence[MethodInfo], val_fraction: float, where: str) -> None:
    """Refuse a composition that is undefined whatever the network, with the reason."""
    mixers = [info.name for info in infos if info.declarations["mixer"]]
    inside, rows = _declaring(infos, "mixes_inside"), _declaring(infos, "more_rows")
    refusals = []
    for key, reason in (
        ("mixer", "mix inputs; a run has at most one mixer"),
        ("moves_weights", "move the weights for a second pass; a run has at most one of them"),
        ("chooses_weights", "choose the weights that are evaluated; a run has at most one of them"),
    ):
        names = _declaring(infos, key)
        if len(names) > 1:
            refusals.append(f"{' and '.join(names)} both {reason}")
    for info in infos:
        name, said = info.name, info.declarations
        if said["needs_input_mixing"] and not mixers:
            refusals.append(f"{name} needs a component that mixes inputs")
        if said["hard_labels"] and mixers:
            refusals.append(f"{name} needs unmixed labels, and {mixers[0]} mixes them")
        if said["compares_networks"] and inside:
            refusals.append(f"{name} compares the network with its source, and {inside[0]} mixes inside the one but not the other")
        if said["compares_networks"] and rows:
            refusals.append(f"{name} compares networks image by image, and the batches of {rows[0]} have more rows than images")
        if said["needs_val"] and val_fraction == 0:
            refusals.append(f"{name} needs a validation part (data.val_fraction above 0)")
        if said["needs_head_start"] and not _declaring(infos, "sets_head"):
            givers = [other for other in methods.METHODS if method_info(other).declarations["sets_head"]]
            reason = "needs a start whose head already classifies, and a randomly drawn one does not"
            refusals.append(f"{name} {reason}; compose it with {' or '.join(givers)}")
        if said["pairs_parameters"] and (adding := _declaring(infos, "adds_parameters")):
            refusals.append(f"{name} sets each parameter against the source's, and {adding[0]} adds parameters that the source has not")
    if refusals:
        raise UsageError(f"{where}: method '{label}': {refusals[0]}")


def _declaring(infos: Sequence[MethodInfo], key: str) -> list[str]:
    """The names of the components that declare ``key``."""
    return [info.name for info in infos if info.declarations[key]]
