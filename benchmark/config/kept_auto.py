"""What ``auto`` meant when the first runs of a sweep were made, kept with its results.

A machine with other devices (a login node, a laptop) then reads, and goes on with, the same runs.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmark.devices import auto_choices
from benchmark.errors import UsageError
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


def over(kept: KeptAuto, general: KeptAuto) -> KeptAuto:
    """What ``kept`` says, and ``general`` where it says nothing."""
    return KeptAuto(kept.device or general.device, {**general.numerics, **kept.numerics})


def joined(folders: Mapping[str, Path]) -> KeptAuto:
    """What is kept in all of these results folders together, by what people call them; UsageError where two do not agree."""
    device: tuple[str, str] | None = None  # a value, and the folder that says it
    numerics: dict[tuple[str, str], tuple[str, str]] = {}
    for shown, kept in ((shown, read(folder)) for shown, folder in folders.items()):
        if kept.device is not None:
            device = device or (kept.device, shown)
            _agree("runtime.device", device, (kept.device, shown))
        for name, values in kept.numerics.items():
            for key, value in values.items():
                _agree(f"{key} on {name}", numerics.setdefault((name, key), (value, shown)), (value, shown))
    found: dict[str, dict[str, str]] = {}
    for (name, key), (value, _) in numerics.items():
        found.setdefault(name, {})[key] = value
    return KeptAuto(device and device[0], found)


def _agree(key: str, first: tuple[str, str], second: tuple[str, str]) -> None:
    if first[0] != second[0]:
        raise UsageError(
            f"{second[1]}/{FILE}: {key}: auto stands for {second[0]}, and for {first[0]} in {first[1]}: their runs are of different "
            "settings, and cannot be one sweep"
        )


def keep_whole(folder: Path, kept: KeptAuto) -> None:
    """Write what ``auto`` means to the results ``folder``, where that says something else or nothing."""
    if kept != read(folder):
        write_json(folder / FILE, asdict(kept))


def keep(folder: Path, kept: KeptAuto, device: str | None, devices: Collection[str]) -> None:
    """Add to what is ``kept``: the ``device`` that ``auto`` stands for, and for ``devices`` what it stands for on this machine."""
    new = set(devices) - kept.numerics.keys()
    missing = {name: {key: value for key, (value, _) in auto_choices(name, cache_root()).items()} for name in sorted(new)}
    whole = KeptAuto(kept.device or device, {**kept.numerics, **missing})
    if whole != kept:
        write_json(folder / FILE, asdict(whole))


def _valid(values: object) -> dict[str, str]:
    return {key: values[key] for key, valid in _VALUES.items() if values.get(key) in valid} if isinstance(values, dict) else {}
