"""What this machine can run on, told without importing torch."""

import functools
import hashlib
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them: numbers, UUIDs or MIG ids; none after an invalid one.

    Where the variable is not set: MIG slices by their ids, of which CUDA by itself would take one, beside whole GPUs by theirs; else a
    number per GPU. CUDA numbers what it finds, whatever the device files are called; under WSL, without any, the driver's list counts.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        files = [str(n) for n, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
        if not files and not Path("/dev/dxg").exists():
            return []
        gpus, ids = driver_list()
        return ids or files or [str(n) for n in range(gpus)]
    names = (part.strip() for part in listed.split(","))
    return list(itertools.takewhile(lambda name: name.isdecimal() or name.startswith(("GPU-", "MIG-")), names))


@functools.cache
def driver_list() -> tuple[int, list[str]]:
    """How many GPUs ``nvidia-smi -L`` lists, and where some are in MIG slices the ids of slices and whole GPUs; (0, []) without it."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0, []
    found: list[tuple[str, list[str]]] = []  # each GPU with its slices
    for line in map(str.strip, done.stdout.splitlines()):
        uuid = line.rpartition("UUID: ")[2].rstrip(")")
        if line.startswith("GPU "):
            found.append((uuid, []))
        elif line.startswith("MIG ") and "UUID: " in line and found:
            found[-1][1].append(uuid)
    ids = [name for gpu, slices in found for name in (slices or [gpu])]
    return len(found), ids if any(slices for _, slices in found) else []


def cpu_count() -> int:
    """CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_devices(device: str) -> list[str]:
    """What workers are given in turn: ``cpu``, or the entries for their ``CUDA_VISIBLE_DEVICES``; none where no GPU is visible."""
    return visible_gpus() if device == "cuda" else ["cpu"]


def no_gpu() -> str:
    """Why a run on a GPU cannot be carried out where none is visible, and what can be done."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = "there is no /dev/nvidia*" if listed is None else f"CUDA_VISIBLE_DEVICES is '{listed}'"
    return f"runtime.device: 'cuda', but no GPU is visible here ({seen}); runtime.device=cpu runs without one"


def default_workers(device: str, threads: int, workers_per_gpu: int) -> int:
    """How many workers fill this machine."""
    return len(visible_gpus()) * workers_per_gpu if device == "cuda" else max(1, cpu_count() // threads)


BF16_FROM = (8, 0)
"""Compute capability from which a GPU multiplies in bfloat16."""
COMPILE_FROM_STEPS = 1000
"""A run of fewer steps does not earn back the time that compiling takes."""


@dataclass(frozen=True)
class Gpu:
    """What torch says of the first visible GPU. capability: (major, minor). memory: bytes. problem: why it cannot be used, or ''."""

    name: str = ""
    capability: tuple[int, int] = (0, 0)
    memory: int = 0
    problem: str = ""


_PROBE = """
import json, torch
found = {}
try:
    properties = torch.cuda.get_device_properties(0)
    found = {"name": properties.name, "capability": [properties.major, properties.minor], "memory": properties.total_memory}
    torch.ones(1, device="cuda").add_(1).item()
except Exception as error:
    found["problem"] = (str(error).strip() or type(error).__name__).splitlines()[0]
