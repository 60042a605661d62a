"""One process that carries out many runs: ``python -m benchmark.sweep.worker``, started by :mod:`benchmark.sweep.runner`.

Standard input comes from the parent: first an order and a policy as one line of JSON, then a line ``go`` that starts the runs. Its end (the
parent closed it, or died) asks for a checkpoint and an orderly stop, as SIGTERM does. SIGINT and SIGUSR2 are the parent's business.
Events go to the parent as JSON lines on the original standard output; everything printed goes to standard error.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from benchmark.storage.atomic import clock
from benchmark.storage.run_folder import BEAT_SECONDS, Claim, ClaimLost, RunFolder, claim
from benchmark.sweep.failures import describe, is_user_error
from benchmark.sweep.order import Order, Policy
from benchmark.training.session import Interrupted

PROGRAM = "SMILEBENCH_PROGRAM"
"""Environment variable by which tests name another module with ``load_run``, ``preflight`` and ``train``."""
RESTART = 76
"""Exit code of a worker that asks for a fresh process: what it ran last has left it in a state in which no other run may start."""
HANG_SECONDS = float(os.environ.get("SMILEBENCH_HANG_SECONDS", "3600"))
"""A run that says nothing for this long hangs: above the longest set-up pass, compilation or evaluation."""
_TELL_SECONDS = 0.5
_POLL_SECONDS = 0.5
_LONGEST_POLL = 5.0


class Parent:
    """The line to the process that started this one. ``go`` and ``stop`` are plain flags, safe to set in a signal handler.

    preflight: look at all configs before the first run. alone: no other worker of this session runs, so running out of memory is final.
    telling: an event is being handed over, which takes until a parent that is suspended goes on.
    """

    def __init__(self) -> None:
        self.go = False
        self.stop = False
        self.telling = False
        message = json.loads(_read_line())
        self.order = Order(**{**message["order"], "runs": tuple(message["order"]["runs"])})
        self.policy = Policy(**message["policy"])
        self.preflight, self.alone = message["preflight"], message["alone"]
        self._events = os.dup(1)
        os.dup2(2, 1)
        for number in (signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: self._ask_to_stop())
        threading.Thread(target=self._listen, daemon=True).start()

    def _ask_to_stop(self) -> None:
        self.stop = True

    def _listen(self) -> None:
        while os.read(0, 64):
            self.go = True
        self.stop = True

    def wait(self, seconds: float) -> None:
        """Sleep, less when asked to stop."""
        until = time.monotonic() + seconds
        while not self.stop and time.monotonic() < until:
            time.sleep(0.05)

    def tell(self, event: str, **fields: Any) -> None:
        rest = (json.dumps({"event": event, **fields}) + "\n").encode()
        self.telling = True
        try:
            while rest:
                rest = rest[os.write(self._events, rest) :]
        except BrokenPipeError:
            self.stop = True
        finally:
            self.telling = False


class RunSession:
    """What training sees of its claim (the protocol in ``benchmark.training.session``), and the heartbeat."""

    def __init__(self, own: Claim, parent: Parent) -> None:
        self.folder = own.run.path
        self.claim = own.n
        self.check = own.check
        self.latest: dict[str, Any] = {"step": own.start_step, "total": None, "phase": "start", "images_per_second": None}
        self._own = own
        self._parent = parent
        self._reported = 0.0
        self._signs = 0
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "RunSession":
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._heart.join()

    def progress(self, step: int, total: int, phase: str, images_per_second: float) -> None:
        """Say how far the run is; cheap enough for every step."""
        self._signs += 1
        self.latest = {"step": step, "total": total, "phase": phase, "images_per_second": round(images_per_second, 1)}
        if time.monotonic() - self._reported >= _TELL_SECONDS:
            self._reported = time.monotonic()
            self._parent.tell("progress", run_id=self.folder.name, **self.latest)

    def stop_requested(self) -> bool:
        return self._parent.stop

    def log(self, text: str) -> None:
        """A line for ``log.txt``."""
        self._signs += 1
        self.check()
        with self._own.run.log_path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def _beat(self) -> None:
        """Until the run is over. A hang is told by heartbeats without a sign of training: a suspended process has none of either."""
        signs, quiet = self._signs, 0.0
        while True:
            if quiet > HANG_SECONDS:
                self._give_up(quiet)
            try:
                self._own.beat({**self.latest, "updated": time.time()})
            except ClaimLost:
                return  # training meets the same answer at its next check
            except OSError as error:
                print(f"{self.folder.name}: heartbeat: {error}", file=sys.stderr)
            if self._over.wait(BEAT_SECONDS):
                return
            quiet = quiet + BEAT_SECONDS if self._signs == signs and not self._parent.telling else 0.0
            signs = self._signs

    def _give_up(self, stuck: float) -> None:
        """Training is stuck in a call that does not return, which no exception can end: fail the run, and end the process."""
        at = f"at step {self.latest['step']} ({self.latest['phase']})"
        reason = f"hangs: no progress for {stuck / 60:.3g} min {at}; SMILEBENCH_HANG_SECONDS says how long is too long"
        stack = sys._current_frames().get(threading.main_thread().ident or 0)
        failure = {"reason": reason, "kind": "hang", "traceback": "".join(traceback.format_stack(stack)), "step": self.latest["step"]}
        try:
            self._own.fail(failure)
            self._parent.tell("failed", run_id=self.folder.name, reason=reason, kind="hang")
        finally:
            os._exit(RESTART)


class Worker:
    """Goes through the order until every run is finished, taking what is free; what others hold is looked at again."""

    def __init__(self, parent: Parent) -> None:
        self.parent = parent
        self.order = parent.order
        self.policy = parent.policy
        self._waited_for: set[str] = set()
        self.program = importlib.import_module(os.environ.get(PROGRAM, "benchmark.training.run"))
        gc.collect()
        gc.freeze()  # what is imported stays, so that collecting between two runs looks at what the runs left alone
        atexit.register(gc.unfreeze)  # else libraries report at the end, as leaked, what was left out

    def run(self) -> None:
        """Until no run is left or the parent asks to stop."""
        if self.parent.preflight and not self._preflight():
            return
        self.parent.tell("ready")
        while not (self.parent.go or self.parent.stop):
            self.parent.wait(0.05)
        waiting = list(self.order.runs)
        pause = _POLL_SECONDS
        while waiting and not self.parent.stop:
            left = [run_id for run_id in waiting if self.parent.stop or not self._finished(run_id)]
            pause = _POLL_SECONDS if len(left) < len(waiting) else min(1.5 * pause, _LONGEST_POLL)
            waiting = left
            if waiting:
                self.parent.wait(pause)

    def _preflight(self) -> bool:
        """Whether no run is refused. What a method's own code raises fails the runs of that method when they are come to, and no other."""
        try:
            self.program.preflight([self._config(run_id) for run_id in self.order.runs])
            return True
        except (Exception, SystemExit) as error:
            if is_user_error(error):
                return self._refused(error)
            traceback.print_exception(error)
        one_each = {run_id.rpartition("-s")[0] or run_id: run_id for run_id in self.order.runs}
        for run_id in one_each.values():  # one of each cell by itself, as another method may be refused with a reason
            try:
                self.program.preflight([self._config(run_id)])
            except (Exception, SystemExit) as error:
                if is_user_error(error):
                    return self._refused(error)
        return True

    def _refused(self, error: BaseException) -> bool:
        self.parent.tell("refused", reason=str(error))
        return False

    def _config(self, run_id: str) -> Any:
        return self.program.load_run(self.order.folder(run_id).config_path, device=self.order.device)

    def _finished(self, run_id: str) -> bool:
        """Carry the run out if it is free; whether this worker need not look at it again."""
        run = self.order.folder(run_id)
        if run.record_path.exists() or run.failure_path.exists():
            self.parent.tell("seen", run_id=run_id, state=run.state(), reason=run.failure().get("reason"))
            return True
        own = None
        try:
            if not self.parent.alone and self._postponed(run):
                self.parent.tell("postponed", run_id=run_id, reason="ran out of memory beside others")
                return True
            own = claim(run.path, str(self.policy.session), self.policy.job)
            if own is None:
                return self._left_to_others(run)
            return self._carry_out(own)
        except ClaimLost as lost:
            self.parent.tell("lost", run_id=run_id, reason=str(lost))
            return False
        except OSError as error:  # the run cannot be claimed, or how it ended not be written
            self.parent.tell("done" if run.record_path.exists() else "failed", run_id=run_id, reason=describe(error)["reason"])
            if own is not None:
                with contextlib.suppress(OSError):  # where nothing at all can be written nobody can claim it either
                    own.drop()
            return True

    def _left_to_others(self, run: RunFolder) -> bool:
        if self.policy.wait:
            self._say_who_holds(run)
            return False
        last = run.last_claim()
        if last is None or last.info.get("session") == self.policy.session or not last.alive():
            return False
        self.parent.tell("held", run_id=run.run_id)
        return True

    def _say_who_holds(self, run: RunFolder) -> None:
        """Once for each run that is waited for."""
        last = run.last_claim()
        if run.run_id in self._waited_for or last is None or last.info.get("session") == self.policy.session:
            return
        self._waited_for.add(run.run_id)
        age = clock(last.folder) - last.beat
        beat = f"{age:.0f} s ago" if age >= 0 else f"{-age:.0f} s ahead of the clock"
        who = f"process {last.info.get('pid', '?')} on {last.text('host') or 'an unknown host'} (claim {last.n}, heartbeat {beat})"
        self.parent.tell("waiting", run_id=run.run_id, holder=who)

    def _postponed(self, run: RunFolder) -> bool:
        last = run.last_claim()
        ended = last.ended if last else None
        return ended is not None and ended.get("reason") == "out_of_memory" and ended.get("session") == self.policy.session

    def _carry_out(self, own: Claim) -> bool:
        run_id, started = own.run.run_id, time.monotonic()
        self.parent.tell("start", run_id=run_id, claim=own.n, step=own.start_step)
        with RunSession(own, self.parent) as session:
            try:
                session.log(f"claim {own.n} by process {os.getpid()} on {socket.gethostname()}")
                self.program.train(self._config(run_id), session)
                failure = None if own.run.record_path.exists() else describe(RuntimeError("training returned without a record"))
            except Interrupted:
                session.log(f"interrupted at step {session.latest['step']}")
                own.end("interrupted")
                self.parent.tell("interrupted", run_id=run_id, step=session.latest["step"])
                return False
            except ClaimLost:
                raise
            except (Exception, SystemExit) as error:
                own.check()  # an error after losing the claim is its consequence
                failure = describe(error)
            if failure is not None:
                return self._failed(own, session, {**failure, "step": session.latest["step"]})
        own.run.tidy()
        own.end("done")
        self.parent.tell("done", run_id=run_id, seconds=time.monotonic() - started)
        release_memory()
        return True

    def _failed(self, own: Claim, session: RunSession, failure: Mapping[str, Any]) -> bool:
        """Write the reason first: what the device does next cannot be relied on."""
        if failure["kind"] == "out_of_memory" and not self.parent.alone:
            session.log(f"out of memory, to be tried again alone: {failure['reason']}")
            own.end("out_of_memory")
            self.parent.tell("postponed", run_id=own.run.run_id, reason=failure["reason"])
        else:
            self.parent.tell("failed", run_id=own.run.run_id, reason=failure["reason"], kind=failure["kind"])
            try:
                session.log(f"failed: {failure['reason']}\n{failure['traceback']}")
            finally:
                own.fail(failure)
        if failure["kind"] == "device":
            sys.exit(RESTART)
        try:
            release_memory()
        except Exception as error:
            print(f"{own.run.run_id}: the device is left unusable: {error}", file=sys.stderr)
            sys.exit(RESTART)
        return True


def _read_line() -> bytes:
    """From standard input, unbuffered: the lock of ``sys.stdin`` would be held by the listening thread at exit."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 1 << 16)
        if not part:
            sys.exit(0)
        line += part
    return line


def release_memory() -> None:
    """Give back what a run held, so that the next one starts, and its memory is counted, as in a fresh process."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _leave(done: threading.Event) -> None:
    """After an orderly end, leave without taking apart all that was imported, which takes a second or two and saves nothing.

    An exit handler that is registered before all others, and so called after them.
    """
    if done.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        ctypes.CDLL(None).fflush(None)  # what libraries in C have printed
        os._exit(0)


if __name__ == "__main__":
    done = threading.Event()
    atexit.register(_leave, done)
    Worker(Parent()).run()
    done.set()
