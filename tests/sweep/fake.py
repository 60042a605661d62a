"""A training program without torch, for the sweep's tests; the run's ``config.yaml`` is JSON that says how it behaves.

steps: number of steps. seconds: of one step. held: a step that lasts until :func:`release`, a minute at most. every: steps between
checkpoints. die: a point at which the process kills itself, pause: one at which it sleeps for a minute, both on its first ``times`` claims.
last_words: what it writes to its parent before it dies. error: an exception to raise at step 2. fits_alone: out of memory on the first
claim only. lingers: once its failure is told, its process takes until it is asked to stop, a minute at most. show: environment variables
to log. prints: leaves words in buffers, with an exit handler, and with an object that says when it is taken apart.
"""

import atexit
import ctypes
import errno
import gc
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmark.errors import UsageError
from benchmark.storage.run_folder import write_json, write_record, write_text
from benchmark.training.session import Interrupted


class Diverged(RuntimeError):
    pass


class DataError(ValueError):
    pass


DEFAULTS = {
    "steps": 10,
    "seconds": 0.002,
    "held": None,
    "every": 3,
    "die": None,
    "pause": None,
    "last_words": "",
    "times": 1,
    "error": None,
    "fits_alone": False,
    "lingers": False,
    "show": [],
    "prints": False,
}


class Kept:
    """What outlives a run."""

    def __del__(self) -> None:
        os.write(2, b"taken apart\n")


kept: list[Kept] = []


def broken(error: Exception) -> Exception:
    """``error``, with a torch whose device answers every later call with an error, as after a device-side assert."""

    def refuse() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    sys.modules["torch"] = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True, empty_cache=refuse))
    return error


ERRORS = {
    "nan": lambda: Diverged("loss is not finite at step 2"),
    "memory": lambda: MemoryError("no room"),
    "disk": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "data": lambda: DataError("cannot read a.png"),
    "bug": lambda: KeyError("x"),
    "exit": lambda: SystemExit(3),
    "crash": lambda: KeyError("a defect"),
    "cuda": lambda: broken(RuntimeError("CUDA error: device-side assert triggered")),
    "unsaid": lambda: broken(KeyError("x")),
}


def linger(session: Any) -> None:
    """Have a torch whose memory is given back, after the run, only once the process is asked to stop."""

    def busy() -> bool:
        until = time.monotonic() + 60
        while not session.stop_requested() and time.monotonic() < until:
            time.sleep(0.01)
        return False

    sys.modules["torch"] = SimpleNamespace(cuda=SimpleNamespace(is_initialized=busy))


_RELEASED = "released"


def release(folder: Path) -> None:
    """Let the held step of the run in ``folder`` end."""
    (folder / _RELEASED).touch()


def load_run(path: Path, device: str) -> dict[str, Any]:
    return {**DEFAULTS, **json.loads(path.read_text()), "device": device}


def preflight(configs: list[dict[str, Any]]) -> None:
    for config in configs:
        if config["error"] == "refuse":
            raise UsageError("method 'x': refused")
        if config["error"] == "crash":
            raise KeyError("a defect")


def train(config: dict[str, Any], session: Any) -> None:
    busy = session.folder.parents[1] / "busy"
    busy.mkdir(exist_ok=True)
    session.log(f"train with {len(list(busy.iterdir()))} others")
    (busy / session.folder.name).touch()
    try:
        _train(config, session)
    finally:
        (busy / session.folder.name).unlink()


def _train(config: dict[str, Any], session: Any) -> None:
    session.log(json.dumps({name: os.environ[name] for name in config["show"]}))
    session.log(f"on {config['device']}")
    session.log(f"{'nothing' if gc.get_freeze_count() == 0 else 'what is imported'} is left out of collections")
    if config["prints"]:
        kept.append(Kept())
        print("words of Python")
        ctypes.CDLL(None).printf(b"words of C\n")
        atexit.register(print, "words of a handler")
    point(config, session, "setup")
    saved = session.folder / "checkpoint" / "step.json"
    step, total = 0, 0
    if saved.exists():
        state = json.loads(saved.read_text())
        step, total = state["step"], state["total"]
        session.log(f"resumed at step {step}")
    while step < config["steps"]:
        if step == 2 and config["error"] in ERRORS and not (config["fits_alone"] and session.claim > 1):
            if config["lingers"]:
                linger(session)
            raise ERRORS[config["error"]]()
        time.sleep(config["seconds"])
        total += step * step
        step += 1
        if step == config["held"]:
            session.log(f"held at step {step}")
            until = time.monotonic() + 60
            while not (session.folder / _RELEASED).exists() and time.monotonic() < until:
                time.sleep(0.01)
        session.log(f"did step {step}")
        session.progress(step, config["steps"], "train", 100.0)
        stop = session.stop_requested()
        if stop or step % config["every"] == 0:
            session.check()
            save(config, session, {"step": step, "total": total})
        if stop and step < config["steps"]:
            raise Interrupted
    point(config, session, "evaluate")
    write_text(session.folder / "curves.jsonl", f"{total}\n", session.check)
    point(config, session, "files")

    def before_link() -> None:
        session.check()
        point(config, session, "link")

    write_record(session.folder, {"run_id": session.folder.name, "total": total}, before_link)
    point(config, session, "record")


def save(config: dict[str, Any], session: Any, state: dict[str, Any]) -> None:
    (session.folder / "checkpoint").mkdir(exist_ok=True)
    (session.folder / "checkpoint" / ".tmp-half").write_text("{")
    point(config, session, "checkpoint")
    write_json(session.folder / "checkpoint" / "step.json", state)


def point(config: dict[str, Any], session: Any, name: str) -> None:
    """Die or pause here, if the config says so, on the first ``times`` claims."""
    if config["pause"] == name and session.claim <= config["times"]:
        session.log(f"pauses at {name}")
        time.sleep(60)
    if config["die"] == name and session.claim <= config["times"]:
        os.write(session._parent._events, config["last_words"].encode())
        os.kill(os.getpid(), signal.SIGKILL)
