"""The rooms of ``benchmark/`` lie one upon the other, and nothing in them shares a name."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ORDER = (
    {"errors", "devices", "terminal"},
    {"storage"},
    {"report"},
    {"config"},
    {"published"},
    {"training"},
    {"sweep"},
    {"deploy"},
    {"tuning"},
    {"exchange"},
    {"slurm"},
    {"perf"},
    {"cli"},
)
"""From the ground up: a room imports only rooms before it, and itself."""
ENTRIES = {"benchmark", "benchmark.__main__"}
Imports = Mapping[str, set[str]]


def sources() -> dict[str, Path]:
    """Dotted name of every module of ``benchmark/`` -> its file."""
    files = sorted((ROOT / "benchmark").rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imported(text: str, modules: Mapping[str, object]) -> set[str]:
    """Modules of ``benchmark`` that a source file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & modules.keys() or {node.module}
    return found & modules.keys() - ENTRIES


def graph() -> dict[str, set[str]]:
    files = sources()
    return {name: imported(path.read_text(encoding="utf-8"), files) for name, path in files.items() if name not in ENTRIES}


def room(module: str) -> int:
    """Place of a module's room in the order."""
    return next(n for n, rooms in enumerate(ORDER) if module.split(".")[1] in rooms)


def upward(imports: Imports) -> list[str]:
    """Imports of a room that lies higher."""
    return sorted(f"{name} imports {other}" for name, used in imports.items() for other in used if room(other) > room(name))


def circles(imports: Imports) -> list[str]:
    """Modules that reach themselves by their imports. A package's own file counts where it is imported itself."""
    found = []
    for start in imports:
        seen: set[str] = set()
        front = set(imports[start])
        while front - seen:
            seen |= front
            front = set().union(*(imports.get(name, set()) for name in front))
        if start in seen:
            found.append(start)
    return sorted(found)


def test_every_folder_and_loose_file_is_a_room_of_the_list() -> None:
    known = set().union(*ORDER)
    loose = {path.stem for path in (ROOT / "benchmark").iterdir() if path.suffix == ".py"} - {"__init__", "__main__"}
    folders = {path.parent.name for path in (ROOT / "benchmark").glob("*/__init__.py")}
    assert loose | folders == known


def test_a_room_imports_only_rooms_below_it() -> None:
    assert upward(graph()) == []


def test_no_imports_go_in_a_circle() -> None:
    assert circles(graph()) == []


def test_a_wrong_import_would_be_noticed() -> None:
    found, modules = graph(), sources()
    added = {
        "benchmark.storage.atomic": "from benchmark.config import grid",
        "benchmark.report.collect": "def f():\n    from benchmark.sweep.plan import make",
        "benchmark.devices": "import benchmark.cli.app",
    }
    for name, line in added.items():
        changed = {**found, name: found[name] | imported(line, modules)}
        (wrong,) = set(upward(changed)) - set(upward(found))
        assert wrong.startswith(f"{name} imports benchmark.")
    inside = {**found, "benchmark.storage.atomic": found["benchmark.storage.atomic"] | {"benchmark.storage.run_folder"}}
    assert "benchmark.storage.atomic" in circles(inside)


def names() -> Iterator[tuple[str, str]]:
    """(name, module) of every file and public class."""
    for module, path in sources().items():
        if path.stem not in ("__init__", "__main__"):
            yield path.stem, module
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, module


def test_no_two_files_and_no_two_public_classes_share_a_name() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for name, module in names():
        found[name].append(module)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


def test_every_room_says_what_it_holds() -> None:
    for path in (ROOT / "benchmark").glob("*/__init__.py"):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert len(text) > 150, f"{path.parent.name}: one paragraph: what lives here, what comes in, what goes out"
