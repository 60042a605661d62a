"""``cancel``: end a sweep's jobs, and the local command that works on it."""

import os
import signal
from pathlib import Path

from rich.console import Console

from benchmark.config.grid import Sweep
from benchmark.slurm.jobs import find_jobs, scancel
from benchmark.slurm.submissions import Submissions
from benchmark.storage.liveness import living_parent, machine
from benchmark.storage.run_folder import RunFolder, whole
from benchmark.sweep.order import OK, SOME_FAILED


def cancel(sweep: Sweep, out: Path, console: Console) -> int:
    """Cancel the sweep's jobs, whole arrays, and signal the local commands on this machine; say what was done. Returns the exit code."""
    code = _cancel_jobs(out, console)
    runners = _local_runners(sweep, out)
    for (host, here, pid), runs in runners.items():
        if not here:
            console.print(f"{runs} runs are worked on by process {pid} on {host}: press Ctrl-C there, or kill -INT {pid}", highlight=False)
            continue
        try:
            os.kill(pid, signal.SIGTERM)
            console.print(f"told process {pid}, which works on {runs} runs here, to save and stop", highlight=False)
        except (ProcessLookupError, PermissionError) as error:
            console.print(f"process {pid}, which works on {runs} runs here, could not be signalled: {error}", style="red", highlight=False)
            code = SOME_FAILED
    if not runners and not any(task.entry.cancelled or task.active for task in find_jobs(Submissions(out)).tasks):
        console.print("nothing of this sweep waits or runs", highlight=False)
    return code


def _cancel_jobs(out: Path, console: Console) -> int:
    submissions = Submissions(out)
    found = find_jobs(submissions, mend=True)
    active = {task.entry.path: task.entry for task in found.tasks if task.active}
    for entry in active.values():
        tasks = [task for task in found.tasks if task.entry.path == entry.path]
        waiting, running = (sum(task.state == state for task in tasks) for state in ("waiting", "running"))
        if entry.job is None:
            console.print(f"{entry.name} is being submitted just now: cancel again", style="yellow", highlight=False)
            continue
        problem = scancel([entry.job])
        if problem is not None and found.answered:
            console.print(f"job {entry.job} could not be cancelled: {problem}", style="red", highlight=False)
            return SOME_FAILED
        submissions.update(entry, cancelled=True)
        words = f"{len(tasks)} tasks, of which {waiting} waited and {running} ran"
        if problem is not None:  # Slurm answers nothing: only what this sweep remembers can be changed
            words = f"Slurm does not answer ({problem}), so the job is only forgotten"
        console.print(f"cancelled job {entry.job}: {words}; its runs keep their checkpoints", highlight=False)
    return OK


def _local_runners(sweep: Sweep, out: Path) -> dict[tuple[str, bool, int], int]:
    """(host, whether it is this machine, process id) of every command that holds runs without a job -> how many runs."""
    found: dict[tuple[str, bool, int], int] = {}
    for config in sweep.runs:
        run = RunFolder(out / "runs" / config.run_id)
        last = None if run.record_path.exists() or run.failure_path.exists() else run.last_claim()
        if last is None or last.info.get("job") is not None or not last.info or not last.alive():
            continue
        here = last.info.get("machine") is not None and last.info.get("machine") == machine()
        pid = living_parent(last.info) if here else whole(last.info.get("parent"))
        if pid is not None:  # else the command is gone: its worker is about to save and stop by itself
            found[str(last.info.get("host")), here, pid] = found.get((str(last.info.get("host")), here, pid), 0) + 1
    return found
