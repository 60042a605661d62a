"""What runs inside a job: one task's runs, with the local runner; told to stop by the cluster, it saves and asks to be queued again."""

import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.slurm.submissions import Submissions
from benchmark.storage.run_folder import claim, write_json
from benchmark.sweep.order import INTERRUPTED, Order, Policy, SweepOutcome
from benchmark.sweep.progress import View
from benchmark.sweep.runner import run_local
from benchmark.terminal import accept_any_text, console, say

RESTARTS = 3
"""Starts of a job without progress after its first, and then its run has failed. Progress: a newer checkpoint, or a finished run."""
_SIGNAL = signal.SIGUSR2


@dataclass(frozen=True)
class JobTask:
    """One task of a submission, whose runs are claimed under one session over all starts of its job."""

    submission: str
    n: int
    order: Order
    policy: Policy


class Notice:
    """The signal that a time limit or a pre-emption is near. It only sets a flag; what handled it before is called in the end."""

    def __init__(self) -> None:
        self.given = False
        self._before: Any = signal.signal(_SIGNAL, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {_SIGNAL})  # one that came while Python started is delivered now

    def _note(self, *_: object) -> None:
        self.given = True

    def asked(self) -> bool:
        return self.given

    def pass_on(self) -> None:
        """Call the handler before this one: submitit's queues the job again, and ends the process."""
        if callable(self._before):
            self._before(_SIGNAL, None)


def carry_out(task: JobTask, job: str) -> SweepOutcome:
    """The runs of one task. Returns when nothing is left to do here, or when the job is being ended.

    Told to stop by the signal, it does not return but has the job queued again.
    """
    accept_any_text()
    notice = Notice()
    note = _Note(task, job)
    stuck = note.begin()
    if stuck >= RESTARTS:
        _give_up(task, job, stuck)
        note.forget_starts()
    outcome = run_local(task.order, View(console), replace(task.policy, job=job), notice.asked)
    if notice.given and outcome.exit_code == INTERRUPTED:
        say(console, f"{len(outcome.unfinished)} runs are not finished: to be queued again")
        try:
            notice.pass_on()
        except Exception as error:
            note.end(outcome.exit_code, f"could not be queued again: {error}")
            raise
    note.end(outcome.exit_code, "" if outcome.exit_code == INTERRUPTED else outcome.message)  # of an interrupted job Slurm knows more
    return outcome


class _Note:
    """``notes/<submission>-<n>.json``; starts: progress at each start of the job."""

    def __init__(self, task: JobTask, job: str) -> None:
        self._order = task.order
        self._submissions = Submissions(Path(task.order.out))
        self._path = self._submissions.note_path(task.submission, task.n)
        self._content = {"starts": [], **self._submissions.note(task.submission, task.n), "job": job, "ended": None}

    def begin(self) -> int:
        """Note a start; returns how many starts in a row, before this one, brought no progress."""
        now = self._progress()
        self._content["starts"] = [*self._content["starts"], now]
        write_json(self._path, self._content)
        before = self._content["starts"][:-1]
        return next((n for n, start in enumerate(reversed(before)) if start != now), len(before))

    def forget_starts(self) -> None:
        self._content["starts"] = [self._progress()]
        write_json(self._path, self._content)

    def end(self, code: int, message: str) -> None:
        self._content["ended"] = {"code": code, "message": message, "time": time.time()}
        write_json(self._path, self._content)

    def _progress(self) -> list[int]:
        """Finished runs, and steps saved of the others: both only grow."""
        unfinished = [run for run in self._order.folders() if not (run.record_path.exists() or run.failure_path.exists())]
        return [len(self._order.runs) - len(unfinished), sum(run.saved_step() for run in unfinished)]


def _give_up(task: JobTask, job: str, stuck: int) -> None:
    """Fail the runs that this job had begun; all of them where it came to none."""
    unfinished = [run for run in task.order.folders() if not (run.record_path.exists() or run.failure_path.exists())]
    begun = [run for run in unfinished if (last := run.last_claim()) is not None and last.info.get("session") == task.policy.session]
    for run in begun or unfinished:
        own = claim(run.path, str(task.policy.session), job)
        if own is not None:
            step = run.saved_step()
            reason = f"job {job} was started {stuck} times again without progress at step {step} (time limit, pre-emption or a lost node)"
            own.fail({"reason": reason, "kind": "no_progress", "traceback": None, "step": step})
