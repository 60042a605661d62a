"""The protocol of a run folder; every other part asks this file.

A run's state follows from its files alone::

    record.json                            done
    failure.json                           failed
    claims/<n> beating, no claims/<n>.end  running
    claims/<n> ended or stale              interrupted
    none of these                          new

``claims/<n>`` is created exclusively and never removed, so n is a fencing token: the highest one owns the run. An owner writes
to a temporary file, checks its claim, then renames. A new owner first removes its predecessor's temporary files and then
looks for a record, so a process that was paused at any point and wakes after losing its claim publishes nothing.
Only exclusive create, link and rename are used: no locks, which NFS can lose.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.storage.atomic import TEMP, Check, check_writable, clock, read_json, remove_litter, replacing, write_json, write_text
from benchmark.storage.liveness import identity, known_alive, known_dead, rebooted_since

__all__ = ["TEMP", "Claim", "ClaimFile", "ClaimLost", "RunFolder", "check_writable", "claim", "clock", "read_json", "replacing"]
__all__ += ["write_json", "write_record", "write_text"]

STATES = ("new", "running", "interrupted", "failed", "done")
STALE_SECONDS = float(os.environ.get("SMILEBENCH_STALE_SECONDS", "120"))
"""A claim without a heartbeat for this long is stale. Above the 60 s for which an NFS client may answer from its cache. All hosts that
share a results folder need the same.
"""
BEAT_SECONDS = min(5.0, STALE_SECONDS / 8)
_REBOOT_SECONDS = 3 * BEAT_SECONDS
"""Instead of ``STALE_SECONDS``, where the owner's host has been started anew since it was seen."""
_DOUBT_SECONDS = 2.5 * BEAT_SECONDS
"""How long a heartbeat is waited for before a claim in doubt is taken over."""
MAX_DEATHS = 2


class ClaimLost(RuntimeError):
    """Another process owns the run now; the receiver stops without writing."""


def write_record(folder: Path, record: Mapping[str, Any], check: Check | None = None) -> None:
    """Write ``record.json``: from here on the run is done. There is never a second one: :class:`ClaimLost` instead."""
    try:
        write_json(folder / "record.json", record, check, exclusive=True)
    except (FileExistsError, FileNotFoundError) as error:  # not found: a new owner has removed the temporary file
        raise ClaimLost(f"{folder.name}: another process took over before its record was written") from error


@dataclass(frozen=True)
class ClaimFile:
    """What ``claims/<n>`` and ``claims/<n>.end`` say. beat: time of the last heartbeat. ended: how its owner let go, or None."""

    folder: Path
    n: int
    info: Mapping[str, Any]
    beat: float
    ended: Mapping[str, Any] | None

    def alive(self, now: float | None = None) -> bool:
        """Whether its owner still works on the run. now: the file system's clock; looked up when needed and not given.

        A process that is known to live on this machine does: a heartbeat that seems old then means that the clock was set forward.
        """
        if self._over():
            return False
        return known_alive(self.info) or self.beats(now)

    def beats(self, now: float | None = None) -> bool:
        """Whether the last heartbeat is of late. One in the future is of before the clock was set back, when it is far ahead."""
        age = (clock(self.folder) if now is None else now) - self.beat
        return abs(age) < (_REBOOT_SECONDS if rebooted_since(self.info) else STALE_SECONDS)

    def in_doubt(self) -> bool:
        """Whether a clock that was set, rather than the owner's death, may be why it does not beat; the next heartbeat tells."""
        return not self._over() and (known_alive(self.info) or self.beat > clock(self.folder))

    def _over(self) -> bool:
        """Whether its owner has let go, in words or by :meth:`Claim.drop`, or is certainly gone."""
        return self.ended is not None or self.beat <= 0 or known_dead(self.info)

    def text(self, key: str) -> str | None:
        """What ``info`` says of its owner under ``key``; None where a crash has damaged it."""
        found = self.info.get(key)
        return found if isinstance(found, str) else None

    @property
    def start_step(self) -> int:
        """The step at which its owner began."""
        return whole(self.info.get("start_step"))

    @property
    def how_ended(self) -> str:
        """In a word how its owner let go; empty while it has not."""
        return "" if self.ended is None else str(self.ended.get("reason", "ended"))


