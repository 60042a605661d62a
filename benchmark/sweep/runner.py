"""Runs of a sweep on this machine: worker processes, restarted when they die, stopped in order when the user asks."""

import contextlib
import queue
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmark.devices import no_gpu, worker_devices
from benchmark.storage.run_folder import MAX_DEATHS, Claim, ClaimLost, check_writable
from benchmark.sweep.failures import StopEarly
from benchmark.sweep.order import ATTENDED, INTERRUPTED, KILLED, OK, SOME_FAILED, USAGE, Order, Policy, SweepOutcome
from benchmark.sweep.progress import View
from benchmark.sweep.worker_process import WorkerProcess

_IDLE_DEATHS = 2
_TICK_SECONDS = 0.2
_TERM_SECONDS = 20.0
"""A cluster kills a job 30 s after SIGTERM: workers that are not ready before are killed here, and their runs let go."""


def run_local(
    order: Order,
    view: View,
    policy: Policy = ATTENDED,
    stop: Callable[[], bool] = lambda: False,
    idle: Callable[[], None] = lambda: None,
) -> SweepOutcome:
    """Carry out what is not done of ``order``.

    Failures of earlier commands are moved aside and tried again. Runs that another command holds are waited for, where the policy does not
    say otherwise. stop: asked a few times per second whether to save and stop. idle: called whenever a run ends and fewer are left than
    there are workers, so that a core is free.
    """
    check_writable(Path(order.out))
    todo = []
    for run in order.folders():
        if run.record_path.exists():
            run.tidy()
        else:
            if policy.retry:
                run.retry()
            todo.append(run.run_id)
    if not todo:
        return SweepOutcome(OK, done=order.runs)
    devices = list(order.devices) or worker_devices(order.device)
    if not devices:
        return SweepOutcome(USAGE, unfinished=tuple(todo), message=no_gpu())
    session = policy.session or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    runner = _Runner(
        replace(order, runs=tuple(todo)), replace(policy, session=session), devices, view, stop, idle, done=len(todo) < len(order.runs)
    )
    view.begin(todo, already=len(order.runs) - len(todo))
    try:
        with runner.signals():
            runner.go()
    finally:
        runner.kill()
        view.end()
    return runner.outcome(order)


