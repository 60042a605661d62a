"""What a sweep file states before it is run: the rows of its ``claims``, in the file or in one that it names."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from benchmark.config.run_config import RunConfig, Section, validate
from benchmark.errors import UsageError, unknown
from benchmark.report.collect import StatedClaim
from benchmark.report.measures import CLAIMABLE, METRICS, SPLITS
from benchmark.storage import yamlio

PREFIX = "claims_"
"""What files of claims in ``sweeps/`` are called after: they are no sweeps."""

_CROSSED = ("metric", "split", "left", "right")
_CHOICES = {"metric": METRICS, "split": SPLITS}


class ClaimRow(Section):
    """``metric`` on ``split`` of ``left`` is ``direction`` than that of ``right``, by more than ``margin`` (points of accuracy, else the
    metric's own unit; negative: worse by less than that is enough).

    name: shown in the table; what is edited later is found by it. optional: left out where the sweep does not have both methods.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    metric: str
    split: str = "test"
    left: str
    right: str
    direction: Literal["higher", "lower"]
    margin: float = 0.0
    optional: bool = False

    @model_validator(mode="after")
    def _of_two_methods(self) -> "ClaimRow":
        if self.left == self.right:
            raise ValueError(f"left and right are both '{self.left}'")
        return self


def included(name: str, folder: Path, built_in: Path, where: str) -> tuple[list[Any], str]:
    """The rows of the file ``name`` (a path from ``folder``, or a name under ``built_in``), and what messages call the file."""
    path = folder / name if name.endswith((".yaml", ".yml")) else built_in / f"{name}.yaml"
    if not path.is_file():
        choices = [found.stem for found in built_in.glob(f"{PREFIX}*.yaml")]
        raise UsageError(
            f"{where}: claims: {unknown('file of claims', name, choices)}, or a path to a .yaml file from the sweep file's folder"
        )
    content = yamlio.read_mapping(path)
    for key in content.keys() - {"claims"}:
        raise UsageError(f"{path}: {key}: " + unknown("key", key, ["claims"]))
    rows = content.get("claims")
    if not isinstance(rows, list) or not rows:
        raise UsageError(f"{path}: claims: a list of claims is needed")
    return rows, str(path)


def parse(rows: Sequence[Any], methods: Sequence[str], where: str, relaxed: bool = False) -> tuple[StatedClaim, ...]:
    """The claims of ``rows``; lists of a row are a cross product. methods: labels of the sweep; one that it lacks is refused unless the
    row is optional, or ``relaxed``: the claim is then not applicable.
    """
    claims: dict[str, StatedClaim] = {}
    for n, row in enumerate(rows):
        place = f"claims.{n}"
        if not isinstance(row, Mapping):
            raise UsageError(f"{where}: {place}: a mapping of {', '.join(ClaimRow.model_fields)} is needed, not {row!r:.80}")
        for each in _crossed(row, f"{where}: {place}"):
            claim = _claim(validate(ClaimRow, each, where, place), methods, f"{where}: {place}", relaxed)
            if claim.name in claims:
                raise UsageError(f"{where}: {place}.name: '{claim.name}' is given twice")
            claims[claim.name] = claim
    return tuple(claims.values())


def bound(claims: Sequence[StatedClaim], runs: Sequence[RunConfig]) -> tuple[StatedClaim, ...]:
    """The ``claims``, each with the seeds and the settings of ``runs`` that it is about: these, too, are stated before the runs."""
    named = {method for claim in claims if claim.applicable for method in (claim.left, claim.right)}
    seeds: dict[str, set[int]] = {method: set() for method in named}
    settings: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for run in runs:
        if run.method in named:
            seeds[run.method].add(run.seed)
            settings.setdefault((run.method, f"{run.dataset}/{run.fraction:g}"), set()).add(run.canonical)
    hashes = {key: hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest() for key, found in settings.items()}
    cells = list(dict.fromkeys(cell for _, cell in settings))

    def of(claim: StatedClaim) -> StatedClaim:
        pairs = {cell: hashes[claim.left, cell] + hashes[claim.right, cell] for cell in cells}
        short = {cell: hashlib.sha256(pair.encode()).hexdigest()[:16] for cell, pair in pairs.items()}
        return replace(claim, seeds=tuple(sorted(seeds[claim.left] | seeds[claim.right])), cells=short)

    return tuple(of(claim) if claim.applicable else claim for claim in claims)


def _crossed(row: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """One mapping per combination of the row's lists; its name says which."""
    lists = {key: row[key] for key in _CROSSED if isinstance(row.get(key), list)}
    for key, values in lists.items():
        if not values:
            raise UsageError(f"{where}.{key}: an empty list states nothing")
        if twice := next((value for i, value in enumerate(values) if value in values[:i]), None):
            raise UsageError(f"{where}.{key}: {twice!r} is given twice")
    for values in itertools.product(*lists.values()):
        chosen = dict(zip(lists, values, strict=True))
        many = [str(chosen[key]) for key in ("left", "right", "metric", "split") if key in chosen]
        yield {**row, **chosen, **({"name": f"{row.get('name', '')} ({', '.join(many)})"} if many and "name" in row else {})}


def _claim(row: ClaimRow, methods: Sequence[str], where: str, relaxed: bool) -> StatedClaim:
    for key, choices in _CHOICES.items():
        if getattr(row, key) not in choices:
            raise UsageError(f"{where}.{key}: " + unknown(key, getattr(row, key), choices))
    splits = [split for split in SPLITS if (row.metric, split) in CLAIMABLE]
    if row.split not in splits:
        raise UsageError(f"{where}.split: {row.metric} is not measured on {row.split} (valid: {', '.join(splits)})")
    absent = [key for key in ("left", "right") if getattr(row, key) not in methods]
    if absent and not (row.optional or relaxed):
        hint = ", or write 'optional: true' in a file of claims that several sweeps include"
        raise UsageError(f"{where}.{absent[0]}: " + unknown("method of this sweep", getattr(row, absent[0]), methods) + hint)
    return StatedClaim(**row.model_dump(exclude={"optional"}), applicable=not absent)
