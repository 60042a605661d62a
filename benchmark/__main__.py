"""``python -m benchmark`` is ``smilebench``."""

from benchmark.cli.app import main

main()
