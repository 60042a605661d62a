"""How far a sweep is, from its files alone: works while jobs run, and from any host that sees the folder."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from benchmark.storage.run_folder import STATES, ClaimFile, RunFolder, clock, read_json
from benchmark.sweep.progress import duration

WORDS = {"new": "queued"}
"""A state in the words of ``status``, where they differ."""
_ROWS = 40


@dataclass(frozen=True)
class Row:
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
    rows: tuple[Row, ...]

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
        counts[state] += 1
        if state not in ("new", "done"):
            rows.append(_row(run, state, now))
    rows.sort(key=lambda row: (STATES.index(row.state), row.run_id))
    return Status({state: counts[state] for state in STATES}, tuple(rows))


def _row(run: RunFolder, state: str, now: float) -> Row:
    if state == "failed":
        failure = run.failure()
        return Row(run.run_id, state, step=failure.get("step"), reason=failure.get("reason", "failure.json is damaged"), log=run.log_path)
    last, progress = run.last_claim(), read_json(run.progress_path) or {}
    assert last is not None
    if state == "interrupted":
        reason = last.ended["reason"] if last.ended else "its process is gone"
        return Row(run.run_id, state, host=_where(last), step=run.saved_step(), total=progress.get("total"), reason=reason)
    step, total = progress.get("step"), progress.get("total")
    gained = (step or 0) - last.info.get("start_step", 0)
    seconds_left = None
    if total and gained > 0:
        seconds_left = (progress["updated"] - last.info["time"]) * (total - step) / gained
    return Row(
        run.run_id,
        state,
        host=_where(last),
        step=step,
        total=total,
        phase=progress.get("phase"),
        images_per_second=progress.get("images_per_second"),
        seconds_left=seconds_left,
        beat_age=max(0.0, now - last.beat),
    )


def _where(last: ClaimFile) -> str | None:
    host, job = last.info.get("host"), last.info.get("job")
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


def _cells(row: Row) -> list[str]:
    reason = row.reason.splitlines()[0] if row.reason else ""
    return [
        row.run_id,
        row.state,
        row.host or "",
        row.phase or "",
        "" if row.step is None else f"{row.step}/{row.total or '?'}",
        f"{row.images_per_second:.0f}" if row.images_per_second else "",
        "" if row.seconds_left is None else duration(row.seconds_left),
        "" if row.beat_age is None else f"{row.beat_age:.0f} s ago",
        f"{reason} ({row.log})" if row.log else reason,
    ]


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