def whole(value: object) -> int:
    """``value`` as a number of steps; 0 where a crash has left something else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _inside(name: str) -> property:
    """The path ``name`` in a run folder, made when it is asked for: ``status`` looks at one or two in each of 10,000 folders."""
    return property(lambda run: run.path / name)


class RunFolder:
    """``results/<sweep>/runs/<run_id>``, as anyone may read it."""

    config_path = _inside("config.yaml")
    record_path = _inside("record.json")
    failure_path = _inside("failure.json")
    progress_path = _inside("progress.json")
    log_path = _inside("log.txt")
    claims = _inside("claims")
    _checkpoint = _inside("checkpoint")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = path.name

    def create(self, config: str) -> None:
        """Make the folder with its ``config.yaml``; a finished run keeps the one it was run with.

        So does one that somebody works on. Not flushed to the disk: should the machine crash, the next command writes again what was lost.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        before = self.config_path.read_text("utf-8", errors="replace") if self.config_path.exists() else ""
        if not before or (before != config and self.state() not in ("done", "running")):
            write_text(self.config_path, config, durable=False)

    def recorded_at(self) -> int | None:
        """When ``record.json`` was written, in nanoseconds, which tells two records apart; None without one."""
        try:
            return self.record_path.stat().st_mtime_ns
        except OSError:  # or moved away since
            return None

    def state(self, now: float | None = None) -> str:
        """One of :data:`STATES`. now: as in :meth:`ClaimFile.alive`."""
        if self.record_path.exists():
            return "done"
        if self.failure_path.exists():
            return "failed"
        last = self.last_claim()
        if last is None:
            return "new"
        return "running" if last.alive(now) else "interrupted"

    def last_claim(self) -> ClaimFile | None:
        """The claim with the highest number."""
        try:
            numbers = [int(name) for name in os.listdir(self.claims) if name.isdecimal()]
        except FileNotFoundError:
            return None
        return self.read_claim(max(numbers)) if numbers else None

    def read_claim(self, n: int) -> ClaimFile:
        path = self.claims / str(n)
        with open(path, "rb") as file:  # opening makes an NFS client ask the server for the true time of the last heartbeat
            beat = os.fstat(file.fileno()).st_mtime
        end = self.claims / f"{n}.end"
        ended = read_json(end)
        if ended is None and end.exists():
            ended = {}  # damaged, and no less an end
        return ClaimFile(self.claims, n, read_json(path) or {}, beat, ended)

    def saved_step(self) -> int:
        """The step of the newest checkpoint, 0 without one."""
        return whole((read_json(self._checkpoint / "step.json") or {}).get("step"))

    def failure(self) -> dict[str, Any]:
        """``failure.json``: reason and kind (text), step, traceback (text or None), time, claim, session; empty when the run has not
        failed. Of a damaged file the reason says so.
        """
        if not self.failure_path.exists():
            return {}
        found = read_json(self.failure_path) or {}
        reason, trace = found.get("reason"), found.get("traceback")
        return {
            **found,
            "reason": reason if isinstance(reason, str) and reason.strip() else "failure.json is damaged",
            "kind": str(found.get("kind", "error")),
            "step": whole(found.get("step")),
            "traceback": trace if isinstance(trace, str) else None,
            "claim": whole(found.get("claim")),
        }

    def record(self) -> dict[str, Any] | None:
        """``record.json``; None when there is none or it is damaged."""
        return read_json(self.record_path)

    def retry(self) -> None:
        """Move a failure to ``failures/<claim>.json``, so that the run may be claimed again."""
        if not self.failure_path.exists():
            return
        old = self.path / "failures"
        old.mkdir(exist_ok=True)
        try:
            os.rename(self.failure_path, old / f"{self.failure().get('claim', 0)}.json")
        except FileNotFoundError:
            return  # another sweep command has just moved it

    def tidy(self) -> None:
        """Remove what only an unfinished run needs, and what writers that died left behind."""
        shutil.rmtree(self._checkpoint, ignore_errors=True)
        self.progress_path.unlink(missing_ok=True)
        remove_litter([self.path, self.claims])

    def note_death(self, n: int, cause: str) -> None:
        """Say how the owner of claim ``n`` died; for the parent that saw it."""
        write_json(self.claims / f"{n}.death", {"cause": cause, "time": time.time()})

    def deaths(self, session: str, before: int) -> list[str]:
        """Causes of the deaths in ``session``, among claims below ``before``, since the newest checkpoint was written."""
        step, causes = self.saved_step(), []
        for n in range(1, before):
            try:
                claim = self.read_claim(n)
            except FileNotFoundError:  # somebody has tidied up by hand
                continue
            if claim.ended is None and claim.info.get("session") == session and claim.start_step >= step:
                causes.append(str((read_json(self.claims / f"{n}.death") or {}).get("cause", "no sign of life")))
        return causes


