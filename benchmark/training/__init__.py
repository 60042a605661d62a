"""One run: backbone, loop, evaluation, linearity, checkpoints, record."""
