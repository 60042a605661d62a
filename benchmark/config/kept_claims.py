"""The claims of a sweep with the time at which each was first seen, kept with its results: what was stated before the runs, and what after.

What was stated is the text of a claim and what it was to be measured on: the seeds, and all settings of its two methods on every data set
and fraction. They are part of what the sweep is, and of no run: stating another claim makes no run anew.
"""

import datetime
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmark.report.collect import StatedClaim
from benchmark.report.measures import CLAIMABLE
from benchmark.storage.atomic import read_json, write_json

FILE = "claims.json"
_TEXT = ("metric", "split", "left", "right", "direction", "margin")
"""What a claim says; another name is another claim."""

_STRINGS = ("name", "metric", "split", "left", "right", "direction", "first_seen", "late", "withdrawn")
_LATE = ("", "added", "edited")


@dataclass(frozen=True)
class KeptClaims:
    """claims: those of the sweep file, each with what is known of it, and then those that were withdrawn after runs existed. begun: whether
    runs of the sweep have been seen, be they there still or not.
    """

    claims: tuple[StatedClaim, ...]
    begun: bool = False

    @property
    def digest(self) -> str:
        """sha256 over all that is kept, so that a change by hand is noticed."""
        return _digest(self.begun, [_stored(claim) for claim in self.claims])

    def about_late(self) -> str:
        """One line on what was changed after runs existed; '' where nothing was."""
        counts = {kind: sum(1 for claim in self.claims if claim.late == kind) for kind in ("added", "edited")}
        counts["with other seeds or settings"] = sum(1 for claim in self.claims if claim.changed)
        counts["withdrawn"] = sum(1 for claim in self.claims if claim.withdrawn)
        said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        return f"claims: {said} after runs existed, of {len(self.claims)}; the report marks them" if said else ""


@dataclass(frozen=True)
class _Found:
    """What a file of claims says. claims: by name."""

    claims: dict[str, StatedClaim] = field(default_factory=dict)
    begun: bool = False


def together(folder: Path, claims: Sequence[StatedClaim]) -> KeptClaims:
    """The ``claims`` of the sweep file as they stand beside what is kept in the results ``folder``; nothing is written."""
    kept = _read(folder)
    now, begun = _now(), kept.begun or _begun(folder)
    found = [_met(claim, kept.claims.get(claim.name), now, begun) for claim in claims]
    names = {claim.name for claim in claims}
    gone = [claim for claim in kept.claims.values() if claim.name not in names and claim.cells and begun]
    return KeptClaims((*found, *(replace(claim, withdrawn=claim.withdrawn or now) for claim in gone)), begun)


def keep(folder: Path, claims: Sequence[StatedClaim]) -> KeptClaims:
    """:func:`together`, written to the results folder, where that changes anything."""
    found = together(folder, claims)
    keep_whole(folder, found)
    return found


def joined(folders: Sequence[Path]) -> KeptClaims:
    """What is kept in several results folders whose runs become one sweep: a claim is as late as in the folder where it came last.

    One that a folder with runs does not know was added after those; where texts differ, the newest stands, after the others. Seeds, data
    sets and fractions are those of all folders; where they are not the same in all, the claim is as old as the last of them.
    """
    read = [replace(found, begun=found.begun or _begun(folder)) for folder in folders for found in [_read(folder)]]
    kept = [found.claims for found in read if found.claims or found.begun]
    names = dict.fromkeys(name for found in kept for name in found)
    return KeptClaims(tuple(_joined([found.get(name) for found in kept]) for name in names), any(found.begun for found in read))


def _joined(found: Sequence[StatedClaim | None]) -> StatedClaim:
    """One claim as several folders have it, None where one does not."""
    known = sorted((claim for claim in found if claim is not None), key=lambda claim: claim.first_seen)
    last = known[-1]
    alike = [claim for claim in known if _text(claim) == _text(last)]
    others = [text for claim in known[:-1] for text in (*claim.before, *(() if _text(claim) == _text(last) else (_dated(claim),)))]
    before = tuple(dict.fromkeys((*others, *last.before)))
    lates = {claim.late for claim in known} - {""}
    late: Literal["", "added", "edited"] = "edited" if before or "edited" in lates else "added" if lates or None in found else ""
    same = not late and all((claim.seeds, claim.cells) == (last.seeds, last.cells) for claim in alike)
    return replace(
        last,
        applicable=any(claim.applicable for claim in alike),
        seeds=tuple(sorted({seed for claim in alike for seed in claim.seeds})),
        cells={cell: value for claim in reversed(alike) for cell, value in claim.cells.items()},  # the settings that were stated first
        first_seen=known[0].first_seen if same else last.first_seen,
        late=late,
        before=before,
        withdrawn=max(claim.withdrawn for claim in known),
    )


