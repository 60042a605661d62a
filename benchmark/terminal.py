"""Where the command line writes to."""

import sys

from rich.console import Console

WIDTH = 132
"""Columns where the output is no terminal."""

console = Console(width=None if sys.stdout.isatty() else WIDTH)
errors = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
