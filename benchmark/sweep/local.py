"""Runs of a sweep on this machine: worker processes, restarted when they die, stopped in order when the user asks."""

import contextlib
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.sweep.state import RunFolder
from benchmark.sweep.view import View
from benchmark.sweep.worker import REFUSED, Queue

OK, SOME_FAILED, USAGE, INTERRUPTED, KILLED = 0, 1, 2, 75, 130
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
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
    Failures of earlier commands are moved aside and tried again.
    """
    todo = []
    for run_id in run_ids:
        run = RunFolder(sweep_dir / "runs" / run_id)
        if run.record_path.exists():
            run.tidy()
        else:
            run.retry()
            todo.append(run_id)
    view.begin(todo, already=len(run_ids) - len(todo))
    if not todo:
        view.end()
        return Outcome(OK, done=tuple(run_ids))
    session = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    jobs = Queue(str(sweep_dir), todo, session, job, program=program, load=load)
    runner = _Runner(jobs, sweep_dir / "logs" / session, threads, list(devices), view)
    try:
        with runner.signals():
            runner.go(min(workers, len(todo)))
    finally:
        runner.kill()
        view.end()
    return runner.outcome(run_ids)


class _Process:
    """A worker process and what is known of it. ``run_id``, ``claim``: what it works on now."""

    def __init__(self, index: int, process: subprocess.Popen, log: Path) -> None:
        self.index = index
        self.process = process
        self.log = log
        self.ready = False
        self.run_id: str | None = None
        self.claim = 0
        self.runs = 0

    def go(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died; its end of the event pipe tells
            os.write(self.process.stdin.fileno(), b"go\n")

    def stop(self) -> None:
        self.process.stdin.close()


class _Runner:
    def __init__(self, jobs: Queue, logs: Path, threads: int, devices: list[str], view: View) -> None:
        self.jobs = jobs
        self.logs = logs
        self.threads = threads
        self.devices = devices
        self.view = view
        self.events: queue.SimpleQueue[tuple[_Process, dict[str, Any] | None]] = queue.SimpleQueue()
        self.alive: dict[int, _Process] = {}
        self.open = set(jobs.runs)
        self.postponed: list[str] = []
        self.told: dict[str, str] = {}
        self.refusal: str | None = None
        self.passed = False
        self.signalled = 0
        self.stopping = False
        self.barren = 0

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
        self.logs.mkdir(parents=True, exist_ok=True)
        for index in range(workers):
            self.start(index, preflight=index == 0)
        self.watch()
        if self.postponed and not self.stopping:
            self.jobs = Queue(**{**vars(self.jobs), "runs": self.postponed, "alone": True})
            self.open = set(self.postponed)
            self.view.note(f"{len(self.postponed)} runs that ran out of memory are tried again, one at a time")
            self.start(0)
            self.watch()
        self.clear_logs()

    def start(self, index: int, preflight: bool = False) -> None:
        queue_path = self.logs / f"queue-{index}.json"
        Queue(**{**vars(self.jobs), "preflight": preflight}).write(queue_path)
        log = self.logs / f"worker-{index}.log"
        command = [sys.executable, "-P", "-m", "benchmark.sweep.worker", str(queue_path)]
        with log.open("ab") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self.environment(index),
                start_new_session=True,  # Ctrl-C in the terminal reaches the runner alone
            )
        worker = _Process(index, process, log)
        self.alive[index] = worker
        threading.Thread(target=self.listen, args=(worker,), daemon=True).start()

    def environment(self, index: int) -> dict[str, str]:
        device = self.devices[index % len(self.devices)]
        return {
            **os.environ,
            **dict.fromkeys(_THREAD_VARIABLES, str(self.threads)),
            "CUDA_VISIBLE_DEVICES": "" if device == "cpu" else device,
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        }

    def listen(self, worker: _Process) -> None:
        for line in worker.process.stdout:
            self.events.put((worker, json.loads(line)))
        self.events.put((worker, None))

    def watch(self) -> None:
        """Handle events until no worker is left."""
        while self.alive:
            with contextlib.suppress(queue.Empty):
                worker, event = self.events.get(timeout=_TICK_SECONDS)
                if event is None:
                    self.bury(worker)
                else:
                    self.handle(worker, event)
            if self.signalled and not self.stopping:
                self.view.note("stopping: every worker saves a checkpoint first (a second signal stops at once)")
                self.stop()
            if self.signalled > 1:
                self.kill()
            self.view.tick()

    def stop(self) -> None:
        self.stopping = True
        for worker in self.alive.values():
            worker.stop()

    def kill(self) -> None:
        for worker in self.alive.values():
            worker.process.kill()
            worker.process.wait()
        self.alive.clear()

    def handle(self, worker: _Process, event: dict[str, Any]) -> None:
        kind, run_id = event["event"], event.get("run_id")
        if kind == "ready":
            worker.ready = True
            self.passed = self.passed or worker.index == 0
            for each in self.alive.values():
                if self.passed and each.ready and not self.stopping:
                    each.go()
        elif kind == "refused":
            self.refusal = event["reason"]
            self.stop()
        elif kind == "start":
            worker.run_id, worker.claim = run_id, event["claim"]
            worker.runs += 1
            self.view.started(run_id, event["step"])
        elif kind == "progress":
            self.view.progress(run_id, event)
        else:
            worker.run_id = None
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

    def bury(self, worker: _Process) -> None:
        """A worker has ended, by itself or not."""
        cause = _cause_of_death(worker.process)
        if worker.run_id is not None:
            RunFolder(Path(self.jobs.sweep_dir) / "runs" / worker.run_id).note_death(worker.claim, cause)
            self.view.released(worker.run_id, f"worker died ({cause})")
        code = worker.process.wait()  # from here on other workers may see that it is dead
        self.alive.pop(worker.index, None)
        if code in (0, REFUSED) and worker.run_id is None:
            return
        self.barren = 0 if worker.runs else self.barren + 1
        if self.barren >= _STARTS_WITHOUT_A_RUN:
            self.refusal = f"workers die before their first run ({cause}); the last lines of {worker.log}:\n{_tail(worker.log)}"
            self.stop()
        elif not self.stopping and len(self.alive) < len(self.open):  # else the workers that wait for its run take it over
            self.start(worker.index, preflight=not self.passed and worker.index == 0)

    def clear_logs(self) -> None:
        """Keep logs only where a worker printed something."""
        if not any(log.stat().st_size for log in self.logs.glob("worker-*.log")):
            shutil.rmtree(self.logs)

    def outcome(self, run_ids: Sequence[str]) -> Outcome:
        """From the files; a failure that could not be written (a full disk) from what the worker told."""
        runs = [RunFolder(Path(self.jobs.sweep_dir) / "runs" / run_id) for run_id in run_ids]
        states = {run.run_id: run.state() for run in runs}
        failed = {run.run_id: run.failure().get("reason", "") for run in runs if states[run.run_id] == "failed"}
        failed |= {run_id: reason for run_id, reason in self.told.items() if states[run_id] not in ("done", "failed")}
        done = tuple(run_id for run_id in run_ids if states[run_id] == "done")
        unfinished = tuple(run_id for run_id in run_ids if states[run_id] != "done" and run_id not in failed)
        if self.refusal is not None:
            return Outcome(USAGE if not self.barren else SOME_FAILED, done, failed, unfinished, self.refusal)
        if self.signalled > 1:
            return Outcome(KILLED, done, failed, unfinished, "stopped at once; the same command resumes from the last checkpoints")
        if self.stopping and unfinished:
            return Outcome(INTERRUPTED, done, failed, unfinished, "interrupted; the same command resumes where this one stopped")
        return Outcome(SOME_FAILED if failed or unfinished else OK, done, failed, unfinished)


def _cause_of_death(process: subprocess.Popen) -> str:
    """The signal's name or the exit code; the process stays a zombie."""
    status = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if status.si_code == os.CLD_EXITED:
        return f"exit code {status.si_status}"
    return signal.Signals(status.si_status).name


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
