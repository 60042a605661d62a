"""A command of ``smilebench`` in this process: what a user types, sees, and gets as exit code."""

import sys

import pytest

from benchmark.cli import app


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and all output, white space made single. An exception that would be a traceback is let through."""
    before, sys.argv = sys.argv, ["smilebench", *map(str, arguments)]
    code = 0
    try:
        app.main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    shown = capsys.readouterr()
    return code, " ".join((shown.out + shown.err).split())