class _Runner:
    """alive: workers by index. open: runs not finished. reported: failures as the workers reported them. ending: why all must stop, with
    the exit code. passed: the preflight is over. idle_deaths: workers in a row that died before any run. deadline: when workers that were
    asked to stop are killed; overdue: they were.
    """

    def __init__(
        self,
        order: Order,
        policy: Policy,
        devices: list[str],
        view: View,
        stop: Callable[[], bool],
        idle: Callable[[], None],
        done: bool,
    ) -> None:
        self.order = order
        self.policy = policy
        self.devices = devices
        self.view = view
        self.stop_asked = stop
        self.idle = idle
        self.logs = Path(order.out) / "logs" / str(policy.session)
        self.stop_early = StopEarly(policy.give_up_after, done, Path(policy.shared) if policy.shared is not None else None)
        self.events: queue.SimpleQueue[tuple[WorkerProcess, dict[str, Any] | None]] = queue.SimpleQueue()
        self.alive: dict[int, WorkerProcess] = {}
        self.open = set(order.runs)
        self.alone = False
        self.postponed: list[str] = []
        self.reported: dict[str, str] = {}
        self.waited_for: set[str] = set()
        self.ending: tuple[int, str] | None = None
        self.passed = False
        self.idle_deaths = 0
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

    def go(self) -> None:
        """All runs, then one process for those that ran out of memory beside others."""
        if reason := self.stop_early.reason():
            self.ending = SOME_FAILED, reason
            return
        self.logs.mkdir(parents=True, exist_ok=True)
        for index in range(min(self.order.workers, len(self.order.runs))):
            self.start(index)
        self.watch()
        if self.postponed and not self.stopping:
            self.order = replace(self.order, runs=tuple(self.postponed))
            self.alone = True
            self.open = set(self.postponed)
            self.view.note(f"{len(self.postponed)} runs that ran out of memory are tried again, one at a time")
            self.start(0)
            self.watch()
        if not any(log.stat().st_size for log in self.logs.iterdir()):
            shutil.rmtree(self.logs, ignore_errors=True)

    def start(self, index: int) -> None:
        """Start worker ``index``; worker 0 looks at all configs before any worker is told to go."""
        worker = WorkerProcess(index, self.devices[index % len(self.devices)], self.order.threads, self.logs / f"worker-{index}.log")
        self.alive[index] = worker
        worker.listen(lambda worker, event: self.events.put((worker, event)))
        preflight = index == 0 and not self.passed
        worker.send({"order": asdict(self.order), "policy": asdict(self.policy), "preflight": preflight, "alone": self.alone})

    def watch(self) -> None:
        """Handle events until no worker is left."""
        while self.alive:
            with contextlib.suppress(queue.Empty):
                worker, event = self.events.get(timeout=_TICK_SECONDS)
                if event is None:
                    self.ended(worker)
                else:
                    self.handle(worker, event)
            if (self.signalled or self.stop_asked()) and not self.stopping:
                self.stop()
                hint = "" if self.policy.patient else " (a second signal stops at once)"
                self.view.note(f"stopping: every worker saves a checkpoint first{hint}")
            if self.signalled > 1 and not self.policy.patient:
                self.kill()
            if time.monotonic() > self.deadline and not self.overdue:
                self.cut_off()
            self.view.tick()

    def stop(self) -> None:
        self.stopping = True
        grace = min(self.policy.grace, _TERM_SECONDS) if self.signalled and self.policy.patient else self.policy.grace
        self.deadline = time.monotonic() + grace
        for worker in self.alive.values():
            worker.stop()

    def cut_off(self) -> None:
        """Workers that came to no step boundary in time: their runs go on from the last checkpoint."""
        self.overdue = True
        for worker in self.alive.values():
            worker.cut_off()

    def give_up(self, code: int, message: str) -> None:
        self.ending = self.ending or (code, message)
        self.stop()

    def kill(self) -> None:
        for worker in self.alive.values():
            worker.kill()
        self.alive.clear()

    def handle(self, worker: WorkerProcess, event: dict[str, Any]) -> None:
        kind, run_id = event["event"], event.get("run_id", "")
        if kind == "ready":
            worker.ready = True
            self.passed = self.passed or worker.index == 0
            if not self.open:
                self.let_go()  # the others did it all while this one was starting
            elif self.passed and not self.stopping:
                for each in self.alive.values():
                    if each.ready:
                        each.send("go")
        elif kind == "refused":
            self.give_up(USAGE, event["reason"])
        elif kind == "start":
            worker.run_id, worker.claim = run_id, event["claim"]
            worker.runs += 1
            self.view.started(run_id, event["step"])
        elif kind == "progress":
            self.view.progress(run_id, event)
        elif kind == "waiting":
            if run_id not in self.waited_for:
                self.waited_for.add(run_id)
                self.view.note(f"{run_id}: waits for {event['holder']}")
        else:
            worker.run_id = None
            self.close(kind, run_id, event)

    def close(self, kind: str, run_id: str, event: dict[str, Any]) -> None:
        """A worker has let go of a run."""
        state = event["state"] if kind == "seen" else kind
        if kind == "postponed" and run_id not in self.postponed:
            self.postponed.append(run_id)
        if state == "failed":
            self.reported.setdefault(run_id, event["reason"])
        if kind == "held":
            self.open.discard(run_id)
        self.count(kind, run_id, event)
        if state in ("done", "failed", "postponed") and run_id in self.open:
            self.open.discard(run_id)
            self.view.finished(run_id, state, event.get("reason"))
        elif kind in ("interrupted", "lost", "held"):
            self.view.released(run_id, "held by another process, and left to it" if kind == "held" else kind)
        if len(self.open) < len(self.alive):
            self.idle()
        if not self.open:
            self.let_go()

    def let_go(self) -> None:
        """No run is left: workers that wait for one of another's to end need not look again."""
        for worker in self.alive.values():
            if worker.ready and worker.run_id is None:
                worker.stop()

    def count(self, kind: str, run_id: str, event: dict[str, Any]) -> None:
        """Count what this command's own runs came to, and give up when all of them fail alike."""
        if kind == "done":
            self.stop_early.succeeded()
        elif kind == "failed":
            self.stop_early.failed(run_id, event.get("kind", "error"), event["reason"])
            why = self.stop_early.reason()
            if why and not self.stopping:
                self.give_up(SOME_FAILED, why)

    def ended(self, worker: WorkerProcess) -> None:
        """A worker has ended, by itself or not."""
        if worker.index not in self.alive:
            return  # killed by this runner
        cause = worker.cause_of_death()
        if worker.run_id is not None and cause is not None:
            if self.overdue:
                self.end_claim(worker, worker.run_id)
            else:
                self.note_death(worker, worker.run_id, cause)
        worker.reap()  # from here on other workers may see that it is dead
        del self.alive[worker.index]
        if self.stopping or cause is None or not self.open:
            return
        self.idle_deaths = 0 if worker.runs else self.idle_deaths + 1
        if self.idle_deaths >= _IDLE_DEATHS:
            self.give_up(SOME_FAILED, f"workers die before their first run ({cause}); the end of {worker.log}:\n{worker.last_words()}")
        elif len(self.alive) < len(self.open):  # else the workers that wait for its run take it over
            try:
                self.start(worker.index)
            except OSError as error:
                self.give_up(SOME_FAILED, f"a worker that died ({cause}) cannot be started again: {error}")

    def note_death(self, worker: WorkerProcess, run_id: str, cause: str) -> None:
        """Say how it died, for whoever takes the run over; a run that has cost as many workers as it may counts as failed."""
        self.view.released(run_id, f"worker died ({cause})")
        run = self.order.folder(run_id)
        try:
            run.note_death(worker.claim, cause)
            deaths = len(run.deaths(str(self.policy.session), before=worker.claim + 1))
        except OSError as error:
            self.view.note(f"{run_id}: its death could not be noted: {error}")
            return
        if deaths >= MAX_DEATHS:
            self.count("failed", run_id, {"kind": "killed", "reason": f"its process died ({cause})"})

    def end_claim(self, worker: WorkerProcess, run_id: str) -> None:
        """End the claim of a worker that was cut off: its death is no fault of the run."""
        self.view.released(run_id, "cut off")
        with contextlib.suppress(ClaimLost, OSError):
            Claim(self.order.folder(run_id), worker.claim, str(self.policy.session), 0).end("cut off")

    def outcome(self, order: Order) -> SweepOutcome:
        """From the files; a failure that could not be written (a full disk) from what the worker reported."""
        runs = order.folders()
        states = {run.run_id: run.state() for run in runs}
        failed = {run.run_id: run.failure().get("reason", "") for run in runs if states[run.run_id] == "failed"}
        failed |= {run_id: reason for run_id, reason in self.reported.items() if states[run_id] not in ("done", "failed")}
        done = tuple(run_id for run_id in order.runs if states[run_id] == "done")
        unfinished = tuple(run_id for run_id in order.runs if states[run_id] != "done" and run_id not in failed)
        code, message = SOME_FAILED if failed else OK, ""
        if self.ending is not None:
            code, message = self.ending
            message += f"; {len(unfinished)} runs were not run or not finished" if unfinished and code == SOME_FAILED else ""
        elif self.signalled > 1 and not self.policy.patient:
            code, message = KILLED, "stopped at once; the same command resumes from the last checkpoints"
        elif unfinished:
            code, message = INTERRUPTED, f"{len(unfinished)} runs are not finished; the same command resumes them"
        return SweepOutcome(code, done, failed, unfinished, message)
