"""In what a run that was carried out differs from the run that is asked for now."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmark.config.run_config import LEGACY, RunConfig
from benchmark.errors import UsageError
from benchmark.storage import yamlio
from benchmark.storage.run_folder import RunFolder

_LABELS = {"sweep", "method", "protocol", "backbone", "data.use", "data.also_test.use"}
"""Keys that are no part of a run's identity."""


class Earlier:
    """Run folders of other settings than the sweep's, by what their names say: data set, fraction, method and seed."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._found: dict[str, list[RunFolder]] = {}
        for name in names:
            self._found.setdefault(cell_of(name), []).append(RunFolder(folder / name))
        self._known: dict[tuple, str] = {}

    def change(self, config: RunConfig) -> str:
        """The settings in which ``config`` differs from the run of its cell and seed finished last; empty when none is finished."""
        finished = [run for run in self._found.get(cell_of(config.run_id), ()) if run.record_path.exists()]
        if not finished:
            return ""
        last = max(finished, key=_finished_at)
        text = last.config_path.read_text("utf-8", errors="replace") if last.config_path.exists() else ""
        key = (re.sub(r"^seed: .*\n", "", text, flags=re.M), config.canonical)  # the seed is the same
        if key not in self._known:
            self._known[key] = _difference(key[0], config)
        return self._known[key]


def _finished_at(run: RunFolder) -> float:
    try:
        return run.record_path.stat().st_mtime
    except OSError:  # moved away since
        return 0.0


def cell_of(run_id: str) -> str:
    """What a run id says of data set, fraction, method and seed: all but its hash."""
    return run_id.rpartition("-")[0]


def _difference(text: str, config: RunConfig) -> str:
    now = dict(_flat(config.model_dump(mode="json", exclude={"seed"})))
    try:
        before = dict(_flat(yamlio.parse(text, "config.yaml")))
    except (UsageError, AttributeError, KeyError, TypeError):
        return "settings of another version"
    keys = [key for key in {**before, **now} if before.get(key, LEGACY.get(key)) != now.get(key, LEGACY.get(key))]
    return ", ".join(f"{key} {_word(before, key)} -> {_word(now, key)}" for key in keys) or "another version of the training code"


def _word(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "(absent)")
    return "null" if value is None else str(value)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        key = f"{prefix}{name}"
        if key in _LABELS or key == "runtime":
            continue
        if key == "components":
            for component in value:
                yield f"{component['name']}.version", component["version"]
                yield from _flat(component["options"], f"{component['name']}.")
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        else:
            yield key, value
