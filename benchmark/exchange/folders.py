"""A sweep's results as they lie on a disk or in an archive, and the files of a run that mean something on another machine."""

import os
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UsageError
from benchmark.storage.atomic import TEMP, clock
from benchmark.storage.run_folder import RunFolder
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
