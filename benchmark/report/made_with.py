"""What images and weights a run was made with, and which settings say what images these are."""

import functools
import json
from collections.abc import Mapping
from typing import Any

DECODE = ("resize", "keep_aspect", "fast_decode", "exif")
"""Settings of ``data`` that say how images are decoded."""

DIVISION = ("split", "test_from")
"""Settings of ``data`` that say which of them are of which split."""


def hashes(record: Mapping[str, Any]) -> dict[str, str]:
    """The hashes of the images and weights that a run was made with, from its record, by what messages call them.

    Without weights where those are random and differ from seed to seed, and without pixels where an older record says nothing of them.
    """
    found = {name: record.get(name) for name in ("data_hash", "pixels_hash", "weights_hash")}
    for name, values in record.get("also_test", {}).items():
        found |= {f"{kind} of '{name}'": values.get(kind) for kind in ("data_hash", "pixels_hash")}
    return {name: value for name, value in found.items() if isinstance(value, str) and not value.startswith("random:")}


def image_settings(data: Mapping[str, Any], name: str) -> str:
    """The settings in the section ``data`` that one of :func:`hashes` depends on: overrides may give two runs of a data set others."""
    if name == "weights_hash":
        return ""
    second = data.get("also_test") if name.endswith("'") else None
    source = second if isinstance(second, Mapping) else data
    return json.dumps([*(data.get(key) for key in DECODE), *(source.get(key) for key in DIVISION)], sort_keys=True)


@functools.lru_cache(maxsize=1024)
def data_section(text: str) -> Mapping[str, Any]:
    """``data`` of a ``config.yaml``; empty where it says nothing of it."""
    from benchmark.storage import yamlio

    try:
        found = yamlio.parse(text, "config.yaml")
    except ValueError:
        return {}
    data = found.get("data") if isinstance(found, dict) else None
    return data if isinstance(data, dict) else {}
