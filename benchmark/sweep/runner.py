"""Runs of a sweep on this machine: worker processes, restarted when they die, stopped in order when the user asks."""

import contextlib
import queue
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmark.storage.run_folder import Claim, ClaimLost, RunFolder, check_writable
from benchmark.sweep.outcome import ATTENDED, INTERRUPTED, KILLED, OK, SOME_FAILED, USAGE, Outcome, Terms
from benchmark.sweep.progress import View
from benchmark.sweep.stop_early import Fuse
from benchmark.sweep.worker import Queue
from benchmark.sweep.worker_process import Child

_STARTS_WITHOUT_A_RUN = 2
_TICK_SECONDS = 0.2
_TERM_SECONDS = 20.0
"""A cluster kills a job 30 s after SIGTERM: workers that are not ready before are killed here, and their runs let go."""


def run_local(
    sweep_dir: Path,
    run_ids: Sequence[str],
    *,
    workers: int,
    threads: int,
    devices: Sequence[str],
    view: View,
    terms: Terms = ATTENDED,
    fuse: Fuse | None = None,
    program: str = "benchmark.training.run",
    load: str = "benchmark.config.run_config:load_run",
) -> Outcome:
    """Carry out what is not done of ``run_ids`` (longest first); their ``config.yaml`` exist already.

    threads: per worker. devices: ``"cpu"``, or entries for ``CUDA_VISIBLE_DEVICES`` (an index, a UUID), given to workers in turn.
    Failures of earlier commands are moved aside and tried again. Runs that another command holds are waited for. fuse: stops the sweep
    early when it blows; no run before this command's counts.
    """
    check_writable(sweep_dir)
    todo = []
    for run_id in run_ids:
        run = RunFolder(sweep_dir / "runs" / run_id)
        if run.record_path.exists():
            run.tidy()
        else:
            if terms.retry:
                run.retry()
            todo.append(run_id)
    if not todo:
        return Outcome(OK, done=tuple(run_ids))
    session = terms.session or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    jobs = Queue(str(sweep_dir), todo, session, terms.job, wait=terms.wait, program=program, load=load)
    runner = _Runner(jobs, sweep_dir / "logs" / session, threads, list(devices), view, terms, fuse or Fuse(None))
    view.begin(todo, already=len(run_ids) - len(todo))
    try:
        with runner.signals():
            runner.go(min(workers, len(todo)))
    finally:
        runner.kill()
        view.end()
    return runner.outcome(run_ids)