@dataclass(frozen=True)
class Claim:
    """Ownership of a run by this process, from :func:`claim`. ``n`` is its fencing token."""

    run: RunFolder
    n: int
    session: str
    start_step: int

    def check(self) -> None:
        """Raise :class:`ClaimLost` when a higher claim exists."""
        if (self.run.claims / str(self.n + 1)).exists():
            raise ClaimLost(f"{self.run.run_id}: claim {self.n} was superseded")

    def beat(self, progress: Mapping[str, Any] | None = None) -> None:
        """Show a sign of life, with ``progress`` for ``status``."""
        self.check()
        os.utime(self.run.claims / str(self.n))
        if progress is not None:
            write_json(self.run.progress_path, progress, self.check, durable=False)

    def fail(self, failure: Mapping[str, Any]) -> None:
        """Write ``failure.json`` and let go. failure: reason, kind, traceback, step."""
        note = {**failure, "claim": self.n, "session": self.session, "time": time.time()}
        write_json(self.run.failure_path, note, self.check)
        self.end("failed")

    def end(self, reason: str) -> None:
        """Let go of the run: it is done, or anyone may claim it at once."""
        note = {"reason": reason, "session": self.session, "time": time.time()}
        write_json(self.run.claims / f"{self.n}.end", note, self.check)

    def drop(self) -> None:
        """Let go without a word, on a disk that is full: dates the last heartbeat far back, which takes no space."""
        os.utime(self.run.claims / str(self.n), (0, 0))


def claim(folder: Path, session: str, job: str | None = None, max_deaths: int = MAX_DEATHS) -> Claim | None:
    """Own the run in ``folder``, or None when it is done, failed or owned by a live process.

    After ``max_deaths`` deaths in this ``session`` (one ``sweep`` command) without a newer checkpoint the run is failed instead.
    """
    run = RunFolder(folder)
    if run.record_path.exists() or run.failure_path.exists():
        return None
    run.claims.mkdir(exist_ok=True)
    last = run.last_claim()  # read once: the claim that is judged is the one whose successor is created
    if last is not None and (last.beats() if last.in_doubt() else last.alive()):
        return None
    if last is not None and last.in_doubt():
        time.sleep(_DOUBT_SECONDS)
        if run.read_claim(last.n).beat != last.beat:
            return None
    own = Claim(run, last.n + 1 if last else 1, session, run.saved_step())
    info = {**identity(), "job": job, "session": session, "start_step": own.start_step, "time": time.time()}
    try:
        write_json(run.claims / str(own.n), info, exclusive=True)
    except FileExistsError:
        return None
    except FileNotFoundError:
        if not run.claims.is_dir():
            raise
        return None  # who was first has removed the temporary file
    try:
        return own if _take_over(own, max_deaths) else None
    except OSError:
        with contextlib.suppress(OSError):
            own.drop()  # else the run would look taken until the claim is stale
        raise


def _take_over(own: Claim, max_deaths: int) -> bool:
    """Fence off the previous owner, then see whether there is still something to do."""
    run = own.run
    for path in [*run.path.glob(f"{TEMP}*"), *run.claims.glob(f"{TEMP}*")]:
        path.unlink(missing_ok=True)
    if run.record_path.exists() or run.failure_path.exists():
        own.end("superseded")
        return False
    causes = run.deaths(own.session, before=own.n)
    if len(causes) < max_deaths:
        return True
    reason = f"died {len(causes)} times without progress at step {run.saved_step()}: {', '.join(causes)}"
    own.fail({"reason": reason, "kind": "killed", "traceback": None, "step": run.saved_step()})
    return False
