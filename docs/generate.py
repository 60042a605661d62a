"""Pages that are made from the code when the site is built: one per method, and the reference of the command line."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import mkdocs_gen_files
import typer

import methods
from benchmark.cli.app import app
from benchmark.config.method_options import MethodInfo, method_info
from benchmark.storage import yamlio

_SPEC = importlib.util.spec_from_file_location("equations", Path(__file__).with_name("equations.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
equations = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(equations)


REFERENCE = Path(__file__).parents[1] / "results" / "reference"


def trials(folder: Path) -> dict[str, list[tuple[float, dict[str, Any], float]]]:
    """Method -> its trials in a tuned reference: learning rate, options of its own component that were tuned, validation accuracy (%)."""
    found: dict[str, list[tuple[float, dict[str, Any], float]]] = {}
    for cell in json.loads((folder / "selection.json").read_text(encoding="utf-8"))["cells"]:
        keys = [key.partition(".")[2] for key in cell["settings"] if key.startswith(f"{cell['method']}.")]
        for file in sorted(folder.glob(f"tune/runs/{cell['dataset']}-*-{cell['method']}-s*/record.json")):
            config = yamlio.read(file.with_name("config.yaml"))
            options = config["components"][0]["options"] if config["components"] else {}
            accuracy = 100 * json.loads(file.read_text(encoding="utf-8"))["val_accuracy"]
            found.setdefault(cell["method"], []).append((config["training"]["lr"], {key: options[key] for key in keys}, accuracy))
    return {method: sorted(rows, key=lambda row: row[0]) for method, rows in found.items()}


def tuning_section(name: str, info: MethodInfo, folder: Path) -> list[str]:
    """What tuning says about the method's defaults, beside fine-tuning at the same rates; nothing where it was not tuned."""
    found = trials(folder)
    plain = {lr: accuracy for lr, _, accuracy in found.get("fine_tuning", [])}
    rows = [row for row in found.get(name, []) if row[1]]
    if not rows:
        return []
    lines = ["", f"## Tuned on {folder.name}", "", "One run a row; accuracy on validation images (`sweeps/" + folder.name + ".yaml`).", ""]
    lines += ["| learning rate | settings | accuracy (%) | fine-tuning at this rate (%) |", "|---:|---|---:|---:|"]
    for lr, options, accuracy in rows:
        given = ", ".join(f"`{key}={value:g}`" for key, value in options.items())
        lines.append(f"| {lr:g} | {given} | {accuracy:.1f} | {plain[lr]:.1f} |")
    default = [row for row in rows if all(value == info.options[key].default for key, value in row[1].items())]
    worse = [f"{accuracy:.1f} against {plain[lr]:.1f}" for lr, _, accuracy in default if accuracy < plain[lr]]
    constants = ", ".join(f"`{key}={info.options[key].default}`" for key in rows[0][1])
    if not default:
        lines += ["", f"No trial was at the default ({constants})."]
    elif worse:
        lines += ["", f"The default ({constants}) loses to no effect in {len(worse)} of {len(default)} trials: {', '.join(worse)}."]
    else:
        lines += ["", f"The default ({constants}) does not lose to no effect in {len(default)} of {len(default)} trials."]
    return lines


def method_page(name: str, info: MethodInfo) -> str:
    """Citation, equation, symbols, deviations, options, cost and tuning of one method."""
    lines = [f"# {name}", ""]
    for line in re.sub(r":\w+:`~?([^`]*)`", r"`\1`", info.doc).splitlines():
        plain = line.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
        lines.append(equations.mathml(line) + "\n" if equations.is_equation(line) else plain)
    declared = info.declarations
    lines += ["", "## Options", ""]
    if info.options:
        lines += ["| option | type | default |", "|---|---|---|"]
        rows = [(key, option.annotation.replace(" | ", " or "), option.default) for key, option in info.options.items()]
        lines += [f"| `{key}` | `{annotation}` | `{default}` |" for key, annotation, default in rows]
    else:
        lines.append("None.")
    variants = {label: given for label, (base, given) in methods.VARIANTS.items() if base == name}
    if variants:
        lines += ["", "## Variants", "", "| name | is |", "|---|---|"]
        for label, given in variants.items():
            lines.append(f"| `{label}` | " + ", ".join(f"`{key}={value}`" for key, value in given.items()) + " |")
    lines += [
        "",
        "## Cost",
        "",
        f"{declared['forwards']} forward and {declared['backwards']} backward passes through the backbone per step: "
        f"{info.cost:.2f} times fine-tuning's, a backward pass counting two forwards. Set-up passes come on top.",
        *(line for file in sorted(REFERENCE.glob("*/selection.json")) for line in tuning_section(name, info, file.parent)),
        "",
        f"File: `methods/{info.target.partition(':')[0].partition('.')[2]}.py`, version {declared['version']}.",
    ]
    return "\n".join(lines) + "\n"


def methods_index(infos: dict[str, MethodInfo]) -> str:
    """A row per method."""
    lines = ["# Methods", "", "Compose them with `+`; a composition that is undefined is refused with the reason.", ""]
    lines += ["| method | paper | loss terms | cost |", "|---|---|---|---:|"]
    for name, info in infos.items():
        terms = ", ".join(info.declarations["terms"]) or "–"
        lines.append(f"| [{name}]({name}.md) | {info.declarations['paper']} | {terms} | {info.cost:.2f} |")
    return "\n".join([*lines, "", "Cost: passes through the backbone per step, fine-tuning's being 1."]) + "\n"


def commands_page(command: Any) -> str:
    """Every command with its arguments and options, as ``--help`` prints them."""
    lines = ["# Command reference", "", "`smilebench` is the same as `python -m benchmark`.", ""]
    for path, each in leaves(command, ["smilebench"]):
        lines += [f"## {' '.join(path[1:])}", "", (each.help or "").strip(), ""]
        parameters = [parameter for parameter in each.params if parameter.name != "help"]
        if parameters:
            lines += ["| argument | |", "|---|---|"]
        for parameter in parameters:
            label = ", ".join(parameter.opts) if parameter.param_type_name == "option" else parameter.name.upper()
            text = (getattr(parameter, "help", None) or "").replace("|", "\\|").replace("<", "&lt;")
            lines.append(f"| `{label}` | {text} |")
        lines.append("")
    return "\n".join(lines) + "\n"


def leaves(command: Any, path: list[str]) -> list[tuple[list[str], Any]]:
    """The commands below ``command``, groups left out."""
    if not hasattr(command, "commands"):
        return [(path, command)]
    return [leaf for name, each in command.commands.items() for leaf in leaves(each, [*path, name])]


def write(path: str, text: str) -> None:
    """Add a page to the site."""
    with mkdocs_gen_files.open(path, "w") as file:
        file.write(text)


infos = {name: method_info(name) for name in methods.METHODS}
for name, info in infos.items():
    write(f"methods/{name}.md", method_page(name, info))
write("methods/index.md", methods_index(infos))
write("commands.md", commands_page(typer.main.get_command(app)))
nav = Path(__file__).with_name("SUMMARY.md").read_text(encoding="utf-8")
rows = "\n".join(f"    - [{name}](methods/{name}.md)" for name in infos)
write("SUMMARY.md", nav.replace("    - METHODS", rows))
results = Path(__file__).with_name("results.md").read_text(encoding="utf-8")
for name in re.findall(r"\]\(images/([^)]*)\)", results):
    with mkdocs_gen_files.open(f"images/{name}", "wb") as file:
        file.write(next(REFERENCE.rglob(name)).read_bytes())
