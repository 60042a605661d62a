"""What ``logs`` prints of a run: its own log, why it failed, and the logs of the jobs it was given to."""

from pathlib import Path

from rich.console import Console

from benchmark.errors import UsageError
from benchmark.slurm.submissions import Submissions
from benchmark.storage.run_folder import RunFolder
from benchmark.terminal import say

_LINES = 200
"""Of a job's log, which tells of other runs, too."""


def show(run_id: str, results: Path, console: Console) -> None:
    """Print the logs of every run under ``results`` whose id begins with ``run_id``."""
    folders = sorted(folder for folder in results.glob("*/runs/*") if folder.name.startswith(run_id)) if run_id else []
    if not folders:
        raise UsageError(f"no run '{run_id}' under {results}")
    for folder in folders:
        run = RunFolder(folder)
        say(console, f"{folder}: {run.state()}")
        if run.log_path.is_file():
            say(console, run.log_path.read_text(encoding="utf-8", errors="replace"))
        if failure := run.failure():
            say(console, f"{failure['reason']}\n{failure['traceback'] or ''}")
        for log in Submissions(folder.parents[1]).logs_of(run):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            left_out = f" (its last {_LINES} lines of {len(lines)})" if len(lines) > _LINES else ""
            say(console, f"job log {log}{left_out}:")
            say(console, "\n".join(lines[-_LINES:]))
