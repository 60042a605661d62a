"""What a runner of a sweep is told, and what it says in the end."""

from collections.abc import Callable
from dataclasses import dataclass, field

OK, SOME_FAILED, USAGE, INTERRUPTED, KILLED = 0, 1, 2, 75, 130
"""Exit codes of ``sweep``."""


@dataclass(frozen=True)
class Outcome:
    """How a sweep command ended. failed: run id -> reason. unfinished: runs neither done nor failed. message: for the user."""

    exit_code: int
    done: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True)
class Terms:
    """What differs inside a cluster's job. The defaults are those of a command that somebody sits before.

    job: its id. session: a name that survives restarts of the job. wait: for runs that other sessions hold, else they are left to them.
    retry: failed runs are tried again. stop: asked a few times per second whether to save and stop. grace: seconds for that, after which
    workers are killed. patient: any number of SIGTERMs means the same.
    """

    job: str | None = None
    session: str | None = None
    wait: bool = True
    retry: bool = True
    stop: Callable[[], bool] = lambda: False
    grace: float = float("inf")
    patient: bool = False


ATTENDED = Terms()