print(json.dumps(found))
"""


def gpu(cache: Path) -> Gpu | None:
    """The first visible GPU as torch sees it; None where none is visible.

    torch is asked in a process of its own, once per machine, driver and torch: ``cache`` is the folder where the answer is kept. A GPU
    that cannot be used is asked again, since that may be mended.
    """
    if not visible_gpus():
        return None
    driver = Path("/proc/driver/nvidia/version")
    asked = [
        platform.node(),
        os.environ.get("CUDA_VISIBLE_DEVICES"),
        metadata.version("torch"),
        driver.read_text() if driver.exists() else "",
    ]
    file = cache / "devices" / f"{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]}.json"
    try:
        return _gpu(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        found = _probe()
    if not found.problem:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(asdict(found)), encoding="utf-8")
        except OSError:
            return found  # a cache that cannot be written costs a few seconds each time
    return found


def _probe() -> Gpu:
    try:
        done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=120)
        return _gpu(json.loads(done.stdout))
    except (subprocess.TimeoutExpired, OSError) as error:
        return Gpu(problem=str(error))
    except (ValueError, TypeError):
        return Gpu(problem=(done.stderr.strip() or f"torch ended with exit code {done.returncode}").splitlines()[-1])


def _gpu(facts: dict[str, Any]) -> Gpu:
    major, minor = facts.get("capability", (0, 0))
    return Gpu(facts.get("name", ""), (major, minor), facts.get("memory", 0), facts.get("problem", ""))


def compile_problem(device: str) -> str:
    """What ``torch.compile`` lacks on this machine, in words; '' where nothing is known to be missing."""
    compilers = [os.environ.get("CC"), "cc", "gcc", "clang"] if device == "cuda" else [os.environ.get("CXX"), "g++", "clang++", "c++"]
    if not any(name and shutil.which(name) for name in compilers):
        return f"a {'C' if device == 'cuda' else 'C++'} compiler, and none is on the PATH"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return "" if header.is_file() else f"Python's headers (package python3-dev), and {header} is missing"


@dataclass(frozen=True)
class Settings:
    """How runs are carried out, with nothing left to ``auto``. why: one line per choice, for people."""

    device: str
    precision: str
    compile: str
    fold_bn: str
    why: tuple[str, ...] = ()


def auto_choices(kind: str, cache: Path) -> dict[str, tuple[str, str]]:
    """What ``auto`` stands for on this machine's devices of ``kind``, by key, with the reason. compile: of runs that are long enough.

    A machine that shows no GPU and is told ``cuda`` speaks for another one, which is taken to be of capability 8.0 or above.
    """
    if kind != "cuda":
        return {"precision": ("fp32", "a CPU"), "compile": ("off", "a CPU"), "fold_bn": ("off", "a CPU")}
    card = gpu(cache)
    usable = card is None or bool(card.problem) or card.capability >= BF16_FROM
    lacks = compile_problem("cuda") if card is not None and not card.problem else ""
    return {
        "precision": ("bf16", "capability 8.0 or above") if usable else ("fp32", "bfloat16 needs capability 8.0"),
        "compile": ("off", f"lacks {lacks}") if lacks else ("on", f"it pays from {COMPILE_FROM_STEPS} steps on"),
        "fold_bn": ("on", "a GPU"),
    }


def resolve_auto(
    device: str,
    precision: str,
    compile: str,
    fold_bn: str,
    steps: int,
    cache: Path,
    kept: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> Settings:
    """The one place where ``auto`` is decided, by what the device can do. Other values stay as they are.

    kept: for each kind of device, what ``auto`` stood for when the sweep's first runs were made, perhaps on another machine; it stays that.
    """
    kind = device if device != "auto" else "cuda" if visible_gpus() else "cpu"
    values = {"precision": precision, "compile": compile, "fold_bn": fold_bn}
    asked = [key for key, value in values.items() if value == "auto"]
    card = gpu(cache) if kind == "cuda" and asked else None
    why = [f"device: {kind}" + (" (auto)" if device == "auto" else "") + (f", {_shown(card)}" if card else "")]
    choices = auto_choices(kind, cache) if asked else {}
    for key in asked:
        here, reason = choices[key]
        value = kept.get(kind, {}).get(key, here)
        if value != here:
            reason = f"as when this sweep began; this machine would take {here}"
        if key == "compile" and value == "on" and steps < COMPILE_FROM_STEPS:
            value, reason = "off", f"{steps} steps, it pays from {COMPILE_FROM_STEPS} on"
        values[key] = value
        why.append(f"{key}: {value} (auto: {reason})")
    return Settings(kind, **values, why=tuple(why))


def explain_auto(settings: Settings, workers_per_gpu: int) -> list[str]:
    """What was decided and why, one line each, for ``plan`` and ``doctor``."""
    if settings.device != "cuda":
        return [*settings.why, "float32: IEEE"]
    return [
        *settings.why,
        "float32: IEEE, not TF32",
        "cudnn.benchmark: on (shapes are fixed)",
        f"pixels on the device: where they fit into a quarter of its memory, divided by {workers_per_gpu} workers",
        f"workers per GPU: {workers_per_gpu} (runtime.workers_per_gpu)",
    ]


def _shown(card: Gpu) -> str:
    if card.problem:
        return f"which torch cannot use: {card.problem}"
    return f"{card.name}, capability {card.capability[0]}.{card.capability[1]}, {card.memory / 2**30:.0f} GiB"
