"""Which programs of the machine a test may find.

Fast tests see a ``PATH`` of one folder with links to :data:`BASIC`: what else they call, of Slurm for instance, they bring along. Slow
tests see the machine's own ``PATH``, and skip for want of a program with :func:`lacking`.
"""

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

BASIC = ("sh", "env", "git", "sleep", "mount", "umount")
"""All that the fast tests need beside Python."""

REQUIRED = "SMILEBENCH_TEST_REQUIRE"
"""Environment variable: programs, after commas, for whose want a slow test fails instead of being skipped (``slurm,chromium``)."""

_MACHINE = os.environ.get("PATH", os.defpath)


@functools.cache
def _fast() -> str:
    folder = Path(tempfile.mkdtemp(prefix="smilebench-programs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in BASIC:
        if found := shutil.which(name, path=_MACHINE):
            (folder / name).symlink_to(found)
    return str(folder)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Give each test its ``PATH``, before its fixtures."""
    os.environ["PATH"] = _MACHINE if item.get_closest_marker("slow") else _fast()
    try:
        return (yield)
    finally:
        os.environ["PATH"] = _MACHINE


def lacking(program: str, reason: str) -> NoReturn:
    """Skip the test that needs ``program``; fail it where :data:`REQUIRED` names the program, which was then installed for the tests."""
    if program in os.environ.get(REQUIRED, "").split(","):
        pytest.fail(f"{REQUIRED} names {program}, but {reason}", pytrace=False)
    pytest.skip(reason)
