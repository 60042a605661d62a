"""Slurm's commands as far as submission needs them: programs on ``PATH`` that answer from files in a folder, and note what is asked."""

import os
import re
import sys
from pathlib import Path

import pytest

_PROGRAMS = {
    "sbatch": """
        count = len(list(here.glob("script-*")))
        if (here / "refusal").exists():
            sys.exit((here / "refusal").read_text())
        (here / f"script-{count}").write_text(open(sys.argv[1]).read())
        print(f"Submitted batch job {100 + count}")
        if (here / "live").exists():
            name = open(sys.argv[1]).read().partition("--job-name=")[2].split()[0]
            with (here / "queue").open("a") as file:
                print(*(f"{100 + count}_{n}|{name}|PENDING" for n in range(20)), sep="\\n", file=file)
    """,
    "squeue": """
        if not (here / "queue").exists():
            sys.exit("slurm_load_jobs error: Unable to contact slurm controller")
        names = next(arg for arg in sys.argv if arg.startswith("--name=")).removeprefix("--name=").split(",")
        for line in (here / "queue").read_text().splitlines():
            if line.split("|")[1] in names:
                print(line)
    """,
    "sacct": """
        if not (here / "accounting").exists():
            sys.exit("sacct: error: Problem talking to the database")
        print((here / "accounting").read_text())
    """,
    "scancel": """
        if (here / "refusal").exists():
            sys.exit((here / "refusal").read_text())
    """,
    "srun": "",
    "scontrol": """
        print("MaxArraySize            = 1001\\nMaxJobCount             = 10000\\nClusterName = x")
    """,
}


class FakeSlurm:
    """``folder`` comes first on ``PATH``. queue: what squeue prints, None where it fails; the same for accounting and sacct.
    live: where it is set, jobs stay in the queue.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        for name, body in _PROGRAMS.items():
            lines = "\n".join(line.removeprefix("        ") for line in body.splitlines())
            head = f"#!{sys.executable} -IS\nimport sys\nfrom pathlib import Path\nhere = Path({str(folder)!r})\n"
            note = f"with (here / 'asked').open('a') as file:\n    print({name!r}, *sys.argv[1:], file=file)\n"
            (folder / name).write_text(head + note + lines)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        self.set("queue", "")
        self.set("accounting", "")

    def set(self, name: str, text: str | None) -> None:
        """Give a file its text, or remove it."""
        if text is None:
            (self.folder / name).unlink(missing_ok=True)
        else:
            (self.folder / name).write_text(text)

    def scripts(self) -> list[str]:
        """What was submitted, in order."""
        return [path.read_text() for path in sorted(self.folder.glob("script-*"))]

    def asked(self, program: str) -> list[str]:
        """The calls of a program, with their arguments."""
        lines = (self.folder / "asked").read_text().splitlines() if (self.folder / "asked").exists() else []
        return [line for line in lines if line.split()[0] == program]

    def running(self, *tasks: int, job: int = 100, state: str = "RUNNING") -> None:
        """Let squeue list these tasks of an array, and nothing else."""
        name = re.search(r"--job-name=(\S+)", self.scripts()[job - 100]).group(1)
        self.set("queue", "\n".join(f"{job}_{n}|{name}|{state}" for n in tasks))
