"""Runs of a sweep on this machine: worker processes, restarted when they die, stopped in order when the user asks."""

import contextlib
import queue
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.sweep.child import Child
from benchmark.sweep.state import RunFolder, check_writable
from benchmark.sweep.view import View
from benchmark.sweep.worker import Queue

OK, SOME_FAILED, USAGE, INTERRUPTED, KILLED = 0, 1, 2, 75, 130
_STARTS_WITHOUT_A_RUN = 2
_TICK_SECONDS = 0.2


@dataclass(frozen=True)
class Outcome:
    """How a sweep command ended. failed: run id -> reason. unfinished: runs neither done nor failed. message: for the user."""

    exit_code: int
    done: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    message: str = ""


def run_local(
    sweep_dir: Path,
    run_ids: Sequence[str],
    *,
    workers: int,
    threads: int,
    devices: Sequence[str],
    view: View,
    job: str | None = None,
    program: str = "benchmark.training.run",
    load: str = "benchmark.config:load_run",
) -> Outcome:
    """Carry out what is not done of ``run_ids`` (longest first); their ``config.yaml`` exist already.

    threads: per worker. devices: ``"cpu"``, or entries for ``CUDA_VISIBLE_DEVICES`` (an index, a UUID), given to workers in turn.
    Failures of earlier commands are moved aside and tried again. Runs that another command holds are waited for.
    """
    check_writable(sweep_dir)
    todo = []
    for run_id in run_ids:
        run = RunFolder(sweep_dir / "runs" / run_id)
        if run.record_path.exists():
            run.tidy()
        else:
            run.retry()
            todo.append(run_id)
    if not todo:
        return Outcome(OK, done=tuple(run_ids))
    session = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    jobs = Queue(str(sweep_dir), todo, session, job, program=program, load=load)
    runner = _Runner(jobs, sweep_dir / "logs" / session, threads, list(devices), view)
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
    exit code. passed: the preflight is over. barren: workers in a row that died before any run.
    """

    def __init__(self, jobs: Queue, logs: Path, threads: int, devices: list[str], view: View) -> None:
        self.jobs = jobs
        self.logs = logs
        self.threads = threads
        self.devices = devices
        self.view = view
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
        self.logs.mkdir(parents=True)
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
            if self.signalled and not self.stopping:
                self.view.note("stopping: every worker saves a checkpoint first (a second signal stops at once)")
                self.stop()
            if self.signalled > 1:
                self.kill()
            self.view.tick()

    def stop(self) -> None:
        self.stopping = True
        for child in self.alive.values():
            child.stop()

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
        if kind == "postponed":
            self.postponed.append(run_id)
        if state == "failed":
            self.told.setdefault(run_id, event["reason"])
        if state in ("done", "failed", "postponed") and run_id in self.open:
            self.open.discard(run_id)
            self.view.finished(run_id, state, event.get("reason"))
        elif kind in ("interrupted", "lost"):
            self.view.released(run_id, kind)

    def bury(self, child: Child) -> None:
        """A worker has ended, by itself or not."""
        if child.index not in self.alive:
            return  # killed by this runner
        cause = child.cause_of_death()
        if child.run_id is not None and cause is not None:
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
        elif self.signalled > 1:
            code, message = KILLED, "stopped at once; the same command resumes from the last checkpoints"
        elif unfinished:
            code, message = INTERRUPTED, f"{len(unfinished)} runs are not finished; the same command resumes them"
        return Outcome(code, done, failed, unfinished, message)
