"""``merge``: finished runs of folders and archives, made on machines that share no disk, become runs of one sweep.

Everything is read and compared before anything is written. A run is copied under a temporary name and renamed, so it is there whole or not
at all, and the same command goes on where it was killed. A finished run of the sweep is never replaced.
"""

import contextlib
import errno
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmark.config import grid, kept_auto, kept_claims
from benchmark.config.grid import Sweep
from benchmark.config.run_config import RunConfig
from benchmark.errors import UsageError
from benchmark.exchange.conflicts import conflicts, faults
from benchmark.exchange.pack import ResultsFolder, open_results, travelling
from benchmark.report.collect import Absent, Expected, Run, read_run
from benchmark.report.made_with import hashes, image_settings
from benchmark.storage.atomic import TEMP, check_writable, read_json, replacing, write_json
from benchmark.storage.liveness import identity, known_dead
from benchmark.storage.run_folder import RunFolder
from benchmark.sweep import results
from benchmark.sweep.carry_out import set_aside
from benchmark.sweep.order import OK, SOME_FAILED
from benchmark.sweep.plan import Earlier, cell_of
from benchmark.terminal import say
from benchmark.tuning.trials import curves

_STAGE = f"{TEMP}merge-"


@dataclass(frozen=True)
class Merged:
    """What a merge did. copied, equal: runs that are new, and that were there already. left: runs left out, for which ``problems`` has
    the reasons, a line each. unfinished: in words, runs of the sources that are not finished; '' where there are none.
    """

    sweep: Sweep
    folder: Path
    copied: int
    equal: int
    left: int
    problems: tuple[str, ...]
    unfinished: str


def run(named: Sequence[Path], into: str, assignments: Sequence[str], out: Path | None, console: Console) -> int:
    """Merge as :func:`merge` does, report, and say what was left out. Returns the exit code: 1 where something was."""
    found = merge(named, into, assignments, out, console)
    if (found.folder / "runs").is_dir():
        results.show(results.report(found.sweep, found.folder, curves(found.sweep.origin, found.folder, console)), console)
    for line in found.problems:
        say(console, line, "red")
    left = f", {found.left} left out" if found.left else ""
    counts = f"{found.copied} runs merged into {found.folder}, {found.equal} were there already{left}"
    say(console, f"{found.sweep.name}: {counts}{found.unfinished}")
    return SOME_FAILED if found.problems else OK


def merge(named: Sequence[Path], into: str, assignments: Sequence[str], out: Path | None, console: Console) -> Merged:
    """Bring the finished runs of the folders and archives ``named`` into the results folder of the sweep ``into``.

    Left out are runs that conflict with those there already, are damaged, or are none of the sweep's; all others are merged.
    UsageError, before anything is written, where a folder is no results folder, is being worked on, or knows another meaning of ``auto``.
    """
    origin = grid.read(into, assignments, out)
    folder = origin.folder
    target = ResultsFolder(str(folder), folder)
    with _staging(folder) as stage:
        sources = [open_results(path, stage / f"archive-{n}") for n, path in enumerate(named)]
        for source in sources:
            if source.folder.resolve() == folder.resolve():
                raise UsageError(f"{source.shown}: this is the folder that the runs are to be merged into")
        for place in (*sources, target):
            place.refuse_live()
        fitting = [source for source in sources if any((run.record() or {}).get("sweep") == origin.file.name for run in source.finished())]
        auto = kept_auto.joined({place.shown: place.folder for place in (target, *fitting)})
        sweep = grid.load(into, assignments, out, auto)
        with console.status("comparing the runs"):
            survey = _Survey(sweep, target)
            for source in sources:
                survey.look_at(source)
        if survey.taken:
            kept_auto.keep_whole(folder, auto)
            kept_claims.keep_whole(folder, kept_claims.joined([target.folder, *(source.folder for source in fitting)]))
        with console.status(f"copying {len(survey.taken)} runs"):
            copied = sum(_copy(each, target, stage, survey) for each in survey.taken)
    return Merged(sweep, folder, copied, survey.equal, survey.left, tuple(survey.problems()), survey.unfinished())


