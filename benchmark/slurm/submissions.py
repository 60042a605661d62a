"""What was submitted, as files under ``results/<sweep>/slurm/``::

submissions/<id>.json   one array of jobs: name, job id, the runs of each task; written before sbatch is called, completed after
notes/<id>-<task>.json  what a task says of itself: how often it was started, how it ended
shared/<id>/            failures that the tasks of one command share
turn/                   whose turn it is to submit, as claims of a run folder
jobs/                   submitit's files and the jobs' logs, flat: Slurm writes no log into a folder that does not exist
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.storage.liveness import identity, known_alive, known_dead
from benchmark.storage.run_folder import Claim, ClaimLost, RunFolder, claim, read_json, write_json

_TURN_SECONDS = 0.2
"""Between two looks whether another command has submitted."""
_SUBMITTING_SECONDS = 600
"""A submission without a job id for longer than this has failed, where the process that made it cannot be asked."""


@dataclass(frozen=True)
class Submission:
    """One call of sbatch. job: id of the job or array, None before sbatch has answered. steps: run id -> step of its checkpoint then."""

    path: Path
    name: str
    job: str | None
    tasks: tuple[tuple[str, ...], ...]
    steps: Mapping[str, int]
    by: Mapping[str, Any]
    time: float
    cancelled: bool

    @property
    def id(self) -> str:
        return self.path.stem

    def job_of(self, task: int) -> str | None:
        """The id by which Slurm knows a task; submitit makes no array of a single one."""
        return f"{self.job}_{task}" if self.job is not None and len(self.tasks) > 1 else self.job

    def abandoned(self) -> bool:
        """Whether the command that was about to submit it is gone."""
        if self.job is not None or known_alive(self.by):
            return False
        return known_dead(self.by) or time.time() - self.time > _SUBMITTING_SECONDS


class Submissions:
    """The submissions of one sweep. out: its results folder."""

    def __init__(self, out: Path) -> None:
        self.folder = out / "slurm"
        self.jobs = self.folder / "jobs"
        self.notes = self.folder / "notes"
        self._submissions = self.folder / "submissions"

    def all(self) -> list[Submission]:
        """In the order of their making; one that is damaged counts as never made."""
        found = [_read_whole(path, read_json(path) or {}) for path in self._submissions.glob("*.json")]
        return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.time)

    def prepare(self) -> Path:
        """The folders; returns the one in which the tasks of one command share their failures."""
        shared = self.folder / "shared" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        for folder in (self._submissions, self.notes, self.jobs, shared):
            folder.mkdir(parents=True, exist_ok=True)
        return shared

    def open(self, sweep: str, tasks: Sequence[Sequence[str]], steps: Mapping[str, int]) -> Submission:
        """Say what is about to be submitted: a command that dies between this and sbatch's answer is found by the job's name."""
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        made = Submission(
            path=self._submissions / f"{stem}.json",
            name=f"smilebench-{sweep}-{stem}",
            job=None,
            tasks=tuple(tuple(task) for task in tasks),
            steps={run_id: steps[run_id] for task in tasks for run_id in task},
            by=identity(),
            time=time.time(),
            cancelled=False,
        )
        write_json(made.path, _content(made), exclusive=True)
        return made

    @contextlib.contextmanager
    def turn(self, waits: Callable[[], None]) -> Iterator[Claim]:
        """The right to submit, which one command has at a time; others wait here. waits: called once, where there is another.

        Who holds it sees all that was submitted before, and nobody submits what it sees as free. Beating it raises :class:`ClaimLost`
        where another command has taken this one for dead.
        """
        folder = self.folder / "turn"
        folder.mkdir(parents=True, exist_ok=True)
        session = secrets.token_hex(6)
        if (own := claim(folder, session)) is None:
            waits()
        while own is None:
            time.sleep(_TURN_SECONDS)
            own = claim(folder, session)
        try:
            yield own
        finally:
            with contextlib.suppress(ClaimLost):
                try:
                    own.end("submitted")
                except OSError:
                    own.drop()

    def update(self, submission: Submission, **changes: Any) -> Submission:
        """Write a job id, or that it was cancelled; what another command has written or forgotten since stays, or is written again."""
        content = {**_content(submission), **(read_json(submission.path) or {}), **changes}
        write_json(submission.path, content)
        return _read(submission.path, content)

    def drop(self, submission: Submission) -> None:
        """Forget a submission that never became a job."""
        submission.path.unlink(missing_ok=True)

    def note_path(self, submission: str, task: int) -> Path:
        return self.notes / f"{submission}-{task}.json"

    def note(self, submission: str, task: int) -> dict[str, Any]:
        """What a task says of itself (starts: a list, ended: an object or None); empty before it was started."""
        found = read_json(self.note_path(submission, task)) or {}
        starts, ended = found.get("starts"), found.get("ended")
        whole = {"starts": starts if isinstance(starts, list) else [], "ended": ended if isinstance(ended, dict) else None}
        return {**found, **whole} if found else {}

    def log(self, job: str) -> Path:
        """Where a job prints to."""
        return self.jobs / f"{job}_0_log.out"

    def logs_of(self, run: RunFolder) -> list[Path]:
        """The logs of all jobs that a run was given to, oldest first; those that exist."""
        found = [entry.job_of(n) for entry in self.all() for n, task in enumerate(entry.tasks) if run.run_id in task]
        return [log for job in found if job is not None and (log := self.log(job)).is_file()]


def tasks_of(submissions: Iterable[Submission]) -> Iterator[tuple[Submission, int, tuple[str, ...]]]:
    """Every task with its submission and number."""
    return ((entry, n, runs) for entry in submissions for n, runs in enumerate(entry.tasks))


def _read_whole(path: Path, content: Mapping[str, Any]) -> Submission | None:
    try:
        return _read(path, content)
    except (KeyError, TypeError, ValueError):
        return None


def _content(submission: Submission) -> dict[str, Any]:
    """What its file says."""
    return {name: value for name, value in asdict(submission).items() if name != "path"}


def _read(path: Path, content: Mapping[str, Any]) -> Submission:
    tasks = tuple(tuple(task) for task in content["tasks"])
    by, steps, when = dict(content["by"]), dict(content["steps"]), float(content["time"])
    return Submission(path, content["name"], content["job"], tasks, steps, by, when, bool(content["cancelled"]))