class _Runner:
    """alive: workers by index. open: runs not finished. told: failures as the workers told them. verdict: why all must stop, with the
    exit code. passed: the preflight is over. barren: workers in a row that died before any run. deadline: when workers that were asked
    to stop are killed; overdue: they were.
    """

    def __init__(self, jobs: Queue, logs: Path, threads: int, devices: list[str], view: View, terms: Terms, fuse: Fuse) -> None:
        self.jobs = jobs
        self.logs = logs
        self.threads = threads
        self.devices = devices
        self.view = view
        self.terms = terms
        self.fuse = fuse
        self.events: queue.SimpleQueue[tuple[Child, dict[str, Any] | None]] = queue.SimpleQueue()
        self.alive: dict[int, Child] = {}
        self.open = set(jobs.runs)
        self.postponed: list[str] = []
        self.told: dict[str, str] = {}
        self.verdict: tuple[int, str] | None = None
        self.passed = False
        self.barren = 0
        self.signalled = 0
        self.stopping = False
        self.deadline = float("inf")
        self.overdue = False

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Count SIGINT and SIGTERM instead of dying of them."""

        def count(*_: object) -> None:
            self.signalled += 1

        previous = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def go(self, workers: int) -> None:
        """All runs with ``workers`` processes, then one process for those that ran out of memory beside others."""
        if blown := self.fuse.blown():
            self.verdict = SOME_FAILED, blown
            return
        self.logs.mkdir(parents=True, exist_ok=True)
        for index in range(workers):
            self.start(index)
        self.watch()
        if self.postponed and not self.stopping:
            self.jobs = replace(self.jobs, runs=self.postponed, alone=True)
            self.open = set(self.postponed)
            self.view.note(f"{len(self.postponed)} runs that ran out of memory are tried again, one at a time")
            self.start(0)
            self.watch()
        if not any(log.stat().st_size for log in self.logs.iterdir()):
            shutil.rmtree(self.logs, ignore_errors=True)

    def start(self, index: int) -> None:
        """Start worker ``index``; worker 0 looks at all configs before any worker is told to go."""
        child = Child(index, self.devices[index % len(self.devices)], self.threads, self.logs / f"worker-{index}.log")
        self.alive[index] = child
        child.listen(lambda child, event: self.events.put((child, event)))
        child.send(asdict(replace(self.jobs, preflight=index == 0 and not self.passed)))

    def watch(self) -> None:
        """Handle events until no worker is left."""
        while self.alive:
            with contextlib.suppress(queue.Empty):
                child, event = self.events.get(timeout=_TICK_SECONDS)
                if event is None:
                    self.bury(child)
                else:
                    self.handle(child, event)
            if (self.signalled or self.terms.stop()) and not self.stopping:
                hint = "" if self.terms.patient else " (a second signal stops at once)"
                self.view.note(f"stopping: every worker saves a checkpoint first{hint}")
                self.stop()
            if self.signalled > 1 and not self.terms.patient:
                self.kill()
            if time.monotonic() > self.deadline and not self.overdue:
                self.cut_off()
            self.view.tick()

    def stop(self) -> None:
        self.stopping = True
        grace = min(self.terms.grace, _TERM_SECONDS) if self.signalled and self.terms.patient else self.terms.grace
        self.deadline = time.monotonic() + grace
        for child in self.alive.values():
            child.stop()

    def cut_off(self) -> None:
        """Workers that came to no step boundary in time: their runs go on from the last checkpoint."""
        self.overdue = True
        for child in self.alive.values():
            child.cut_off()

    def give_up(self, code: int, message: str) -> None:
        self.verdict = self.verdict or (code, message)
        self.stop()

    def kill(self) -> None:
        for child in self.alive.values():
            child.kill()
        self.alive.clear()

    def handle(self, child: Child, event: dict[str, Any]) -> None:
        kind, run_id = event["event"], event.get("run_id")
        if kind == "ready":
            child.ready = True
            self.passed = self.passed or child.index == 0
            for each in self.alive.values():
                if self.passed and each.ready and not self.stopping:
                    each.send("go")
        elif kind == "refused":
            self.give_up(USAGE, event["reason"])
        elif kind == "start":
            child.run_id, child.claim = run_id, event["claim"]
            child.runs += 1
            self.view.started(run_id, event["step"])
        elif kind == "progress":
            self.view.progress(run_id, event)
        else:
            child.run_id = None
            self.close(kind, run_id, event)

    def close(self, kind: str, run_id: str, event: dict[str, Any]) -> None:
        """A worker has let go of a run."""
        state = event["state"] if kind == "seen" else kind
        if kind == "postponed" and run_id not in self.postponed:
            self.postponed.append(run_id)
        if state == "failed":
            self.told.setdefault(run_id, event["reason"])
        if kind == "held":
            self.open.discard(run_id)
        self.judge(kind, run_id, event)
        if state in ("done", "failed", "postponed") and run_id in self.open:
            self.open.discard(run_id)
            self.view.finished(run_id, state, event.get("reason"))
        elif kind in ("interrupted", "lost", "held"):
            self.view.released(run_id, "held by another process, and left to it" if kind == "held" else kind)

    def judge(self, kind: str, run_id: str, event: dict[str, Any]) -> None:
        """Tell the fuse what this command's own runs came to, and give up when it blows."""
        if kind == "done":
            self.fuse.succeeded()
        elif kind == "failed":
            self.fuse.failed(run_id, event.get("kind", "error"), event["reason"])
            blown = self.fuse.blown()
            if blown and not self.stopping:
                self.give_up(SOME_FAILED, blown)

    def bury(self, child: Child) -> None:
        """A worker has ended, by itself or not."""
        if child.index not in self.alive:
            return  # killed by this runner
        cause = child.cause_of_death()
        if child.run_id is not None and cause is not None:
            if self.overdue:
                self.let_go(child)
            else:
                self.note_death(child, cause)
        child.reap()  # from here on other workers may see that it is dead
        del self.alive[child.index]
        if self.stopping or cause is None:
            return
        self.barren = 0 if child.runs else self.barren + 1
        if self.barren >= _STARTS_WITHOUT_A_RUN:
            self.give_up(SOME_FAILED, f"workers die before their first run ({cause}); the end of {child.log}:\n{child.last_words()}")
        elif len(self.alive) < len(self.open):  # else the workers that wait for its run take it over
            try:
                self.start(child.index)
            except OSError as error:
                self.give_up(SOME_FAILED, f"a worker that died ({cause}) cannot be started again: {error}")

    def note_death(self, child: Child, cause: str) -> None:
        self.view.released(child.run_id, f"worker died ({cause})")
        try:
            self.jobs.folder(child.run_id).note_death(child.claim, cause)
        except OSError as error:
            self.view.note(f"{child.run_id}: its death could not be noted: {error}")

    def let_go(self, child: Child) -> None:
        """End the claim of a worker that was cut off: its death is no fault of the run."""
        self.view.released(child.run_id, "cut off")
        with contextlib.suppress(ClaimLost, OSError):
            Claim(self.jobs.folder(child.run_id), child.claim, self.jobs.session, 0).end("cut off")

    def outcome(self, run_ids: Sequence[str]) -> Outcome:
        """From the files; a failure that could not be written (a full disk) from what the worker told."""
        runs = [self.jobs.folder(run_id) for run_id in run_ids]
        states = {run.run_id: run.state() for run in runs}
        failed = {run.run_id: run.failure().get("reason", "") for run in runs if states[run.run_id] == "failed"}
        failed |= {run_id: reason for run_id, reason in self.told.items() if states[run_id] not in ("done", "failed")}
        done = tuple(run_id for run_id in run_ids if states[run_id] == "done")
        unfinished = tuple(run_id for run_id in run_ids if states[run_id] != "done" and run_id not in failed)
        code, message = SOME_FAILED if failed else OK, ""
        if self.verdict is not None:
            code, message = self.verdict
            message += f"; {len(unfinished)} runs were not run or not finished" if unfinished and code == SOME_FAILED else ""
        elif self.signalled > 1 and not self.terms.patient:
            code, message = KILLED, "stopped at once; the same command resumes from the last checkpoints"
        elif unfinished:
            code, message = INTERRUPTED, f"{len(unfinished)} runs are not finished; the same command resumes them"
        return Outcome(code, done, failed, unfinished, message)
