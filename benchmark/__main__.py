"""``python -m benchmark`` is ``smilebench``."""

from benchmark.cli import main

main()
