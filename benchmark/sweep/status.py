"""How far a sweep is, from its files alone: works while jobs run, and from any host that sees the folder."""

import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from benchmark.storage.run_folder import STATES, ClaimFile, RunFolder, clock, read_json, whole
from benchmark.sweep.progress import duration

WORDS = {"new": "queued"}
"""A state in the words of ``status``, where they differ."""
_ROWS = 40
_YEAR = 3e7
"""Seconds; a longer time left is one of damaged files."""


@dataclass(frozen=True)
class StatusRow:
    """A run that is neither queued nor done.

    host: with the job, on a cluster. step, total, phase, images_per_second: of its last sign of life. seconds_left: by its rate since it
    was claimed. beat_age: seconds since its heartbeat. reason: why it failed, or how it was interrupted. log: file to look into.
    """

    run_id: str
    state: str
    host: str | None = None
    step: int | None = None
    total: int | None = None
    phase: str | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    beat_age: float | None = None
    reason: str | None = None
    log: Path | None = None


@dataclass(frozen=True)
class Status:
    """counts: runs per state of :data:`benchmark.storage.run_folder.STATES`. rows: running, then interrupted, then failed ones."""

    counts: dict[str, int]
    rows: tuple[StatusRow, ...]

    @property
    def finished(self) -> bool:
        """Whether nothing runs or waits."""
        return not any(self.counts[state] for state in ("new", "running", "interrupted"))


def collect(sweep_dir: Path, run_ids: Iterable[str]) -> Status:
    """The states of ``run_ids``; other folders in ``sweep_dir`` are not looked at."""
    folder, now = sweep_dir / "runs", clock(sweep_dir)
    counts: Counter[str] = Counter()
    rows = []
    for run_id in run_ids:
        run = RunFolder(folder / run_id)
        state = run.state(now)
        damaged = state == "done" and run.record() is None
        state = "failed" if damaged else state
        counts[state] += 1
        if damaged:
            rows.append(
                StatusRow(run.run_id, state, reason="record.json is damaged; the sweep command does the run again", log=run.log_path)
            )
        elif state not in ("new", "done"):
            rows.append(_row(run, state, now))
    rows.sort(key=lambda row: (STATES.index(row.state), row.run_id))
    return Status({state: counts[state] for state in STATES}, tuple(rows))


def _row(run: RunFolder, state: str, now: float) -> StatusRow:
    if state == "failed":
        failure = run.failure()
        return StatusRow(run.run_id, state, step=failure.get("step"), reason=failure.get("reason"), log=run.log_path)
    last, progress = run.last_claim(), read_json(run.progress_path) or {}
    if last is None:  # removed since its state was asked for
        return StatusRow(run.run_id, state)
    if state == "interrupted":
        reason = last.how_ended or "its process is gone"
        return StatusRow(
            run.run_id, state, host=_where(last), step=run.saved_step(), total=whole(progress.get("total")) or None, reason=reason
        )
    step, total = whole(progress.get("step")), whole(progress.get("total"))
    gained = step - last.start_step
    worked = _number(progress.get("updated")) - _number(last.info.get("time"))
    phase, age = progress.get("phase"), now - last.beat
    return StatusRow(
        run.run_id,
        state,
        host=_where(last),
        step=step if progress else None,
        total=total or None,
        phase=phase if isinstance(phase, str) else None,
        images_per_second=_number(progress.get("images_per_second")) or None,
        seconds_left=worked * (total - step) / gained if total and gained > 0 and 0 < worked < _YEAR else None,
        beat_age=age if abs(age) > 1 else 0.0,
    )


def _number(value: object) -> float:
    """``value`` as a number; 0 where a crash has left something else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _where(last: ClaimFile) -> str | None:
    host, job = last.text("host"), last.text("job")
    return f"{host}, job {job}" if job else host


def render(status: Status) -> RenderableType:
    """Counts in one line, then a table of the runs that are neither queued nor done."""
    line = ", ".join(f"{status.counts[state]} {WORDS.get(state, state)}" for state in STATES)
    if not status.rows:
        return line
    table = Table(box=None, pad_edge=False)
    for name in ("run", "state", "host", "phase"):
        table.add_column(name, overflow="fold")
    for name in ("step", "images/s", "left", "heartbeat"):
        table.add_column(name, justify="right")
    table.add_column("reason", overflow="fold")
    for row in status.rows[:_ROWS]:
        table.add_row(*_cells(row))
    hidden = len(status.rows) - _ROWS
    return Group(line, table, *([f"and {hidden} more"] if hidden > 0 else []))


def _cells(row: StatusRow) -> list[str]:
    reason = row.reason.splitlines()[0] if row.reason else ""
    return [
        row.run_id,
        row.state,
        row.host or "",
        row.phase or "",
        "" if row.step is None else f"{row.step}/{row.total or '?'}",
        f"{row.images_per_second:.0f}" if row.images_per_second else "",
        "" if row.seconds_left is None else duration(row.seconds_left),
        _ago(row.beat_age),
        f"{reason} ({row.log})" if row.log else reason,
    ]


def _ago(seconds: float | None) -> str:
    """A heartbeat in the future is of before the clock was set back."""
    if seconds is None:
        return ""
    return f"{seconds:.0f} s ago" if seconds >= 0 else f"{-seconds:.0f} s ahead of the clock"


def watch(sweep_dir: Path, run_ids: list[str], console: Console, seconds: float = 2.0) -> Status:
    """Redraw until nothing runs or waits, or the user presses Ctrl-C."""
    status = collect(sweep_dir, run_ids)
    with Live(render(status), console=console, auto_refresh=False) as live:
        try:
            while not status.finished:
                time.sleep(seconds)
                status = collect(sweep_dir, run_ids)
                live.update(render(status), refresh=True)
        except KeyboardInterrupt:
            return status
    return status
