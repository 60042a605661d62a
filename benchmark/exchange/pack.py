"""A sweep's results as they travel to a machine that shares no disk with this one: ``pack`` makes one archive of finished runs, and a
results folder or an archive of one is opened, with the files of a run that mean something elsewhere.
"""

import gzip
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmark.config import grid, kept_auto, kept_claims
from benchmark.errors import UsageError
from benchmark.storage.atomic import TEMP, clock, replacing
from benchmark.storage.run_folder import RunFolder
from benchmark.sweep.progress import size
from benchmark.terminal import say
from datasets.archive import extract

MOST_BYTES = 1 << 36
"""An archive that unpacks to more is refused: 10,000 runs with their predictions take less."""

_OF_ITS_MACHINE = ("claims", "checkpoint", "progress.json")
"""Parts of a run's folder that speak of processes, jobs and steps on the machine it was made on."""


@dataclass(frozen=True)
class ResultsFolder:
    """The folder of one sweep, with its ``runs/``. shown: what the user called it."""

    shown: str
    folder: Path

    def runs(self) -> list[RunFolder]:
        """All its runs, by name; hidden folders are of processes that died."""
        folder = self.folder / "runs"
        if not folder.is_dir():
            return []
        return [RunFolder(path) for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.is_dir()]

    def finished(self) -> list[RunFolder]:
        """Its runs that have a record, by name."""
        return [run for run in self.runs() if run.record_path.exists()]

    def refuse_live(self) -> None:
        """UsageError while some process carries out one of its runs."""
        now = clock(self.folder / "runs")
        live = [run for run in self.runs() if run.state(now) == "running"]
        if not live:
            return
        last = live[0].last_claim()
        info = {} if last is None else last.info
        job = f", job {info['job']}" if info.get("job") else ""
        runs = "a run is" if len(live) == 1 else f"{len(live)} runs are"
        raise UsageError(
            f"{self.shown}: {runs} being carried out now ({live[0].run_id}, by process {info.get('pid', '?')} on {info.get('host', '?')}"
            f"{job}): wait until the sweep has ended, or stop it with 'smilebench cancel', then give this command again"
        )


def open_results(named: Path, unpacked: Path) -> ResultsFolder:
    """The results folder ``named``, or the one in the archive ``named``, which is unpacked into the new folder ``unpacked``.

    UsageError where there is neither; DataError where the archive is damaged or would write outside ``unpacked``.
    """
    if named.is_dir():
        places = [named]
    elif named.is_file():
        extract(named, unpacked, max_bytes=MOST_BYTES)
        places = [unpacked, *(path for path in unpacked.iterdir() if path.is_dir())]
    else:
        raise UsageError(f"{named}: no such folder or archive")
    found = [place for place in places if (place / "runs").is_dir()]
    if len(found) != 1:
        raise UsageError(
            f"{named}: not the results of one sweep: a folder runs/ is looked for in it (as in results/quick, or in an archive made by "
            "'smilebench pack')"
        )
    return ResultsFolder(str(named), found[0])


def travelling(run: Path) -> list[Path]:
    """Files of a finished run that mean something on another machine, relative to its folder and sorted.

    Claims name processes and jobs, and a checkpoint is of no use any more. Links to folders are not followed.
    """
    found = []
    for folder, folders, names in os.walk(run):
        here = Path(folder).relative_to(run)
        left = _OF_ITS_MACHINE if folder == str(run) else ()
        folders[:] = [name for name in folders if name not in left and not name.startswith(TEMP)]
        found += [here / name for name in names if name not in left and not name.startswith(TEMP) and Path(folder, name).is_file()]
    return sorted(found)


_WEIGHTS = (".safetensors", ".pt", ".pth", ".onnx")
_OF_THE_SWEEP = ("sweep.yaml", kept_auto.FILE, kept_claims.FILE)


def run(named: Sequence[str], to: Path | None, results: Path, console: Console) -> None:
    """Pack what is ``named``: one sweep (its file, its name or its results folder), or runs (ids, beginnings of ids, folders) of one sweep.

    Equal files give equal archives. UsageError where a name is unknown or a run is not finished, and where ``to`` exists.
    """
    found = [_find(text, results) for text in named]
    folders = sorted({folder for folder, _ in found})
    if len(folders) > 1:
        raise UsageError(f"{', '.join(map(str, folders))}: an archive holds runs of one sweep; give a command for each")
    sweep = ResultsFolder(str(folders[0]), folders[0])
    runs = sorted({path for _, paths in found for path in paths})
    if not runs:
        raise UsageError(f"{sweep.shown}: no finished run to pack")
    called = folders[0].resolve().name
    target = to or Path(f"{runs[0].name if len(runs) == 1 else called}.tar.gz")
    if not target.name.endswith((".tar.gz", ".tgz")):
        raise UsageError(f"--to {target}: name a .tar.gz file")
    try:
        with replacing(target, exclusive=True) as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            _write(packed, sweep.folder, runs, called)
    except FileExistsError as error:
        raise UsageError(f"{target}: exists; remove it, or name another file with --to") from error
    left = len(sweep.runs()) - len(runs)
    others = f"; {left} others left out" if left else ""
    say(console, f"{target}: {len(runs)} runs of {sweep.shown}, {size(target.stat().st_size)}{others}")


def _write(packed: gzip.GzipFile, sweep: Path, runs: Sequence[Path], called: str) -> None:
    files = [Path(name) for name in _OF_THE_SWEEP if (sweep / name).is_file()]
    files += [Path("runs") / run.name / file for run in runs for file in travelling(run) if file.suffix not in _WEIGHTS]
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(files):
            with (sweep / file).open("rb") as content:
                member = tarfile.TarInfo((Path(called) / file).as_posix())  # owner, mode and time stay at TarInfo's fixed ones
                member.size = (sweep / file).stat().st_size
                tar.addfile(member, content)


def _find(text: str, results: Path) -> tuple[Path, list[Path]]:
    """The results folder, and the folders of finished runs in it, that ``text`` means."""
    path = Path(text)
    if (path / "runs").is_dir():
        return _all_of(path)
    if path.is_dir() and path.parent.name == "runs":
        return _one(path)
    if text.endswith((".yaml", ".yml")) or (grid.SWEEPS / f"{text}.yaml").is_file():
        origin = grid.read(text)
        return _all_of(results / origin.file.name)
    near = sorted(run for run in results.glob("*/runs/*") if run.name.startswith(text)) if text else []
    exact = [run for run in near if run.name == text]
    chosen = exact if len(exact) == 1 else near
    if not chosen:
        raise UsageError(f"'{text}' is no sweep, no results folder, and no run under {results}")
    if len(exact) > 1:
        raise UsageError(f"'{text}' is in {len(exact)} results folders: name its folder: {', '.join(map(str, exact))}")
    if len(chosen) > 1:
        raise UsageError(f"'{text}' is the beginning of {len(chosen)} runs: give more of it, or the folder")
    return _one(chosen[0])


def _all_of(folder: Path) -> tuple[Path, list[Path]]:
    if not (folder / "runs").is_dir():
        raise UsageError(f"no run under {folder} yet (run 'smilebench sweep', or name the results folder)")
    return folder, [run.path for run in ResultsFolder(str(folder), folder).finished()]


def _one(path: Path) -> tuple[Path, list[Path]]:
    run = RunFolder(path)
    if not run.record_path.exists():
        raise UsageError(f"{path}: not finished ({run.state()}); only finished runs are packed")
    return path.parents[1], [path]
