"""What a runner is told: which runs, by which rules; and what it says in the end."""

from dataclasses import dataclass, field
from pathlib import Path

from benchmark.storage.run_folder import RunFolder

OK, SOME_FAILED, USAGE, INTERRUPTED, KILLED = 0, 1, 2, 75, 130
"""Exit codes of ``sweep``."""


@dataclass(frozen=True)
class Order:
    """Runs of one sweep, and what they are carried out with.

    out: the sweep's results folder. runs: run ids, longest first; their ``config.yaml`` exist already. device: ``cpu`` or ``cuda``.
    workers: processes. threads: of each. devices: given to workers in turn; where empty, all of that kind that this machine shows.
    """

    out: str
    runs: tuple[str, ...]
    device: str
    workers: int
    threads: int
    devices: tuple[str, ...] = ()

    def folder(self, run_id: str) -> RunFolder:
        return RunFolder(Path(self.out) / "runs" / run_id)

    def folders(self) -> list[RunFolder]:
        return [self.folder(run_id) for run_id in self.runs]


@dataclass(frozen=True)
class Policy:
    """By which rules. The defaults are those of a command that somebody sits before; the others are for a cluster's job.

    job: its id. session: a name that survives restarts of the job; made up where it is not given. wait: for runs that other sessions
    hold, else they are left to them. retry: failed runs are tried again. grace: seconds in which workers that are asked to stop may save,
    after which they are killed. patient: any number of SIGTERMs means the same. give_up_after: stop when the first so many runs all fail
    alike. shared: folder in which the tasks of one submission share their failures.
    """

    job: str | None = None
    session: str | None = None
    wait: bool = True
    retry: bool = True
    grace: float = float("inf")
    patient: bool = False
    give_up_after: int | None = None
    shared: str | None = None


ATTENDED = Policy()


@dataclass(frozen=True)
class SweepOutcome:
    """How an order ended. failed: run id -> reason. unfinished: runs neither done nor failed. message: for the user."""

    exit_code: int
    done: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    message: str = ""
