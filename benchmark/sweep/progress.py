"""What the user sees while a sweep runs: progress bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

_LINE_SECONDS = 30.0
_MARKS = {"done": "done", "failed": "FAILED", "postponed": "postponed (out of memory)"}


class View:
    """Counts, and prints plain lines: one per finished run and one every 30 s."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.total = 0
        self.open: set[str] = set()
        self.failed = 0
        self.running: dict[str, dict[str, Any]] = {}
        self._begun = time.monotonic()
        self._line = self._begun

    def begin(self, run_ids: Sequence[str], already: int) -> None:
        """run_ids: what is to do now. already: how many runs were done before."""
        self.open = set(run_ids)
        self.total = len(run_ids)
        self._begun = self._line = time.monotonic()
        self.note(f"{already} runs done before, {self.total} to do")

    def started(self, run_id: str, step: int) -> None:
        self.running[run_id] = {"step": step, "total": None, "phase": "start", "images_per_second": None, "first": step}
        if step:
            self.note(f"{run_id}: resumes at step {step}")

    def progress(self, run_id: str, latest: Mapping[str, Any]) -> None:
        if run_id in self.running:
            self.running[run_id].update({key: latest[key] for key in ("step", "total", "phase", "images_per_second")})

    def released(self, run_id: str, why: str) -> None:
        """The run is neither done nor failed: interrupted, lost, or its worker died."""
        self.running.pop(run_id, None)
        self.note(f"{run_id}: {why}")

    def finished(self, run_id: str, state: str, reason: str | None) -> None:
        self.running.pop(run_id, None)
        if state != "postponed":
            self.open.discard(run_id)
        self.failed += state == "failed"
        text = f"{self.total - len(self.open)}/{self.total} {run_id}: {_MARKS[state]}"
        self.note(f"{text}: {reason.splitlines()[0]}" if reason else text)

    def note(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def tick(self) -> None:
        """Called a few times per second."""
        if time.monotonic() - self._line >= _LINE_SECONDS:
            self._line = time.monotonic()
            self.note(self.summary())

    def end(self) -> None:
        """No more calls follow."""

    def summary(self) -> str:
        """Counts and the time left."""
        parts = [f"{self.total - len(self.open)}/{self.total} finished", f"{len(self.running)} running"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.open and not self.running:
            parts.append("waiting for workers to start, or for runs that another sweep command holds")
        left = self.seconds_left()
        if left is None:  # of runs whose last step is done, what is measured now
            parts += [run["phase"] for run in self.running.values() if run["total"] and run["step"] >= run["total"]][:1]
        return ", ".join(parts) + (f", about {duration(left)} left" if left is not None else "")

    def seconds_left(self) -> float | None:
        """By the rate so far, a running run counted by its steps; None before there is a rate, and after the last step."""
        begun = sum(_fraction(run, run["step"]) - _fraction(run, run["first"]) for run in self.running.values())
        passed = self.total - len(self.open) + begun
        waiting = len(self.open) - begun
        if passed <= 0 or waiting < 1e-6:
            return None
        return (time.monotonic() - self._begun) * waiting / passed


class LiveView(View):
    """A table of running runs that is redrawn in place, below the plain lines."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def begin(self, run_ids: Sequence[str], already: int) -> None:
        super().begin(run_ids, already)
        self._live.start()

    def tick(self) -> None:
        self._live.update(self._table(), refresh=True)

    def end(self) -> None:
        self._live.stop()

    def _table(self) -> Table:
        table = Table(title=self.summary(), title_justify="left", box=None)
        for name in ("run", "phase"):
            table.add_column(name)
        for name in ("step", "images/s"):
            table.add_column(name, justify="right")
        for run_id, run in sorted(self.running.items()):
            rate = f"{run['images_per_second']:.0f}" if run["images_per_second"] else ""
            table.add_row(run_id, run["phase"], f"{run['step']}/{run['total'] or '?'}", rate)
        return table


def open_view(console: Console) -> View:
    """The view that fits the console."""
    return LiveView(console) if console.is_terminal else View(console)


def duration(seconds: float) -> str:
    """``8 s``, ``5 min``, ``3.2 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """``14 kB``, ``3.2 MB``, ``120 GB``: of bytes, by powers of 1000."""
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 999.5:
            return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"
    return f"{count / 1000:.1f} GB" if count < 9950 else f"{count / 1000:.0f} GB"


def _fraction(run: Mapping[str, Any], step: int) -> float:
    return step / run["total"] if run["total"] else 0.0
