"""The real training program, which a test may hold at one point of a run's first claim.

``HOLD`` names the point: ``setup`` (a one-off pass is made, its result not yet kept), ``evaluation`` (before a batch of it) or ``record``
(all files but the record are written). There the file ``HELD`` appears, and the program waits for it to be removed.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.config.run_config import RunConfig, load_run
from benchmark.training import evaluate, record, run, setup_cache
from benchmark.training.run import preflight
from benchmark.training.session import Session

__all__ = ["POINTS", "load_run", "preflight", "train"]

POINTS = {"setup": (setup_cache, "save"), "evaluation": (evaluate, "autocast"), "record": (record, "write_record")}


def train(config: RunConfig, session: Session) -> None:
    """As the real one."""
    if session.claim == 1 and "HOLD" in os.environ:
        _hold(*POINTS[os.environ["HOLD"]], Path(os.environ["HELD"]))
    run.train(config, session)


def _hold(module: Any, name: str, file: Path) -> None:
    original: Callable[..., Any] = getattr(module, name)

    def held(*args: Any, **kwargs: Any) -> Any:
        setattr(module, name, original)
        file.touch()
        while file.exists():
            time.sleep(0.02)
        return original(*args, **kwargs)

    setattr(module, name, held)
