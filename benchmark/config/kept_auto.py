"""What ``auto`` meant when the first runs of a sweep were made, kept with its results.

A machine with other devices (a login node, a laptop) then reads, and goes on with, the same runs.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmark.devices import auto_choices
from benchmark.storage.atomic import read_json, write_json
from datasets.base import cache_root

FILE = "auto.json"
_DEVICES = ("cpu", "cuda")
_VALUES = {"precision": ("fp32", "bf16"), "compile": ("off", "on"), "fold_bn": ("off", "on")}


@dataclass(frozen=True)
class KeptAuto:
    """device: what ``runtime.device: auto`` stands for; None where no run was made with it. numerics: for each device that runs were made
    on, what ``auto`` stands for in ``precision``, ``compile`` (of runs that are long enough) and ``fold_bn``.
    """

    device: str | None = None
    numerics: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


NOTHING_KEPT = KeptAuto()


def read(folder: Path) -> KeptAuto:
    """What is kept in the results ``folder``; what cannot be read there is as if it were not kept."""
    found = read_json(folder / FILE) or {}
    device, numerics = found.get("device"), found.get("numerics")
    kept = {name: _valid(numerics.get(name)) for name in _DEVICES} if isinstance(numerics, dict) else {}
    return KeptAuto(device if device in _DEVICES else None, {name: values for name, values in kept.items() if values})


def keep(folder: Path, kept: KeptAuto, device: str | None, devices: Collection[str]) -> None:
    """Add to what is ``kept``: the ``device`` that ``auto`` stands for, and for ``devices`` what it stands for on this machine."""
    new = set(devices) - kept.numerics.keys()
    missing = {name: {key: value for key, (value, _) in auto_choices(name, cache_root()).items()} for name in sorted(new)}
    whole = KeptAuto(kept.device or device, {**kept.numerics, **missing})
    if whole != kept:
        write_json(folder / FILE, asdict(whole))


def _valid(values: object) -> dict[str, str]:
    return {key: values[key] for key, valid in _VALUES.items() if values.get(key) in valid} if isinstance(values, dict) else {}
