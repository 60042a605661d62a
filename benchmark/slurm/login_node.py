"""Whether jobs can be submitted from this machine."""

import shutil

from benchmark.config.slurm_options import user_file
from benchmark.errors import UsageError

_NEEDED = ("sbatch", "srun")
"""Without sbatch nothing is submitted; submitit submits nothing, either, where it finds no srun."""
_SIGNS = (*_NEEDED, "squeue", "sacct", "scancel", "scontrol", "sinfo")


def why_not() -> str | None:
    """Why nothing can be submitted from here, or None."""
    absent = [name for name in _NEEDED if shutil.which(name) is None]
    if not absent:
        return None
    return (
        f"no jobs can be submitted from here: {' and '.join(absent)} not found on PATH; on the cluster's login node, load Slurm's module "
        "or add the folder of its programs to PATH"
    )


def is_meant() -> bool:
    """Whether this machine is one to submit from: some of Slurm's programs are here, or the user's options for it."""
    return user_file().is_file() or any(shutil.which(name) for name in _SIGNS)


def check() -> None:
    """Raise :class:`UsageError` where nothing can be submitted."""
    if why := why_not():
        raise UsageError(why)