def keep_whole(folder: Path, found: KeptClaims) -> None:
    """Write to the results folder what is to be kept there, where that changes anything."""
    before = read_json(folder / FILE)
    content = {"digest": found.digest, "begun": found.begun, "claims": [_stored(claim) for claim in found.claims]}
    if before != content and (found.claims or (folder / FILE).exists()):
        write_json(folder / FILE, content)


def _text(claim: StatedClaim) -> tuple[object, ...]:
    return tuple(getattr(claim, key) for key in _TEXT)


def _dated(claim: StatedClaim) -> str:
    """A text that stands no more, with its dates."""
    withdrawn = f", withdrawn on {claim.withdrawn[:10]}" if claim.withdrawn else ""
    return f"{claim.words} ({claim.late or 'stated'} on {claim.first_seen[:10]}{withdrawn})"


def _met(claim: StatedClaim, kept: StatedClaim | None, now: str, begun: bool) -> StatedClaim:
    """``claim`` with what is kept under its name. Once runs exist its seeds and cells stay those that were stated.

    A claim that loses a method of it is withdrawn for as long as it does: with the method, what was stated is there again.
    """
    if kept is None:
        return replace(claim, first_seen=now, late="added" if begun else "")
    same = _text(claim) == _text(kept)
    if not begun:
        same = same and (claim.seeds, claim.cells) == (kept.seeds, kept.cells)
        return replace(claim, first_seen=kept.first_seen if same else now, late=kept.late, before=kept.before)
    if not same or (kept.withdrawn and kept.applicable):
        return replace(claim, first_seen=now, late="edited", before=(*kept.before, _dated(kept)))
    if not claim.applicable:
        return replace(kept, applicable=False, withdrawn=(kept.withdrawn or now) if kept.cells else "")
    return replace(kept, applicable=True, withdrawn="", changed=_changed(kept, claim))


def _changed(stated: StatedClaim, claim: StatedClaim) -> tuple[str, ...]:
    """In words, what ``claim`` is measured on now that it was not to be when it was stated."""
    if not stated.cells:
        return ("one of its methods was added",)
    found = []
    if stated.seeds != claim.seeds:
        found.append(f"seeds were {'added' if set(stated.seeds) < set(claim.seeds) else 'changed'}")
    if stated.cells.keys() != claim.cells.keys():
        found.append(f"data sets or fractions were {'added' if stated.cells.keys() < claim.cells.keys() else 'changed'}")
    if any(stated.cells[cell] != claim.cells[cell] for cell in stated.cells.keys() & claim.cells.keys()):
        found.append("settings of its methods were changed")
    return tuple(found)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _begun(folder: Path) -> bool:
    """Whether a run of the results folder has been started: from then on there is something to see."""
    try:
        entries = list(os.scandir(folder / "runs"))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(os.path.exists(os.path.join(entry.path, name)) for entry in entries for name in ("record.json", "claims"))


def _digest(begun: object, rows: object) -> str:
    return hashlib.sha256(json.dumps([begun, rows], sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _stored(claim: StatedClaim) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(claim).items() if key != "changed"}


def _read(folder: Path) -> _Found:
    """What is kept. A file that cannot be read, or that was changed by hand, is as if it were lost after runs were seen, so that all
    claims count as added; so does a row that says what this version does not know.
    """
    path = folder / FILE
    if not path.exists():
        return _Found()
    content = read_json(path)
    rows = content.get("claims") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(rows, list) or content.get("digest") != _digest(content.get("begun"), rows):
        return _Found(begun=True)
    found = (_restored(row) for row in rows)
    return _Found({claim.name: claim for claim in found if claim is not None}, content.get("begun") is not False)


def _restored(row: object) -> StatedClaim | None:
    """The claim of a row; None where it is not one that :func:`keep_whole` writes."""
    if not isinstance(row, Mapping) or not all(isinstance(row.get(key), str) for key in _STRINGS):
        return None
    values: list[Any] = [row.get(key) for key in ("before", "margin", "seeds", "cells")]
    before, margin, seeds, cells = values
    sound = (
        (row["metric"], row["split"]) in CLAIMABLE
        and row["direction"] in ("higher", "lower")
        and row["late"] in _LATE
        and isinstance(row.get("applicable"), bool)
        and isinstance(margin, float)
        and math.isfinite(margin)
        and _is_list_of(str, before)
        and _is_list_of(int, seeds)
        and isinstance(cells, Mapping)
        and _is_list_of(str, list(cells.values()))
        and _is_time(row["first_seen"])
        and (not row["withdrawn"] or _is_time(row["withdrawn"]))
    )
    if not sound:
        return None
    given = {key: row[key] for key in (*_STRINGS, "applicable")}
    return StatedClaim(**given, margin=margin, seeds=tuple(seeds), cells=dict(cells), before=tuple(before))


def _is_list_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _is_time(text: str) -> bool:
    try:
        return datetime.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
