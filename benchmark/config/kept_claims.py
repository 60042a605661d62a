"""The claims of a sweep with the time at which each was first seen, kept with its results: what was stated before the runs, and what after.

They are part of what the sweep is, and of no run: stating another claim makes no run anew.
"""

import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from benchmark.report.collect import StatedClaim
from benchmark.storage.atomic import read_json, write_json

FILE = "claims.json"
_TEXT = ("metric", "split", "left", "right", "direction", "margin")
"""What a claim says; another name is another claim."""


@dataclass(frozen=True)
class KeptClaims:
    """claims: those of the sweep file, each with what is known of it, and then those that were withdrawn after runs existed."""

    claims: tuple[StatedClaim, ...]

    @property
    def digest(self) -> str:
        """sha256 over the texts of all claims that stand: with the sweep's runs, what the sweep is."""
        texts = [[c.name, *_text(c)] for c in self.claims if not c.withdrawn]
        return hashlib.sha256(json.dumps(texts, separators=(",", ":")).encode()).hexdigest()

    def about_late(self) -> str:
        """One line on what was changed after runs existed; '' where nothing was."""
        counts = {kind: sum(1 for claim in self.claims if claim.late == kind) for kind in ("added", "edited")}
        counts["withdrawn"] = sum(1 for claim in self.claims if claim.withdrawn)
        said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        return f"claims: {said} after runs existed, of {len(self.claims)}; the report marks them" if said else ""


def together(folder: Path, claims: Sequence[StatedClaim]) -> KeptClaims:
    """The ``claims`` of the sweep file as they stand beside what is kept in the results ``folder``; nothing is written."""
    kept = _read(folder)
    now, begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), _begun(folder)
    found = [_met(claim, kept.get(claim.name), now, begun) for claim in claims]
    names = {claim.name for claim in claims}
    gone = [claim for claim in kept.values() if claim.name not in names and (begun or claim.withdrawn)]
    return KeptClaims((*found, *(replace(claim, withdrawn=claim.withdrawn or now) for claim in gone)))


def keep(folder: Path, claims: Sequence[StatedClaim]) -> KeptClaims:
    """:func:`together`, written to the results folder, where that changes anything."""
    found = together(folder, claims)
    keep_whole(folder, found)
    return found


def joined(folders: Sequence[Path]) -> KeptClaims:
    """What is kept in several results folders whose runs become one sweep: a claim is as late as in the folder where it came last.

    One that a folder with runs does not know was added after those; where texts differ, the newest stands, after the others.
    """
    kept = [found for folder in folders if (found := _read(folder)) or _begun(folder)]
    return KeptClaims(
        tuple(_joined([found.get(name) for found in kept]) for name in dict.fromkeys(name for found in kept for name in found))
    )


def _joined(found: Sequence[StatedClaim | None]) -> StatedClaim:
    """One claim as several folders have it, None where one does not."""
    known = sorted((claim for claim in found if claim is not None), key=lambda claim: claim.first_seen)
    last = known[-1]
    others = [text for claim in known[:-1] for text in (*claim.before, *(() if _text(claim) == _text(last) else (_dated(claim),)))]
    before = tuple(dict.fromkeys((*others, *last.before)))
    lates = {claim.late for claim in known} - {""}
    late: Literal["", "added", "edited"] = "edited" if before or "edited" in lates else "added" if lates or None in found else ""
    return replace(last, late=late, before=before, withdrawn=max(claim.withdrawn for claim in known))


def keep_whole(folder: Path, found: KeptClaims) -> None:
    """Write to the results folder what is to be kept there, where that changes anything."""
    before = {name: _stored(claim) for name, claim in _read(folder).items()}
    if before != {claim.name: _stored(claim) for claim in found.claims}:
        write_json(folder / FILE, {"digest": found.digest, "claims": [_stored(claim) for claim in found.claims]})


def _text(claim: StatedClaim) -> tuple[object, ...]:
    return tuple(getattr(claim, key) for key in _TEXT)


def _dated(claim: StatedClaim) -> str:
    """A text that stands no more, with its dates."""
    withdrawn = f", withdrawn on {claim.withdrawn[:10]}" if claim.withdrawn else ""
    return f"{claim.words} ({claim.late or 'stated'} on {claim.first_seen[:10]}{withdrawn})"


def _met(claim: StatedClaim, kept: StatedClaim | None, now: str, begun: bool) -> StatedClaim:
    """``claim`` with what is kept under its name."""
    if kept is None:
        return replace(claim, first_seen=now, late="added" if begun else "")
    history: dict[str, Any] = {"first_seen": kept.first_seen, "late": kept.late, "before": kept.before}
    same = _text(claim) == _text(kept)
    if begun and (kept.withdrawn or not same):
        history = {"first_seen": now, "late": "edited", "before": (*kept.before, _dated(kept))}
    elif not same:
        history = {"first_seen": now}
    return replace(claim, **history)


def _begun(folder: Path) -> bool:
    """Whether a run of the results folder has been started: from then on there is something to see."""
    try:
        entries = list(os.scandir(folder / "runs"))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(os.path.exists(os.path.join(entry.path, name)) for entry in entries for name in ("record.json", "claims"))


def _stored(claim: StatedClaim) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(claim).items() if key != "applicable"}


def _read(folder: Path) -> dict[str, StatedClaim]:
    """What is kept, by name; what cannot be read is as if it were not kept, so that such claims count as stated now."""
    rows = (read_json(folder / FILE) or {}).get("claims")
    found = (_restored(row) for row in rows) if isinstance(rows, list) else ()
    return {claim.name: claim for claim in found if claim is not None}


def _restored(row: object) -> StatedClaim | None:
    if not isinstance(row, Mapping):
        return None
    texts = ("name", "metric", "split", "left", "right", "direction", "first_seen", "late", "withdrawn")
    before, margin = row.get("before"), row.get("margin")
    if not all(isinstance(row.get(key), str) for key in texts) or not isinstance(margin, int | float) or not isinstance(before, list):
        return None
    return StatedClaim(**{key: row[key] for key in texts}, margin=float(margin), before=tuple(map(str, before)))
