"""A worker process as its parent sees it: started, spoken to, listened to, and how it died."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from datasets.base import cache_root

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class WorkerProcess:
    """A running worker. run_id, claim: what it works on now. runs: how many it has begun. ready: it has imported what it needs.

    log: file for what it prints, appended to.
    """

    def __init__(self, index: int, device: str, threads: int, log: Path) -> None:
        self.index = index
        self.log = log
        self.ready = False
        self.run_id: str | None = None
        self.claim = 0
        self.runs = 0
        with log.open("ab") as errors, _blocked(signal.SIGUSR2):
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "benchmark.sweep.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                stderr=errors,
                env=_environment(device, threads),
                start_new_session=True,  # Ctrl-C in the terminal reaches the parent alone
            )
        self._stdin, self._stdout = cast(IO[bytes], self._process.stdin), cast(io.FileIO, self._process.stdout)

    def send(self, value: Any) -> None:
        """One line of JSON. To a dead worker nothing is sent: the end of its events tells."""
        rest = json.dumps(value).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):
            while rest:  # a pipe takes 64 KiB; a suspension ends a write in the middle of what is longer
                rest = rest[self._stdin.write(rest) :]

    def listen(self, put: Callable[["WorkerProcess", dict[str, Any] | None], None]) -> None:
        """Hand every event to ``put`` from a thread of its own, and None after the last one."""

        def read() -> None:
            try:
                for line in io.BufferedReader(self._stdout):
                    if (event := _event(line)) is not None:
                        put(self, event)
            finally:
                put(self, None)

        threading.Thread(target=read, daemon=True).start()

    def stop(self) -> None:
        """Ask for a checkpoint and an orderly end; a worker that is still starting has nothing to save."""
        if self.ready:
            self._stdin.close()
        else:
            self.cut_off()

    def cut_off(self) -> None:
        """End it at once; the end of its events follows. Popen's own ``kill`` would reap one that has just ended by itself."""
        os.kill(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        self.cut_off()
        self.reap()

    def cause_of_death(self) -> str | None:
        """Wait for the end: the signal's name, the exit code, or None after an orderly end.

        The process stays a zombie, which other workers do not take for dead before :meth:`reap`.
        """
        if hasattr(os, "waitid"):
            status = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            assert status is not None
            code = status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
        else:  # macOS, where nobody can tell a zombie
            code = self._process.wait()
        if code < 0:
            return signal.Signals(-code).name
        return f"exit code {code}" if code else None

    def reap(self) -> None:
        self._process.wait()

    def last_words(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _event(line: bytes) -> dict[str, Any] | None:
    """An event of a worker; None for a line that is none: half of one from a dying worker, or what foreign code has printed there."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None


def _environment(device: str, threads: int) -> dict[str, str]:
    return {
        **os.environ,
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        "CUDA_VISIBLE_DEVICES": "" if device == "cpu" else device,
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_CACHE_DIR": os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(cache_root() / "inductor")),
        "PYTHONPATH": python_path(),
    }


def python_path() -> str:
    """``PYTHONPATH`` with which another process finds the same modules as this one."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path if not path.startswith("__editable__"))


@contextlib.contextmanager
def _blocked(number: int) -> Iterator[None]:
    """A process started meanwhile is born with the signal blocked: a cluster sends it to every process of a job, at any moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
