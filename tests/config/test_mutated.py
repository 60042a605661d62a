"""Sweep files with something wrong in them: whatever it is, ``plan`` says it in a line, or plans."""

import copy
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.cli import printing
from benchmark.config import grid
from benchmark.errors import UsageError
from benchmark.terminal import Terminal
from datasets.base import DataError

VALID: dict[str, Any] = {
    "name": "made_up",
    "datasets": ["digits", {"name": "again", "use": "digits", "resize": 64}],
    "fractions": [0.15, 1.0],
    "seeds": [0, 3],
    "baseline": "fine_tuning",
    "protocol": "smile",
    "precision": "fp32",
    "methods": [
        "fine_tuning",
        "l2_sp+mixup",
        {"name": "weak", "use": "smile", "feature_weight": 0.001},
        {"name": "both", "use": "delta+mixup", "delta.n_batches": 1},
    ],
    "training": {"steps": 20, "batch_size": 8, "image_size": 32, "lr": 0.01, "momentum": 0.9, "schedule": "cosine"},
    "linearity": {"pairs": 8, "lambdas": 3},
    "data": {"sampling": "stratified", "val_fraction": 0.2},
    "evaluation": {"batch_size": 16},
    "runtime": {"device": "cpu", "threads": 1},
    "overrides": [{"match": {"method": "mixup", "seed": [0]}, "set": {"mixup.alpha": 0.3, "training.lr": 0.02}}],
    "slurm": {"partition": "short", "time": "2:00:00", "mem": "4G", "sbatch": {"constraint": "a100"}, "setup": ["module load x"]},
    "give_up_after": 3,
}
ODD = [
    None, True, 0, -1, 1, 10**25, 1e308, -0.5, "", " ", ".", "..", "a\nb", "[/x]", "smile", "auto", "folder:", "folder:/nowhere",
    "~nobody/x", "my:M", "os:path", "builtins:int", "é" * 200, "\x1b[2J", "a/b", "%j",
    [], [[]], [None], {}, {"a": 1}, {"use": 3}, [{}], "1e400", "..:M",
]  # fmt: skip
TEXTS = [
    "\x00", "\ufeff", "\t", "[" * 200, "- " * 200, "&a [*a]", "*nowhere", "!!int x", "!!python/object:os.system x", "'", '"', "%",
    "? [a]\n: b",
    "\n---\nmore: 1\n", "<<: {seeds: 3}\n", "<<: 3\n", ": \n", "\xe9", ".inf", "010", "9" * 5000, "!!set {a}", "\x1b", "a: b: c", "{", "}",
]  # fmt: skip
KEYS = [
    "int",
    "str",
    "dict[x]",
    "",
    "seedz",
    "use",
    "name",
    "__init__",
    "a.b",
    "data.use",
    "1",
    "tune",
    "selection",
    "backbone",
    "pretrained",
]


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value inside a value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def mutated(rng: random.Random) -> bytes:
    """The valid file with one thing changed: a value, a key, or a stretch of its text."""
    content = copy.deepcopy(VALID)
    kind = rng.choice(["value", "value", "value", "key", "gone", "text", "cut", "bytes"])
    *outer, last = rng.choice(list(places(content)))
    inside: Any = content
    for key in outer:
        inside = inside[key]
    if kind == "value":
        inside[last] = rng.choice(ODD)
    elif kind == "gone":
        del inside[last]
    elif kind == "key" and isinstance(inside, dict):
        inside[rng.choice(KEYS)] = rng.choice([inside[last], *ODD])
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    at = rng.randrange(len(text))
    if kind == "text":
        text = text[:at] + rng.choice(TEXTS) + text[at:]
    elif kind == "cut":
        text = text[:at] + text[at + rng.randrange(1, 40) :]
    encoded = text.encode("utf-8", "surrogatepass")
    return encoded[:at] + bytes([rng.randrange(256)]) + encoded[at:] if kind == "bytes" else encoded


def plan(content: bytes, folder: Path) -> str:
    """What ``plan`` says of a sweep file with this content, or how it refuses it; any other exception is let through."""
    path = folder / "sweep.yaml"
    path.write_bytes(content)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        try:
            sweep = grid.load(str(path), out=folder / "results")
            printing.plan(sweep, folder / "results", False, Terminal(file=nowhere, width=200))
        except (UsageError, DataError, OSError) as error:
            return str(error)
    return ""


def check(content: bytes, folder: Path) -> None:
    said = plan(content, folder)
    assert not said or (said.strip() and "Traceback" not in said)
    assert len(said) < 3000, said[:200]


def test_the_file_that_is_changed_is_valid(tmp_path: Path) -> None:
    assert plan(yaml.safe_dump(VALID).encode(), tmp_path) == ""


@pytest.mark.parametrize("seed", range(12))
def test_a_file_with_one_change_is_planned_or_refused_in_words(seed: int, tmp_path: Path) -> None:
    check(mutated(random.Random(seed)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_five_hundred_files_with_one_change(part: int, tmp_path: Path) -> None:
    for seed in range(1000 + 50 * part, 1050 + 50 * part):
        try:
            check(mutated(random.Random(seed)), tmp_path)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {mutated(random.Random(seed))!r}") from error


LEAVES = st.sampled_from(ODD) | st.text(max_size=8)
SHAPES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*VALID, *KEYS]), inner, max_size=4),
    max_leaves=8,
)


@given(SHAPES)
@settings(max_examples=40, deadline=None)
def test_any_value_in_place_of_a_sweep_file_is_refused_in_words(value: Any) -> None:
    check(yaml.safe_dump(value).encode(), Path(os.environ["SMILEBENCH_CACHE"]))
