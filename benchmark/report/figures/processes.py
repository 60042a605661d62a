"""Processes that draw figures. Where they are begun early, what they import is there by the time there is something to draw."""

import contextlib
import multiprocessing
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver

_begun = False


def begin() -> None:
    """Start, on Linux, the process that drawing ones are forked from: it imports what they need while this one goes on.

    Where its socket cannot be made (a TMPDIR with a long name, a full disk), drawing ones import for themselves.
    """
    global _begun
    if sys.platform == "linux" and not _begun:
        multiprocessing.set_forkserver_preload(["__main__", "benchmark.report.figures.write"])
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for this one: one that imports prints a traceback
        try:
            with contextlib.suppress(OSError):
                forkserver.ensure_running()
                _begun = True
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begun() -> bool:
    """Whether drawing in other processes costs no imports."""
    return _begun


def pool(workers: int) -> ProcessPoolExecutor:
    """``workers`` processes to draw in."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver" if _begun else "spawn"))