@contextlib.contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A folder for half-done work inside ``out``; those of dead processes of this machine are removed."""
    fresh = not out.exists()
    check_writable(out)
    for old in out.glob(f"{_STAGE}*"):
        if known_dead(read_json(old / "owner.json") or {}):
            shutil.rmtree(old, ignore_errors=True)
    stage = out / f"{_STAGE}{secrets.token_hex(8)}"
    try:
        stage.mkdir()
        write_json(stage / "owner.json", identity())
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if fresh:
            with contextlib.suppress(OSError):  # holds runs now
                out.rmdir()


@dataclass(frozen=True)
class _Held:
    """A sound run, and the folder or archive that has it."""

    run: Run
    place: ResultsFolder


@dataclass
class _Survey:
    """What is to be copied, and what is left out and why."""

    sweep: Sweep
    target: ResultsFolder
    taken: list[_Held] = field(default_factory=list)
    equal: int = 0
    _held: dict[str, _Held] = field(default_factory=dict)
    _blocked: set[str] = field(default_factory=set)  # runs whose finished folder in the target is damaged
    _made_with: dict[tuple[str, str, str], tuple[str, str]] = field(default_factory=dict)  # what a hash is of -> its value, whose
    _named: list[tuple[str, str]] = field(default_factory=list)  # run id, what is wrong with it
    _alike: dict[str, list[str]] = field(default_factory=dict)  # a reason that many runs share -> their ids
    _unfinished: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._configs = {config.run_id: config for config in self.sweep.runs}
        self._cells: dict[str, RunConfig] = {cell_of(config.run_id): config for config in self.sweep.runs}
        own = [(run, self._configs[run.run_id]) for run in self.target.finished() if run.run_id in self._configs]
        sound = [found for run, config in own if (found := self._sound(run, config, self.target)) is not None]
        self._blocked = {run.run_id for run, _ in own} - {found.expected.run_id for found in sound}
        for found in sorted(sound, key=lambda found: found.record["finished_at"], reverse=True):  # a report goes by the last one, too
            self._hold(found, self.target)

    @property
    def left(self) -> int:
        """Runs that are not merged."""
        return len({run_id for run_id, _ in self._named}) + sum(map(len, self._alike.values()))

    def problems(self) -> list[str]:
        """A line per conflict and damaged run, and one per reason that many runs share."""
        lines = [f"left out: {run_id}: {what}" for run_id, what in self._named]
        for reason, runs in self._alike.items():
            which = runs[0] if len(runs) == 1 else f"{len(runs)} runs ({runs[0]}, ...)"
            lines.append(f"left out: {which}: {reason}")
        return lines

    def unfinished(self) -> str:
        """In words, runs of the sources that are not finished."""
        return "".join(f"; {count} of {shown} are not finished" for shown, count in self._unfinished.items())

    def look_at(self, source: ResultsFolder) -> None:
        """Compare the finished runs of a source with those there are already."""
        finished = source.finished()
        if waiting := len(source.runs()) - len(finished):
            self._unfinished[source.shown] = waiting
        for run in finished:
            config = self._asked_for(run, source)
            found = None if config is None else self._sound(run, config, source)
            if found is None or run.run_id in self._blocked or not self._made_alike(found, source):
                continue
            held = self._held.get(run.run_id)
            if held is None:
                self._hold(found, source)
                self.taken.append(_Held(found, source))
                continue
            differing = conflicts(held.run.folder, run.path)
            for each in differing:
                self.leave(run.run_id, f"{each.field} is {each.ours} in {held.place.shown}, and {each.theirs} in {source.shown}")
            self.equal += not differing

    def leave(self, run_id: str, reason: str) -> None:
        """Name one run that is not merged."""
        self._named.append((run_id, reason))

    def _asked_for(self, run: RunFolder, source: ResultsFolder) -> RunConfig | None:
        """The run of the sweep that this is; where it is none, that is noted."""
        record, config = run.record(), self._configs.get(run.run_id)
        if record is not None and record.get("sweep") != self.sweep.name:
            self._note(run.run_id, f"of the sweep '{record.get('sweep')}' in {source.shown}, not of '{self.sweep.name}'")
            return None
        if config is None:
            near = self._cells.get(cell_of(run.run_id))
            change = Earlier(run.path.parent, [run.run_id]).change(near) if near else "no such data set, fraction, method and seed is in it"
            self._note(run.run_id, f"in {source.shown}, of other settings than the sweep's: {change}")
        return config

    def _sound(self, run: RunFolder, config: RunConfig, place: ResultsFolder) -> Run | None:
        """The run, where all of it can be read and is of this run; else it is named."""
        item = Expected(config.run_id, config.dataset, config.fraction, config.method, config.seed)
        found = read_run(run.path, item)
        damage = [found.reason] if isinstance(found, Absent) else faults(found, config)
        if isinstance(found, Run) and not damage:
            return found
        hint = " (it is left as it is; move its folder away to merge another)" if place is self.target else ""
        self.leave(run.run_id, f"damaged in {place.shown}: {'; '.join(damage)}{hint}")
        return None

    def _note(self, run_id: str, reason: str) -> None:
        self._alike.setdefault(reason, []).append(run_id)

    def _hold(self, found: Run, place: ResultsFolder) -> None:
        self._held[found.expected.run_id] = _Held(found, place)
        for name, value in hashes(found.record).items():
            self._made_with.setdefault(self._what(found, name), (value, place.shown))

    def _what(self, found: Run, name: str) -> tuple[str, str, str]:
        """What one of a run's hashes is of: data set, name of the hash, settings of the images."""
        data = self._configs[found.expected.run_id].data.model_dump(mode="json")
        return found.expected.dataset, name, image_settings(data, name)

    def _made_alike(self, found: Run, source: ResultsFolder) -> bool:
        """Whether its images and weights are those of the runs there are already; a difference is noted."""
        for name, value in hashes(found.record).items():
            other, place = self._made_with.get(self._what(found, name), (value, ""))
            if value != other:
                reason = f"{name} of {found.expected.dataset} is {value} in {source.shown}, and {other} in {place}"
                self._note(found.expected.run_id, reason)
                return False
        return True


def _copy(held: _Held, target: ResultsFolder, stage: Path, survey: _Survey) -> bool:
    """Copy one run; an unfinished run in its place is moved to ``stale/``, a finished one that came meanwhile is left."""
    run_id, source = held.run.expected.run_id, held.run.folder
    staged = stage / run_id
    for file in travelling(source):
        (staged / file).parent.mkdir(parents=True, exist_ok=True)
        with open(source / file, "rb") as content, replacing(staged / file) as copy:
            shutil.copyfileobj(content, copy)
    place = RunFolder(target.folder / "runs" / run_id)
    place.path.parent.mkdir(exist_ok=True)
    state = place.state()
    if state in ("done", "running"):
        survey.leave(run_id, f"{target.shown} has it {state} since this command began; give the command again")
        return False
    if place.path.exists():
        set_aside(target.folder, place.path)
    try:
        staged.rename(place.path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        survey.leave(run_id, f"a sweep has begun it in {target.shown} since; give the command again")
        return False
    return True
